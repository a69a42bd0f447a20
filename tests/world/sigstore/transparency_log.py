"""Signatures and transparency log of the private Sigstore: DSSE envelopes and Rekor v1 entries."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

EPOCH: Final = datetime(2021, 1, 1, tzinfo=UTC)
"""Start of the validity of all authorities and logs; it has no end."""
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def derive_key(seed: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Return the private key that is derived from `seed`."""
    number = int.from_bytes(hashlib.sha512(seed.encode()).digest()[:31], "big")
    return ec.derive_private_key(number + 1, curve or ec.SECP256R1())


def sign_ecdsa(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    """Return a deterministic ECDSA signature with SHA-256."""
    return key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def encode_public_der(key: PrivateKey) -> bytes:
    """Return the public key as a DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, kw_only=True)
class LogKey:
    """A transparency log's key, as the trusted root lists it."""

    key: ec.EllipticCurvePrivateKey
    url: str
    start: datetime = EPOCH
    end: datetime | None = None

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the public key (RFC 6962)."""
        return hashlib.sha256(encode_public_der(self.key)).digest()

    def to_trusted_root_entry(self) -> dict[str, Any]:
        """Return the entry for `tlogs` or `ctlogs` of a trusted_root.json."""
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": b64encode(encode_public_der(self.key)).decode(),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": make_validity(self.start, self.end),
            },
            "logId": {"keyId": b64encode(self.log_id).decode()},
        }


def make_validity(start: datetime, end: datetime | None) -> dict[str, str]:
    window = {"start": start.strftime("%Y-%m-%dT%H:%M:%SZ")}
    if end is not None:
        window["end"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    return window


@dataclass(kw_only=True)
class EnvelopePlan:
    """Plan of the DSSE signature."""

    key: PrivateKey
    statement: bytes
    signed: bytes | None = None
    """Bytes to sign; None: the pre-authentication encoding of the statement."""
    signature: bytes | None = None
    """Signature to use; None: sign."""
    payload_type: str = _PAYLOAD_TYPE


@dataclass(kw_only=True)
class LogEntryPlan:
    """Plan of a Rekor v1 log entry; change any field before it is logged and signed."""

    log: LogKey
    body: dict[str, Any]
    raw_body: bytes | None = None
    """Bytes of the body; None: the canonical JSON of `body`."""
    kind: str = "dsse"
    version: str = "0.0.1"
    integrated_time: int
    log_index: int
    """Index in the whole log; `index` is the index in the tree of the proof (a shard)."""
    index: int
    size: int
    log_id: bytes | None = None
    """Log id in the entry, which the promise covers; None: that of the log."""
    promise_key: ec.EllipticCurvePrivateKey | None = None
    promise: bool = True
    checkpoint_key: ec.EllipticCurvePrivateKey | None = None
    checkpoint_size: int | None = None
    checkpoint_root: bytes | None = None
    origin: str = ""
    note: Callable[[str], str] | None = None
    """Function that changes the checkpoint's text before it is signed."""
    signed_note: Callable[[str], str] | None = None
    """Function that changes the checkpoint after it is signed."""


def sign_envelope(plan: EnvelopePlan) -> bytes:
    if plan.signature is not None:
        return plan.signature
    kind = plan.payload_type
    content = plan.signed
    if content is None:
        content = f"DSSEv1 {len(kind)} {kind} {len(plan.statement)} ".encode() + plan.statement
    match plan.key:
        case ec.EllipticCurvePrivateKey():
            return sign_ecdsa(plan.key, content)
        case rsa.RSAPrivateKey():
            return plan.key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey():
            return plan.key.sign(content)


def _canonical(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def build_log_entry(plan: LogEntryPlan) -> dict[str, Any]:
    """Return the protobuf JSON of a TransparencyLogEntry with SET, inclusion proof and signed checkpoint."""
    body = _canonical(plan.body) if plan.raw_body is None else plan.raw_body
    log_id = plan.log_id or plan.log.log_id
    root, proof = build_inclusion_proof(body, plan.index, plan.size)
    made: dict[str, Any] = {
        "logIndex": str(plan.log_index),
        "logId": {"keyId": b64encode(log_id).decode()},
        "kindVersion": {"kind": plan.kind, "version": plan.version},
        "integratedTime": str(plan.integrated_time),
        "inclusionProof": {
            "logIndex": str(plan.index),
            "rootHash": b64encode(root).decode(),
            "treeSize": str(plan.size),
            "hashes": [b64encode(one).decode() for one in proof],
            "checkpoint": {"envelope": _sign_checkpoint(plan, root)},
        },
        "canonicalizedBody": b64encode(body).decode(),
    }
    if plan.promise:
        promised = _canonical(
            {
                "body": b64encode(body).decode(),
                "integratedTime": plan.integrated_time,
                "logID": log_id.hex(),
                "logIndex": plan.log_index,
            }
        )
        signature = sign_ecdsa(plan.promise_key or plan.log.key, promised)
        made["inclusionPromise"] = {"signedEntryTimestamp": b64encode(signature).decode()}
    return made


def _sign_checkpoint(plan: LogEntryPlan, root: bytes) -> str:
    size = plan.size if plan.checkpoint_size is None else plan.checkpoint_size
    shown = b64encode(plan.checkpoint_root or root).decode()
    note = f"{plan.origin}\n{size}\n{shown}\n"
    if plan.note is not None:
        note = plan.note(note)
    hint = (plan.log_id or plan.log.log_id)[:4]
    signature = b64encode(hint + sign_ecdsa(plan.checkpoint_key or plan.log.key, note.encode())).decode()
    signed = f"{note}\n\u2014 {plan.origin.split(' ')[0]} {signature}\n"
    return signed if plan.signed_note is None else plan.signed_note(signed)


def build_inclusion_proof(body: bytes, index: int, size: int) -> tuple[bytes, list[bytes]]:
    """Return root hash and audit path of `body` at `index` in a tree of invented leaves (RFC 6962 section 2.1)."""
    leaves = [hashlib.sha256(b"\x00other %d" % number).digest() for number in range(size)]
    leaves[index] = hashlib.sha256(b"\x00" + body).digest()
    return _compute_tree_hash(leaves), _compute_audit_path(index, leaves)


def _compute_tree_hash(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + _compute_tree_hash(leaves[:split]) + _compute_tree_hash(leaves[split:])).digest()


def _compute_audit_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return [*_compute_audit_path(index, leaves[:split]), _compute_tree_hash(leaves[split:])]
    return [*_compute_audit_path(index - split, leaves[split:]), _compute_tree_hash(leaves[:split])]
