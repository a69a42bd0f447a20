"""A Rekor v1 transparency log entry, taken apart and compared with what was signed.

Owns everything about an entry that needs no key: its shape, its numbers, the agreement of proof and checkpoint, and
step (8), that its body records this very signature by this very certificate. `verify` checks the log's signatures.

Rekor v2 gives no integrated time and needs an RFC 3161 timestamp instead, for which PEP 740 version 1 has no field:
such entries are unknown to us, not broken. When PEP 740 gets the field, `read_entry` is where the other kind joins.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from assay.attestation.verification import strict_json
from assay.attestation.verification.document import SignedStatement
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.merkle import Checkpoint, compute_root_hash, read_checkpoint
from assay.attestation.verification.strict_json import get_base64, get_member, get_uint64

_STEP: Final = "log entry"
_HASH_BYTES: Final = 32
_ENTRY_KEYS: Final = frozenset({
    "logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof", "canonicalizedBody",
})  # fmt: skip
"""protobuf-specs' TransparencyLogEntry, all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An entry that agrees with itself; its signatures are not checked yet."""

    log_id: bytes
    log_index: int
    integrated_time: datetime
    body: dict[str, Any]
    signed_entry_timestamp: bytes
    """The signed entry timestamp (SET)."""
    signed_entry_payload: bytes
    """What it must be a signature of."""
    checkpoint: Checkpoint


def read_entry(raw: dict[str, Any]) -> LogEntry:
    """The entry in `raw`, whose proof leads to the root hash of its checkpoint: step (4) but for the signature.

    Raises:
        CheckFailed: malformed, or its parts contradict each other.
        UnknownMaterial: of a kind or version that this verifier doesn't know (Rekor v2).
    """
    canonical = get_base64(raw, "canonicalizedBody", strict_json.MAX_LOG_BODY_BYTES, _STEP)
    body = strict_json.parse_strict_json(canonical, "log entry body")
    _check_kind(get_member(raw, "kindVersion", dict, _STEP), body)
    seconds = get_uint64(raw, "integratedTime", "log time")
    if not 0 < seconds <= strict_json.MAX_TIMESTAMP_SECONDS:
        raise CheckFailed("log time", "a time between 1970 and 9999", str(seconds))
    if raw.get("inclusionPromise") is None:
        raise CheckFailed("inclusion promise", "a signed entry timestamp (SET), as Rekor v1 gives", None)
    promise: dict[str, Any] = get_member(raw, "inclusionPromise", dict, "inclusion promise")
    log_id = get_base64(get_member(raw, "logId", dict, _STEP), "keyId", strict_json.MAX_SIGNATURE_BYTES, "log id")
    log_index = get_uint64(raw, "logIndex", "log index")
    if unknown := raw.keys() - _ENTRY_KEYS:
        raise CheckFailed(_STEP, "nothing else in it", ", ".join(sorted(unknown)))
    return LogEntry(
        log_id=log_id,
        log_index=log_index,
        integrated_time=datetime.fromtimestamp(seconds, UTC),
        body=body,
        signed_entry_timestamp=get_base64(
            promise, "signedEntryTimestamp", strict_json.MAX_SIGNATURE_BYTES, "inclusion promise"
        ),
        signed_entry_payload=_encode_signed_payload(canonical, seconds, log_id, log_index),
        checkpoint=_check_inclusion_proof(
            get_member(raw, "inclusionProof", dict, "inclusion proof"), canonical, log_index
        ),
    )


def _encode_signed_payload(canonical_body: bytes, integrated_time: int, log_id: bytes, log_index: int) -> bytes:
    """What Rekor v1 signs at once: canonical JSON (RFC 8785), which for ASCII keys and such values is this."""
    # Nothing in it needs an escape, and what writes JSON would look for some in all of the body.
    body = b64encode(canonical_body).decode()
    promised = f'"body":"{body}","integratedTime":{integrated_time},"logID":"{log_id.hex()}","logIndex":{log_index}'
    return f"{{{promised}}}".encode()


def _check_kind(stated: dict[str, Any], body: dict[str, Any]) -> None:
    kind, version = (
        get_member(stated, "kind", str, "log entry kind"),
        get_member(stated, "version", str, "log entry kind"),
    )
    logged = body.get("kind"), body.get("apiVersion")
    if logged != (kind, version):
        raise CheckFailed("log entry kind", f"{logged[0]} {logged[1]}, as the logged body says", f"{kind} {version}")
    if version == "0.0.2":
        raise UnknownMaterial(
            f"Rekor v2 log entry ({kind} {version}): PEP 740 version 1 can't carry the RFC 3161 timestamp it needs"
        )
    if logged != ("dsse", "0.0.1"):
        raise UnknownMaterial(f"log entry of kind {kind} {version}; this verifier knows dsse 0.0.1")


def _check_inclusion_proof(proof: dict[str, Any], canonical_body: bytes, log_index: int) -> Checkpoint:
    """The proof leads from the entry to the root hash of its checkpoint, in a tree of the checkpoint's size."""
    index, size = get_uint64(proof, "logIndex", "inclusion proof"), get_uint64(proof, "treeSize", "inclusion proof")
    if index >= size:
        raise CheckFailed("inclusion proof", f"an index below the tree's size {size}", str(index))
    if index > log_index:
        # A shard's tree counts from nought, the log from the first shard's beginning.
        raise CheckFailed("log index", f"at least the proof's index {index}", str(log_index))
    listed: list[Any] = get_member(proof, "hashes", list, "inclusion proof")
    if len(listed) > strict_json.MAX_PROOF_HASHES:
        raise CheckFailed("inclusion proof", f"at most {strict_json.MAX_PROOF_HASHES} hashes", f"{len(listed)} hashes")
    path = [_read_hash({"hashes": one}, "hashes") for one in listed]
    root = _read_hash(proof, "rootHash")
    envelope: str = get_member(get_member(proof, "checkpoint", dict, "checkpoint"), "envelope", str, "checkpoint")
    checkpoint = read_checkpoint(envelope)
    if checkpoint.size != size:
        raise CheckFailed(
            "checkpoint", f"a tree of {size}, as the inclusion proof says", f"a tree of {checkpoint.size}"
        )
    if checkpoint.root != root:
        raise CheckFailed("checkpoint", f"root hash {root.hex()}, as the inclusion proof says", checkpoint.root.hex())
    reached = compute_root_hash(canonical_body, index, size, path)
    if reached != root:
        found = "a path of another length" if reached is None else reached.hex()
        raise CheckFailed("inclusion proof", f"a proof that the log contains the entry: root hash {root.hex()}", found)
    return checkpoint


def _read_hash(json_object: dict[str, Any], key: str) -> bytes:
    raw = get_base64(json_object, key, _HASH_BYTES, "inclusion proof")
    if len(raw) != _HASH_BYTES:
        raise CheckFailed("inclusion proof", f"{key} of {_HASH_BYTES} bytes", f"{len(raw)} bytes")
    return raw


def check_body(entry: LogEntry, attestation: SignedStatement) -> None:
    """Step (8): the log recorded this statement, signed by this signature with this certificate, and nothing else.

    The hash of the envelope can't be checked, since nobody says how the envelope was spelt; all the rest is exact.

    Raises:
        CheckFailed: the logged body is about something else.
    """
    spec: dict[str, Any] = get_member(entry.body, "spec", dict, "log entry body")
    payload = {"algorithm": "sha256", "value": hashlib.sha256(attestation.statement).hexdigest()}
    if spec.get("payloadHash") != payload:
        raise CheckFailed(
            "log entry body", f"payload hash {payload['value']} of the statement", spec.get("payloadHash")
        )
    signature = {
        "signature": b64encode(attestation.signature).decode(),
        "verifier": _encode_verifier(attestation.certificate),
    }
    logged = spec.get("signatures")
    if not isinstance(logged, list) or len(logged) != 1 or not isinstance(logged[0], dict):
        raise CheckFailed("log entry body", "exactly one signature", logged)
    for key, expected in signature.items():
        if logged[0].get(key) != expected:
            raise CheckFailed("log entry body", f"the attestation's own {key}", f"another {key}")
    unexpected = (entry.body.keys() - {"apiVersion", "kind", "spec"}) | (logged[0].keys() - signature.keys())
    if unexpected:
        raise CheckFailed("log entry body", "nothing else", ", ".join(sorted(unexpected)))
    envelope_hash = spec.get("envelopeHash")
    if not isinstance(envelope_hash, dict) or envelope_hash.get("algorithm") != "sha256":
        raise CheckFailed("log entry body", "an envelope hash by sha256", envelope_hash)


@lru_cache(maxsize=64)
def _encode_verifier(der: bytes) -> str:
    """The certificate as the log keeps it: base64 of its PEM (RFC 7468: lines of 64)."""
    text = b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return b64encode(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n".encode()).decode()
