"""What a verification worker and its owner say to each other over two pipes: frames of JSON, never pickles.

A worker reads hostile documents all day; should one of them ever take it over, it still has only this small language to
speak to its owner in, and the decoder is total.

A frame is its length (4 bytes, big-endian) and that many bytes, of which the first says what it is. To the worker:
roots, then batches. From it, one for each batch: evidence, a line each, or why there is none.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.trust_roots import TrustRoot, TrustRoots
from assay.evidence import Evidence
from assay.ports import VerificationJob, VerificationResult

LENGTH_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 256 << 20
"""Bytes in a frame: a batch of documents at their limits."""
PRIVATE_API_CHANGED: Final = "nothing can be verified, since a private API changed: "
"""How the reason of a failure begins that no restart of a worker mends."""
_ROOTS_TAG: Final = b"R"
_JOBS_TAG: Final = b"J"
_EVIDENCE_TAG: Final = b"E"
_FAILURE_TAG: Final = b"F"


def encode_frame(content: bytes) -> bytes:
    """`content` with its length before it."""
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def encode_roots(roots: TrustRoots) -> bytes:
    """The roots, to be in force for all batches after them."""
    named = {
        name: {
            "content": b64encode(root.content).decode(),
            "issuers": None if root.issuers is None else sorted(root.issuers),
        }
        for name, root in roots.by_name.items()
    }
    return _ROOTS_TAG + json.dumps({"default": roots.default, "further": roots.further, "named": named}).encode()


def encode_batch(jobs: Sequence[VerificationJob]) -> bytes:
    """A batch of jobs: what each is about as JSON, then the documents as they are."""
    listed = [[job.filename, job.sha256, len(job.provenance), job.trust] for job in jobs]
    return b"".join((_JOBS_TAG, encode_frame(json.dumps(listed).encode()), *(job.provenance for job in jobs)))


def decode_request(raw: bytes) -> TrustRoots | list[VerificationJob]:
    """What the owner sent. The worker trusts its owner: a malformed order is a bug and raises."""
    if raw[:1] == _JOBS_TAG:
        return _decode_batch(raw)
    roots = json.loads(raw[1:])
    named = {
        name: TrustRoot(
            name=name,
            content=b64decode(root["content"]),
            issuers=None if root["issuers"] is None else frozenset(root["issuers"]),
        )
        for name, root in roots["named"].items()
    }
    return TrustRoots(default=roots["default"], further=tuple(roots["further"]), by_name=named)


def _decode_batch(raw: bytes) -> list[VerificationJob]:
    start = 1 + LENGTH_BYTES
    end = start + int.from_bytes(raw[1:start], "big")
    jobs = []
    for filename, sha256, length, trust in json.loads(raw[start:end]):
        provenance = raw[end : end + length]
        jobs.append(VerificationJob(filename=filename, sha256=sha256, provenance=provenance, trust=trust))
        end += length
    return jobs


def encode_evidence_response(evidence: Sequence[Evidence]) -> bytes:
    """Evidence for each job of a batch, in order."""
    return _EVIDENCE_TAG + b"\n".join(encode_evidence(one) for one in evidence)


def encode_failure_response(reason: str) -> bytes:
    """A failure of the worker's own: no evidence."""
    return _FAILURE_TAG + reason.encode(errors="replace")


def decode_response(raw: bytes, jobs: int) -> list[VerificationResult] | str:
    """What was found of `jobs` jobs, or why nothing was: the worker's own failure, or an answer that makes no sense."""
    if raw[:1] == _FAILURE_TAG:
        return raw[1:].decode(errors="replace")
    lines = raw[1:].split(b"\n")
    found = [VerificationResult(evidence, line) for line in lines if (evidence := decode_evidence(line)) is not None]
    if raw[:1] != _EVIDENCE_TAG or not len(found) == len(lines) == jobs:
        return f"a worker's answer makes no sense: evidence of {len(found)} documents in {len(lines)} lines, not {jobs}"
    return found
