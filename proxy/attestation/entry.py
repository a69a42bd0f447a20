"""A Rekor v1 transparency log entry, taken apart and compared with what was signed.

Owns everything about an entry that needs no key: its shape, its numbers, the agreement of proof and checkpoint, and
step (8), that its body records this very signature by this very certificate. `verify` checks the log's signatures.

Rekor v2 gives no integrated time and needs an RFC 3161 timestamp instead, for which PEP 740 version 1 has no field:
such entries are unknown to us, not broken. When PEP 740 gets the field, `read_entry` is where the other kind joins.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.attestation import limits
from proxy.attestation.document import SignedStatement
from proxy.attestation.limits import binary, member, number
from proxy.attestation.refusal import Broken, Unknown

_WHAT: Final = "log entry"
_HASH_BYTES: Final = 32
_SIGNATURES: Final = 16
_SIGNATURE_LINE: Final = re.compile(r"\u2014 (\S{1,300}) ([A-Za-z0-9+/]+={0,2})")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An entry that agrees with itself; its signatures are not checked yet."""

    raw: dict[str, Any]
    log_id: bytes
    log_index: int
    integrated_time: datetime
    body: dict[str, Any]


def read_entry(raw: dict[str, Any]) -> LogEntry:
    """The entry in `raw`.

    Raises:
        Broken: malformed, or its parts contradict each other.
        Unknown: of a kind or version that this verifier doesn't know (Rekor v2).
    """
    body = limits.parse_json(binary(raw, "canonicalizedBody", limits.BODY_BYTES, _WHAT), "log entry body")
    _check_kind(member(raw, "kindVersion", dict, _WHAT), body)
    seconds = number(raw, "integratedTime", "log time")
    if not 0 < seconds <= limits.LATEST_TIME:
        raise Broken("log time", "a time between 1970 and 9999", str(seconds))
    if raw.get("inclusionPromise") is None:
        raise Broken("inclusion promise", "a signed entry timestamp (SET), as Rekor v1 gives", None)
    entry = LogEntry(
        raw=raw,
        log_id=binary(member(raw, "logId", dict, _WHAT), "keyId", limits.SIGNATURE_BYTES, "log id"),
        log_index=number(raw, "logIndex", "log index"),
        integrated_time=datetime.fromtimestamp(seconds, UTC),
        body=body,
    )
    _check_proof(entry, member(raw, "inclusionProof", dict, "inclusion proof"))
    return entry


def _check_kind(stated: dict[str, Any], body: dict[str, Any]) -> None:
    kind, version = member(stated, "kind", str, "log entry kind"), member(stated, "version", str, "log entry kind")
    logged = body.get("kind"), body.get("apiVersion")
    if logged != (kind, version):
        raise Broken("log entry kind", f"{logged[0]} {logged[1]}, as the logged body says", f"{kind} {version}")
    if version == "0.0.2":
        raise Unknown(
            f"Rekor v2 log entry ({kind} {version}): PEP 740 version 1 can't carry the RFC 3161 timestamp it needs"
        )
    if logged != ("dsse", "0.0.1"):
        raise Unknown(f"log entry of kind {kind} {version}; this verifier knows dsse 0.0.1")


def _check_proof(entry: LogEntry, proof: dict[str, Any]) -> None:
    """What a proof of inclusion says of the tree is what its checkpoint says, and within the log's own numbers."""
    index, size = number(proof, "logIndex", "inclusion proof"), number(proof, "treeSize", "inclusion proof")
    if index >= size:
        raise Broken("inclusion proof", f"an index below the tree's size {size}", str(index))
    if index > entry.log_index:
        # A shard's tree counts from nought, the log from the first shard's beginning.
        raise Broken("log index", f"at least the proof's index {index}", str(entry.log_index))
    hashes: list[Any] = member(proof, "hashes", list, "inclusion proof")
    if len(hashes) > limits.PROOF_HASHES:
        raise Broken("inclusion proof", f"at most {limits.PROOF_HASHES} hashes", f"{len(hashes)} hashes")
    for one in hashes:
        _check_hash({"hashes": one}, "hashes")
    root = _check_hash(proof, "rootHash")
    envelope: str = member(member(proof, "checkpoint", dict, "checkpoint"), "envelope", str, "checkpoint")
    stated_size, stated_root = _read_checkpoint(envelope)
    if stated_size != size:
        raise Broken("checkpoint", f"a tree of {size}, as the inclusion proof says", f"a tree of {stated_size}")
    if stated_root != root:
        raise Broken("checkpoint", f"root hash {root.hex()}, as the inclusion proof says", stated_root.hex())


def _check_hash(of: dict[str, Any], key: str) -> bytes:
    raw = binary(of, key, _HASH_BYTES, "inclusion proof")
    if len(raw) != _HASH_BYTES:
        raise Broken("inclusion proof", f"{key} of {_HASH_BYTES} bytes", f"{len(raw)} bytes")
    return raw


def _read_checkpoint(envelope: str) -> tuple[int, bytes]:
    """Size and root hash of a signed checkpoint (https://c2sp.org/tlog-checkpoint), every line of it accounted for."""
    if len(envelope) > limits.CHECKPOINT_CHARACTERS:
        raise Broken("checkpoint", f"at most {limits.CHECKPOINT_CHARACTERS} characters", str(len(envelope)))
    note, blank, signatures = envelope.partition("\n\n")
    lines = note.split("\n")
    if not blank or len(lines) < 3 or not lines[0]:  # noqa: PLR2004 - origin, size, root hash
        raise Broken("checkpoint", "origin, tree size, root hash, a blank line, signatures", envelope)
    if not _SIZE.fullmatch(lines[1]):
        raise Broken("checkpoint", "a tree size in digits", lines[1])
    listed = signatures.removesuffix("\n").split("\n")
    if not signatures.endswith("\n") or len(listed) > _SIGNATURES:
        raise Broken("checkpoint", f"1 to {_SIGNATURES} signature lines", signatures)
    try:
        root = b64decode(lines[2], validate=True)
        for line in listed:
            found = _SIGNATURE_LINE.fullmatch(line)
            b64decode(found[2] if found else "no signature line", validate=True)
    except (Base64Error, ValueError) as error:
        raise Broken("checkpoint", "a root hash and signature lines in base64", envelope) from error
    return int(lines[1]), root


def check_body(entry: LogEntry, attestation: SignedStatement, certificate: x509.Certificate) -> None:
    """Step (8): the log recorded this statement, signed by this signature with this certificate, and nothing else.

    The hash of the envelope can't be checked, since nobody says how the envelope was spelt; all the rest is exact.

    Raises:
        Broken: the logged body is about something else.
    """
    spec: dict[str, Any] = member(entry.body, "spec", dict, "log entry body")
    payload = {"algorithm": "sha256", "value": hashlib.sha256(attestation.statement).hexdigest()}
    if spec.get("payloadHash") != payload:
        raise Broken("log entry body", f"payload hash {payload['value']} of the statement", spec.get("payloadHash"))
    signature = {
        "signature": b64encode(attestation.signature).decode(),
        "verifier": b64encode(certificate.public_bytes(Encoding.PEM)).decode(),
    }
    logged = spec.get("signatures")
    if not isinstance(logged, list) or len(logged) != 1 or not isinstance(logged[0], dict):
        raise Broken("log entry body", "exactly one signature", logged)
    for key, expected in signature.items():
        if logged[0].get(key) != expected:
            raise Broken("log entry body", f"the attestation's own {key}", f"another {key}")
    unexpected = (entry.body.keys() - {"apiVersion", "kind", "spec"}) | (logged[0].keys() - signature.keys())
    if unexpected:
        raise Broken("log entry body", "nothing else", ", ".join(sorted(unexpected)))
    envelope_hash = spec.get("envelopeHash")
    if not isinstance(envelope_hash, dict) or envelope_hash.get("algorithm") != "sha256":
        raise Broken("log entry body", "an envelope hash by sha256", envelope_hash)
