"""Attacks on the certificate: who issued it, for what, with which key and timestamp."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from tests.world.sigstore.attacks import UNVERIFIABLE, at, edited, put, signed
from tests.world.sigstore.certificates import signed_leaf, usage
from tests.world.sigstore.private_sigstore import WHEN, Leaf, PrivateSigstore
from tests.world.sigstore.transparency_log import curve_key

_OTHERS: Final = PrivateSigstore(seed=99, host="others.example")
_CERTIFICATE: Final = "verification_material.certificate"


def _foreign_authority(leaf: Leaf) -> None:
    leaf.issuer_key, leaf.issuer = _OTHERS.intermediate_key, _OTHERS.intermediate


def _borrowed_name(leaf: Leaf) -> None:
    """The authority's name and key identifier, somebody else's signature."""
    leaf.issuer_key = _OTHERS.intermediate_key


def _issued_by_a_leaf(leaf: Leaf) -> None:
    upper = Leaf(**{name: getattr(leaf, name) for name in Leaf.__dataclass_fields__})
    upper.key = curve_key("a workload's own key", ec.SECP384R1())
    leaf.issuer, leaf.issuer_key = signed_leaf(upper), upper.key


def _self_signed(leaf: Leaf) -> None:
    key = curve_key("self", ec.SECP384R1())
    leaf.issuer_key, leaf.authority_key_id = key, _key_id(leaf.issuer)


def _key_id(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _tail(raw: bytes) -> Any:
    return lambda text: b64encode(b64decode(text) + raw).decode()


def _rsa(leaf: Leaf) -> None:
    leaf.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _ed25519(leaf: Leaf) -> None:
    leaf.key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def _in_the_logs_name(leaf: Leaf) -> None:
    leaf.log, leaf.log_id = _OTHERS.ct, leaf.log.log_id


_AUTHORITY: Final = (x509.BasicConstraints(ca=True, path_length=0), True)
_UNHEARD_OF: Final = (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)

CHAIN: Final = (
    signed("an authority that nobody knows issued it", UNVERIFIABLE, "authority is not in", leaf=_foreign_authority),
    signed(
        "somebody signed in the authority's name", "certificate chain", "chain to an authority", leaf=_borrowed_name
    ),
    signed("it is signed by its own key", "certificate chain", "chain to an authority", leaf=_self_signed),
    signed("it names no authority", "certificate chain", "chain to an authority", leaf=put(authority_key_id=b"")),
    signed("a workload's certificate issued it", UNVERIFIABLE, "authority is not in", leaf=_issued_by_a_leaf),
    signed(
        "it had expired",
        "log time",
        "validity",
        leaf=put(not_before=WHEN - timedelta(days=2), not_after=WHEN - timedelta(days=1)),
    ),
    signed("it was not valid yet", "log time", "validity", leaf=put(not_before=WHEN + timedelta(seconds=1))),
    signed(
        "it has an extension nobody knows, marked critical", "certificate chain", "chain", leaf=put(extra=[_UNHEARD_OF])
    ),
    signed("it is an authority itself", "certificate", "authority", leaf=put(extra=[_AUTHORITY])),
    signed("it has no extended key usage", "extended key usage", "none", leaf=put(extended_key_usage=None)),
    signed(
        "it is for servers",
        "extended key usage",
        "other uses",
        leaf=put(extended_key_usage=[ExtendedKeyUsageOID.SERVER_AUTH]),
    ),
    signed("it has no key usage", "key usage", "none", leaf=put(key_usage=None)),
    signed("it may not sign", "key usage", "other uses", leaf=put(key_usage=usage(key_agreement=True))),
    signed(
        "it may sign certificates",
        "key usage",
        "keyCertSign",
        leaf=put(key_usage=usage(digital_signature=True, key_cert_sign=True)),
    ),
    signed("its key is RSA", "certificate key", "RSA", leaf=_rsa),
    signed("its key is on P-384", "certificate key", "secp384r1", leaf=put(key=curve_key("p384", ec.SECP384R1()))),
    signed("its key is Ed25519", "certificate key", "Ed25519", leaf=_ed25519),
    edited("it has a byte too many", "certificate", "well-formed", at(_CERTIFICATE, _tail(b"\0"))),
    edited("it is no certificate", "certificate", "well-formed", at(_CERTIFICATE, b64encode(b"hello").decode())),
    edited(
        "it is the authority's",
        "certificate key",
        "secp384r1",
        at(_CERTIFICATE, b64encode(_OTHERS.intermediate.public_bytes(Encoding.DER)).decode()),
    ),
    edited("it is empty", "certificate", "bytes", at(_CERTIFICATE, "")),
    edited("it is longer than any", "certificate", "16384", at(_CERTIFICATE, "A" * 60_000)),
    signed("it has no SCT", "certificate timestamp", "0", leaf=put(sct_count=0)),
    signed("it has two SCTs", "certificate timestamp", "2", leaf=put(sct_count=2)),
    signed("its SCT is by a log nobody knows", UNVERIFIABLE, "CT log", leaf=put(log=_OTHERS.ct)),
    signed(
        "its SCT borrows the log's id",
        "certificate timestamp",
        "SCT signed by",
        leaf=_in_the_logs_name,
    ),
    signed("its SCT is by a known log under an unknown id", UNVERIFIABLE, "CT log", leaf=put(log_id=b"\0" * 32)),
    signed(
        "its SCT's signature is broken",
        "certificate timestamp",
        "SCT signed by",
        leaf=put(sct_tail=lambda one: one[:-1] + bytes([one[-1] ^ 1])),
    ),
    signed(
        "its SCT is older than the log's key",
        "certificate timestamp",
        "2020",
        leaf=put(sct_time=WHEN.replace(year=2020)),
    ),
    signed("its SCT is by SHA-384", "certificate timestamp", "SCT signed by", leaf=put(sct_hash=5)),
)
