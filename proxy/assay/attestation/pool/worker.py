"""Main module of a verification worker: reads batches from standard input and writes evidence to standard output.

`pool` starts the process that runs this module. The process does not import the entry module of the proxy. The worker
ends when the proxy dies: between batches because standard input ends, and during a batch because `fork_server` ends the
process.
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
from assay.attestation.verification import sigstore_private
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify, verify_bundles
from assay.errors import ConfigurationError, PrivateApiChangedError
from assay.evidence import Evidence
from assay.ports import DocumentFormat, VerificationJob
from assay.simple.model import File, Sha256

_NICENESS = 5
_GC_THRESHOLD_OBJECTS = 20_000
"""Number of new objects between two garbage collections. Only tracebacks of failed checks create cycles. Python's
default of 700 objects cost 7 % of the worker's time."""


def verify_all(jobs: Sequence[VerificationJob], roots: TrustRoots) -> list[Evidence]:
    """Verify the jobs and return the evidence for each job, in order.

    Raises:
        ConfigurationError: a job names an unknown trust root, or a trust root is invalid.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
        MemoryError: no memory is left.
    """
    return [_verify_job(job, roots) for job in jobs]


def _verify_job(job: VerificationJob, roots: TrustRoots) -> Evidence:
    chosen = roots.for_index(job.trust)
    match job.document_format:
        case DocumentFormat.PROVENANCE:
            return verify(job.provenance, _to_file(job), chosen)
        case DocumentFormat.BUNDLES:
            return verify_bundles(job.provenance, _to_file(job), chosen, roots.keys)


def _to_file(job: VerificationJob) -> File:
    """Return a `File` with the name and SHA-256 of the job. Verification uses no other fields of `File`."""
    return File(filename=job.filename, sha256=Sha256(job.sha256), url="", location="", route="", distribution=None)


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Answer requests until the stream `requests` ends."""
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
    """Load the keys of all trust roots before the first batch arrives.

    Errors are ignored here: the response to the first batch that needs the invalid trust root reports the error.
    """
    with suppress(ConfigurationError, PrivateApiChangedError):
        for root in roots.for_index():
            load_keys(root.content)


def verify_batch(jobs: Sequence[VerificationJob], roots: TrustRoots | None) -> bytes:
    """Verify a batch and return the response in the encoding of `protocol`.

    A pool without worker processes calls this function in its thread.
    """
    if roots is None:
        return encode_failure_response("the verification worker has received no trust roots")
    try:
        return encode_evidence_response(verify_all(jobs, roots))
    except MemoryError:
        return encode_failure_response("the verification worker ran out of memory")
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


def prepare() -> None:
    """Test sigstore's private names, which takes 5 ms, before the process is forked and before documents wait.

    The result is cached. The response to the first batch reports a change.
    """
    sigstore_private.find_change()


def main() -> None:
    """Answer requests from standard input on standard output, until either stream ends."""
    # The event loop, which also serves pages that need no verification, has priority over the workers.
    os.nice(_NICENESS)
    gc.set_threshold(_GC_THRESHOLD_OBJECTS)
    answers = os.fdopen(os.dup(1), "wb")
    # Standard output is only for responses: output of libraries goes to standard error, and so to the log.
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
