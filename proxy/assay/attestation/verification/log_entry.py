"""Parser of Rekor v1 transparency log entries, and their comparison with the signed attestation.

This module makes all checks of an entry that need no key. It checks the structure and the numbers, and that inclusion
proof and checkpoint agree. It also makes check 8 of `verify`: the entry's body records the statement, signature and
certificate of the attestation. `verify` itself checks the log's signatures.

An entry of Rekor v2 has no integrated time. It needs an RFC 3161 timestamp, which Assay does not verify and for which
PEP 740 version 1 has no field. So such an entry is unknown, not forged.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from binascii import a2b_base64
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
_REKOR_V2_KINDS: Final = frozenset({("dsse", "0.0.2"), ("hashedrekord", "0.0.2")})
"""All kinds of entry in Rekor v2. Rekor v1 has others of version 0.0.2, such as intoto."""
_ENTRY_KEYS: Final = frozenset({
    "logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof", "canonicalizedBody",
})  # fmt: skip
"""All keys of a `TransparencyLogEntry` in sigstore's protobuf-specs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Log entry whose parts agree with each other. The log's signatures are not yet checked."""

    log_id: bytes
    log_index: int
    integrated_time: datetime
    body: dict[str, Any]
    signed_entry_timestamp: bytes
    """Signed entry timestamp (SET): the log's signature of `signed_entry_payload`."""
    signed_entry_payload: bytes
    """Bytes that the log must have signed in `signed_entry_timestamp`."""
    checkpoint: Checkpoint


def read_entry(raw: dict[str, Any]) -> LogEntry:
    """Parse a log entry and verify its inclusion proof (part of check 4 of `verify`).

    The signature of the checkpoint is not verified here.

    Raises:
        CheckFailed: the entry is malformed, or its parts contradict each other.
        UnknownMaterial: the entry is of an unknown kind or version, such as Rekor v2.
    """
    canonical = get_base64(raw, "canonicalizedBody", strict_json.MAX_LOG_BODY_BYTES, _STEP)
    body = strict_json.parse_strict_json(canonical, "log entry body")
    _check_kind(get_member(raw, "kindVersion", dict, _STEP), body)
    seconds = get_uint64(raw, "integratedTime", "log time")
    if not 0 < seconds <= strict_json.MAX_TIMESTAMP_SECONDS:
        raise CheckFailed("log time", "a time between 1970 and 9999", str(seconds))
    if raw.get("inclusionPromise") is None:
        raise CheckFailed("inclusion promise", "an inclusion promise (signed entry timestamp, SET) of Rekor v1", None)
    promise: dict[str, Any] = get_member(raw, "inclusionPromise", dict, "inclusion promise")
    log_id = get_base64(get_member(raw, "logId", dict, _STEP), "keyId", strict_json.MAX_SIGNATURE_BYTES, "log id")
    log_index = get_uint64(raw, "logIndex", "log index")
    if unknown := raw.keys() - _ENTRY_KEYS:
        raise CheckFailed(_STEP, "no other keys than those of Rekor v1", ", ".join(sorted(unknown)))
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
    """Return the bytes that Rekor v1 signs for its inclusion promise: four fields as canonical JSON (RFC 8785)."""
    # No value needs an escape. A JSON encoder would search the whole body for characters to escape.
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
        expected = f"kind {logged[0]}, version {logged[1]}, as in the body of the log entry"
        raise CheckFailed("log entry kind", expected, f"kind {kind}, version {version}")
    if (kind, version) in _REKOR_V2_KINDS:
        raise UnknownMaterial(
            f"the log entry is of Rekor v2 ({kind} {version}); "
            "Assay does not verify the RFC 3161 timestamp that such an entry needs"
        )
    if logged != ("dsse", "0.0.1"):
        raise UnknownMaterial(f"the log entry is of kind {kind} {version}; this verifier knows dsse 0.0.1")


def _check_inclusion_proof(proof: dict[str, Any], canonical_body: bytes, log_index: int) -> Checkpoint:
    """Verify that an inclusion proof leads from the log entry to the root hash, and return the proof's checkpoint.

    Raises:
        CheckFailed: the proof is malformed, does not lead to the root hash, or disagrees with the checkpoint about the
            size or root hash of the tree.
    """
    index, size = get_uint64(proof, "logIndex", "inclusion proof"), get_uint64(proof, "treeSize", "inclusion proof")
    if index >= size:
        raise CheckFailed("inclusion proof", f"a log index below the tree size {size}", f"log index {index}")
    if index > log_index:
        # The proof's index counts from the start of one shard of the log, `log_index` from the start of the first.
        raise CheckFailed("log index", f"at least {index}, the log index in the inclusion proof", str(log_index))
    listed: list[Any] = get_member(proof, "hashes", list, "inclusion proof")
    if len(listed) > strict_json.MAX_PROOF_HASHES:
        raise CheckFailed("inclusion proof", f"at most {strict_json.MAX_PROOF_HASHES} hashes", f"{len(listed)} hashes")
    path = _read_path(listed)
    root = _read_hash(proof, "rootHash")
    envelope: str = get_member(get_member(proof, "checkpoint", dict, "checkpoint"), "envelope", str, "checkpoint")
    checkpoint = read_checkpoint(envelope)
    if checkpoint.size != size:
        raise CheckFailed("checkpoint", f"the tree size of the inclusion proof, {size}", f"tree size {checkpoint.size}")
    if checkpoint.root != root:
        raise CheckFailed("checkpoint", f"the root hash of the inclusion proof, {root.hex()}", checkpoint.root.hex())
    reached = compute_root_hash(canonical_body, index, size, path)
    if reached != root:
        found = (
            "a proof with the wrong number of hashes" if reached is None else f"a proof that leads to {reached.hex()}"
        )
        raise CheckFailed("inclusion proof", f"a proof that leads from the log entry to root hash {root.hex()}", found)
    return checkpoint


def _read_path(listed: list[Any]) -> list[bytes]:
    """Return the hashes of an inclusion proof.

    Raises:
        CheckFailed: an item is not 32 bytes in base64.
    """
    try:
        path = [a2b_base64(one, strict_mode=True) for one in listed]
    except (TypeError, ValueError):
        path = []
    if len(path) == len(listed) and all(len(one) == _HASH_BYTES for one in path):
        return path
    return [_read_hash({"hashes": one}, "hashes") for one in listed]  # says which item is malformed, and how


def _read_hash(json_object: dict[str, Any], key: str) -> bytes:
    raw = get_base64(json_object, key, _HASH_BYTES, "inclusion proof")
    if len(raw) != _HASH_BYTES:
        raise CheckFailed("inclusion proof", f"{key} of {_HASH_BYTES} bytes", f"{len(raw)} bytes")
    return raw


def check_body(entry: LogEntry, attestation: SignedStatement) -> None:
    """Check that the logged body records exactly this statement, signature and certificate (check 8 of `verify`).

    The hash of the envelope is not checked, because a provenance document does not contain the envelope's bytes.

    Raises:
        CheckFailed: the logged body records something else or contains other keys.
    """
    spec: dict[str, Any] = get_member(entry.body, "spec", dict, "log entry body")
    payload = {"algorithm": "sha256", "value": hashlib.sha256(attestation.statement).hexdigest()}
    if spec.get("payloadHash") != payload:
        raise CheckFailed(
            "log entry body", f"the payload hash of the statement, {payload['value']}", spec.get("payloadHash")
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
            raise CheckFailed("log entry body", f"the same {key} as in the attestation", f"another {key}")
    unexpected = (entry.body.keys() - {"apiVersion", "kind", "spec"}) | (logged[0].keys() - signature.keys())
    if unexpected:
        raise CheckFailed("log entry body", "no other keys than those of Rekor v1", ", ".join(sorted(unexpected)))
    envelope_hash = spec.get("envelopeHash")
    if not isinstance(envelope_hash, dict) or envelope_hash.get("algorithm") != "sha256":
        raise CheckFailed("log entry body", "a SHA-256 envelope hash", envelope_hash)


@lru_cache(maxsize=64)
def _encode_verifier(der: bytes) -> str:
    """Return a DER certificate in the log's encoding: base64 of its PEM text with lines of 64 characters (RFC 7468)."""
    text = b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return b64encode(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n".encode()).decode()
