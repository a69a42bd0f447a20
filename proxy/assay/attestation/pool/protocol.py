"""Protocol between a verification worker and its owner (the proxy process), over two pipes.

A worker parses hostile documents. A compromised worker could send its owner only messages of this small protocol. The
owner's decoder accepts any bytes without an exception. The protocol uses no pickle.

A message is a frame: a length (4 bytes, big-endian) and as many bytes. The first of these bytes is the type of the
frame. The rest is JSON or raw documents. The owner sends trust roots, then batches. The worker sends one response for
each batch: one line of evidence for each document, or the reason of a failure.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.trust_roots import TrustKey, TrustRoot, TrustRoots
from assay.evidence import Evidence
from assay.ports import DocumentFormat, VerificationJob, VerificationResult

LENGTH_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 256 << 20
"""Maximum length of a frame in bytes. A batch of documents of the maximum size fits into one frame."""
PRIVATE_API_CHANGED: Final = "no document can be verified, because a library's private API changed: "
"""Beginning of a worker's failure message if the private API of a library has changed. A restart of the worker does not
help: the supported version of the library must be installed."""
_ROOTS_TAG: Final = b"R"
_JOBS_TAG: Final = b"J"
_EVIDENCE_TAG: Final = b"E"
_FAILURE_TAG: Final = b"F"


def encode_frame(content: bytes) -> bytes:
    """Return a frame: the length of `content`, then `content`."""
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def encode_roots(roots: TrustRoots) -> bytes:
    """Encode the trust roots that the worker uses for all later batches."""
    named = {
        name: {
            "content": b64encode(root.content).decode(),
            "issuers": None if root.issuers is None else sorted(root.issuers),
        }
        for name, root in roots.by_name.items()
    }
    keys = [[key.name, b64encode(key.pem).decode()] for key in roots.keys]
    content = {"default": roots.default, "further": roots.further, "named": named, "keys": keys}
    return _ROOTS_TAG + json.dumps(content).encode()


def encode_batch(jobs: Sequence[VerificationJob]) -> bytes:
    """Encode a batch: a JSON list with the metadata of each job, then the raw documents."""
    listed = [[job.filename, job.sha256, len(job.provenance), job.document_format, job.trust] for job in jobs]
    return b"".join((_JOBS_TAG, encode_frame(json.dumps(listed).encode()), *(job.provenance for job in jobs)))


def decode_request(raw: bytes) -> TrustRoots | list[VerificationJob]:
    """Decode a request of the owner: trust roots, or the jobs of a batch.

    The worker trusts its owner. A malformed request is a bug of Assay and may raise any exception.
    """
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
    keys = tuple(TrustKey(name=name, pem=b64decode(pem)) for name, pem in roots["keys"])
    return TrustRoots(default=roots["default"], further=tuple(roots["further"]), by_name=named, keys=keys)


def _decode_batch(raw: bytes) -> list[VerificationJob]:
    start = 1 + LENGTH_BYTES
    end = start + int.from_bytes(raw[1:start], "big")
    jobs = []
    for filename, sha256, length, document_format, trust in json.loads(raw[start:end]):
        jobs.append(
            VerificationJob(
                filename=filename,
                sha256=sha256,
                provenance=raw[end : end + length],
                document_format=DocumentFormat(document_format),
                trust=trust,
            )
        )
        end += length
    return jobs


def encode_evidence_response(evidence: Sequence[Evidence]) -> bytes:
    """Encode the evidence for each job of a batch, in the order of the jobs."""
    return _EVIDENCE_TAG + b"\n".join(encode_evidence(one) for one in evidence)


def encode_failure_response(reason: str) -> bytes:
    """Encode a failure of the worker itself. Such a response contains no evidence."""
    return _FAILURE_TAG + reason.encode(errors="replace")


def decode_response(raw: bytes, jobs: int) -> list[VerificationResult] | str:
    """Decode a worker's response to a batch.

    Args:
        raw: content of the frame; untrusted.
        jobs: number of jobs in the batch.

    Returns:
        A result for each job, in order; or a string with the reason if the worker failed or its response is invalid.
    """
    if raw[:1] == _FAILURE_TAG:
        return raw[1:].decode(errors="replace")
    lines = raw[1:].split(b"\n")
    found = [VerificationResult(evidence, line) for line in lines if (evidence := decode_evidence(line)) is not None]
    if raw[:1] != _EVIDENCE_TAG or not len(found) == len(lines) == jobs:
        return (
            f"invalid response of a verification worker: expected {jobs} lines of evidence, "
            f"found {len(lines)} lines, of which {len(found)} are valid"
        )
    return found
