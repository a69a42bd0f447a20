"""Signing certificates of the private Sigstore, in place of Fulcio and its CT log."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ObjectIdentifier

from tests.world.sigstore.transparency_log import LogKey, PrivateKey, derive_key, sign_ecdsa

_SCT_LIST_OID: Final = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_FULCIO_OID_PREFIX: Final = "1.3.6.1.4.1.57264.1."


def encode_der_string(text: str) -> bytes:
    """Return a DER UTF8String, which Fulcio uses for the claims from .8 on."""
    raw = text.encode()
    if len(raw) < 128:
        return bytes([0x0C, len(raw)]) + raw
    length = len(raw).to_bytes((len(raw).bit_length() + 7) // 8, "big")
    return bytes([0x0C, 0x80 | len(length)]) + length + raw


@dataclass(kw_only=True)
class LeafPlan:
    """Plan of a signing certificate; change any field before it is signed."""

    key: PrivateKey
    claims: dict[int, str | bytes]
    """Claims by the last arc of the Fulcio OID. Text is encoded as Fulcio does; bytes are not encoded."""
    names: list[x509.GeneralName]
    not_before: datetime
    not_after: datetime
    issuer_key: PrivateKey
    issuer: x509.Certificate
    serial: int
    key_usage: x509.KeyUsage | None
    extended_key_usage: list[ObjectIdentifier] | None
    extra: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)
    """Further extensions with their criticality."""
    authority_key_id: bytes | None = None
    """Authority key identifier; None: the issuer's; empty: no extension."""
    log: LogKey
    """CT log that signs the SCT."""
    log_id: bytes | None = None
    """Log id in the SCT; None: that of the CT log."""
    sct_count: int = 1
    sct_time: datetime | None = None
    sct_hash: int = 4
    """TLS HashAlgorithm: 4 is SHA-256."""
    sct_tail: Callable[[bytes], bytes] | None = None
    """Function that changes the SCT's signature."""


def encode_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def make_key_usage(**granted: bool) -> x509.KeyUsage:
    """Return a KeyUsage extension with only these bits set."""
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: granted.get(bit, False) for bit in bits})


def _extensions(plan: LeafPlan) -> Iterable[tuple[x509.ExtensionType, bool]]:
    if plan.key_usage is not None:
        yield plan.key_usage, True
    if plan.extended_key_usage is not None:
        yield x509.ExtendedKeyUsage(plan.extended_key_usage), False
    yield x509.SubjectKeyIdentifier.from_public_key(plan.key.public_key()), False
    if plan.authority_key_id == b"":
        pass
    elif plan.authority_key_id is not None:
        yield x509.AuthorityKeyIdentifier(plan.authority_key_id, None, None), False
    else:
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(plan.issuer.public_key()), False  # type: ignore[arg-type]  # the issuer may be any certificate in a forgery
    if plan.names:
        yield x509.SubjectAlternativeName(plan.names), True
    for arc, claim in plan.claims.items():
        raw = claim if isinstance(claim, bytes) else claim.encode() if arc < 8 else encode_der_string(claim)
        yield x509.UnrecognizedExtension(ObjectIdentifier(f"{_FULCIO_OID_PREFIX}{arc}"), raw), False
    yield from plan.extra


def issue_leaf(plan: LeafPlan) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(plan.issuer.subject)
        .public_key(plan.key.public_key())
        .serial_number(plan.serial)
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
    )
    for extension, critical in _extensions(plan):
        builder = builder.add_extension(extension, critical=critical)
    if plan.sct_count:
        # The SCT does not cover the signature, so any key with the same algorithm gives the TBS that the log signs.
        tbs = builder.sign(derive_key("precertificate"), hashes.SHA384()).tbs_certificate_bytes
        stamps = b"".join(_sct(plan, tbs, number) for number in range(plan.sct_count))
        content = struct.pack("!H", len(stamps)) + stamps
        octets = _octets(content)
        builder = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST_OID, octets), critical=False)
    if isinstance(plan.issuer_key, ec.EllipticCurvePrivateKey):
        return builder.sign(plan.issuer_key, hashes.SHA384(), ecdsa_deterministic=True)
    return builder.sign(plan.issuer_key, hashes.SHA384())


def _octets(content: bytes) -> bytes:
    if len(content) < 128:
        return bytes([0x04, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([0x04, 0x80 | len(length)]) + length + content


def _sct(plan: LeafPlan, tbs: bytes, number: int) -> bytes:
    """Return an SCT for a precertificate (RFC 6962 section 3.2), prefixed with its length."""
    issuer_key_hash = hashlib.sha256(
        plan.issuer.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).digest()
    moment = int((plan.sct_time or plan.not_before).timestamp() * 1000) + number
    signed = struct.pack("!BBQH", 0, 0, moment, 1) + issuer_key_hash + len(tbs).to_bytes(3, "big") + tbs + b"\x00\x00"
    signature = sign_ecdsa(plan.log.key, signed)
    if plan.sct_tail is not None:
        signature = plan.sct_tail(signature)
    stamp = (
        b"\x00"
        + (plan.log_id or plan.log.log_id)
        + struct.pack("!QH", moment, 0)
        + bytes([plan.sct_hash, 3])
        + struct.pack("!H", len(signature))
        + signature
    )
    return struct.pack("!H", len(stamp)) + stamp
