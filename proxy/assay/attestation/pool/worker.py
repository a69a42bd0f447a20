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

from assay.attestation.pool.protocol import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    PRIVATE_API_CHANGED,
    decode_request,
    encode_evidence_response,
    encode_failure_response,
    encode_frame,
)
from assay.attestation.trust_roots import TrustRoots
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify
from assay.errors import ConfigurationError, PrivateApiChangedError
from assay.evidence import Evidence
from assay.ports import VerificationJob
from assay.simple.model import File, Sha256

_NICENESS = 5
_GC_THRESHOLD_OBJECTS = 20_000
"""Objects that are made before the collector looks for cycles: a batch makes none but for its refusals' tracebacks, and
looking every 700 objects was 7 % of the work."""


def verify_all(jobs: Sequence[VerificationJob], roots: TrustRoots) -> list[Evidence]:
    """Evidence for each job, in order.

    Raises:
        ConfigurationError: a job names a trust root that there isn't, or a root that doesn't load.
        MemoryError: there is none left.
    """
    return [verify(job.provenance, _to_file(job), roots.for_index(job.trust)) for job in jobs]


def _to_file(job: VerificationJob) -> File:
    """What of a file verification looks at: name and digest."""
    return File(filename=job.filename, sha256=Sha256(job.sha256), url="", location="", route="", distribution=None)


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Work until `requests` ends."""
    roots: TrustRoots | None = None
    while (raw := _read_frame(requests)) is not None:
        match decode_request(raw):
            case TrustRoots() as received:
                roots = received
                _preload_keys(roots)
            case list() as jobs:
                responses.write(encode_frame(verify_batch(jobs, roots)))
                responses.flush()


def _preload_keys(roots: TrustRoots) -> None:
    """Before the first document is there. Whether a root can be used is said of the first document that needs it."""
    with suppress(ConfigurationError, PrivateApiChangedError):
        for root in roots.for_index():
            load_keys(root.content)


def verify_batch(jobs: Sequence[VerificationJob], roots: TrustRoots | None) -> bytes:
    """The answer to a batch, as `wire` encodes it; also what the proxy's own thread runs."""
    if roots is None:
        return encode_failure_response("the worker has no trust roots")
    try:
        return encode_evidence_response(verify_all(jobs, roots))
    except MemoryError:
        return encode_failure_response("the worker has no memory left")
    except PrivateApiChangedError as error:
        return encode_failure_response(f"{PRIVATE_API_CHANGED}{error}")
    except ConfigurationError as error:
        return encode_failure_response(str(error))


def _read_frame(requests: BinaryIO) -> bytes | None:
    length = requests.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    size = int.from_bytes(length, "big")
    content = requests.read(size) if size <= MAX_FRAME_BYTES else b""
    return content if len(content) == size else None


def main() -> None:
    """Serve standard input and output until either ends."""
    # Whoever waits for a page that is there goes before whoever waits for one that is being verified.
    os.nice(_NICENESS)
    gc.set_threshold(_GC_THRESHOLD_OBJECTS)
    answers = os.fdopen(os.dup(1), "wb")
    # Nothing else may write into the answers: whatever a library prints goes to the log.
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
