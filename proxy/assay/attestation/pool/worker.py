"""A verification worker: batches from its standard input, evidence to its standard output, until either ends.

Runs as a process of its own, started by `workers` with nothing of the proxy's entry module in it. It is gone soon after
its owner: at once when it waits for work, since its standard input ends, and soon when it doesn't (`boot`).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from assay.attestation.pool.protocol import LARGEST, LENGTH, Job, decode_order, encode_answer, encode_failure, frame
from assay.attestation.trust_roots import TrustRoots
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify
from assay.errors import ConfigurationError
from assay.evidence import Evidence
from assay.simple.model import File, Sha256

_NICENESS = 5
_YOUNG = 20_000
"""Objects that are made before the collector looks for cycles: a batch makes none but for its refusals' tracebacks, and
looking every 700 objects was 7 % of the work."""


def verify_all(jobs: Sequence[Job], roots: TrustRoots) -> list[Evidence]:
    """Evidence for each job, in order.

    Raises:
        ConfigurationError: a job names a trust root that there isn't, or a root that doesn't load.
        MemoryError: there is none left.
    """
    return [verify(job.provenance, _file(job), roots.for_index(job.trust)) for job in jobs]


def _file(job: Job) -> File:
    """What of a file verification looks at: name and digest."""
    return File(filename=job.filename, sha256=Sha256(job.sha256), url="", location="", route="", distribution=None)


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Work until `orders` ends."""
    roots: TrustRoots | None = None
    while (raw := _read_frame(orders)) is not None:
        match decode_order(raw):
            case TrustRoots() as received:
                roots = received
                _load(roots)
            case list() as jobs:
                answers.write(frame(answer(jobs, roots)))
                answers.flush()


def _load(roots: TrustRoots) -> None:
    """Before the first document is there. Whether a root can be used is said of the first document that needs it."""
    with suppress(ConfigurationError):
        for root in roots.for_index():
            load_keys(root.content)


def answer(jobs: Sequence[Job], roots: TrustRoots | None) -> bytes:
    """The answer to a batch, as `wire` encodes it; also what the proxy's own thread runs."""
    if roots is None:
        return encode_failure("the worker has no trust roots")
    try:
        return encode_answer(verify_all(jobs, roots))
    except MemoryError:
        return encode_failure("the worker has no memory left")
    except ConfigurationError as error:
        return encode_failure(str(error))


def _read_frame(orders: BinaryIO) -> bytes | None:
    length = orders.read(LENGTH)
    if len(length) < LENGTH:
        return None
    size = int.from_bytes(length, "big")
    content = orders.read(size) if size <= LARGEST else b""
    return content if len(content) == size else None


def main() -> None:
    """Serve standard input and output until either ends."""
    # Whoever waits for a page that is there goes before whoever waits for one that is being verified.
    os.nice(_NICENESS)
    gc.set_threshold(_YOUNG)
    answers = os.fdopen(os.dup(1), "wb")
    # Nothing else may write into the answers: whatever a library prints goes to the log.
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
