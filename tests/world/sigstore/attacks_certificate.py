"""Attacks on the certificate: its issuer, usages, key and timestamp."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from tests.world.sigstore.attacks import UNVERIFIABLE, attack_by_editing, attack_while_signing, set_at_path, set_fields
from tests.world.sigstore.certificates import issue_leaf, make_key_usage
from tests.world.sigstore.private_sigstore import SIGNING_TIME, LeafPlan, PrivateSigstore
from tests.world.sigstore.transparency_log import derive_key

_OTHER_DEPLOYMENT: Final = PrivateSigstore(seed=99, host="others.example")
_CERTIFICATE_PATH: Final = "verification_material.certificate"


def _issue_by_foreign_authority(leaf: LeafPlan) -> None:
    leaf.issuer_key, leaf.issuer = _OTHER_DEPLOYMENT.intermediate_key, _OTHER_DEPLOYMENT.intermediate


def _borrow_authority_name(leaf: LeafPlan) -> None:
    """Keep the name and key identifier of the authority, but sign with another key."""
    leaf.issuer_key = _OTHER_DEPLOYMENT.intermediate_key


def _issue_by_leaf(leaf: LeafPlan) -> None:
    upper = LeafPlan(**{name: getattr(leaf, name) for name in LeafPlan.__dataclass_fields__})
    upper.key = derive_key("a workload's own key", ec.SECP384R1())
    leaf.issuer, leaf.issuer_key = issue_leaf(upper), upper.key


def _sign_by_itself(leaf: LeafPlan) -> None:
    key = derive_key("self", ec.SECP384R1())
    leaf.issuer_key, leaf.authority_key_id = key, _key_id(leaf.issuer)


def _key_id(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _append_bytes(raw: bytes) -> Any:
    return lambda text: b64encode(b64decode(text) + raw).decode()


def _use_rsa_key(leaf: LeafPlan) -> None:
    leaf.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _use_ed25519_key(leaf: LeafPlan) -> None:
    leaf.key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def _sign_sct_in_logs_name(leaf: LeafPlan) -> None:
    leaf.log, leaf.log_id = _OTHER_DEPLOYMENT.ct, leaf.log.log_id


_CA_EXTENSION: Final = (x509.BasicConstraints(ca=True, path_length=0), True)
_UNKNOWN_CRITICAL_EXTENSION: Final = (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)

CERTIFICATE_ATTACKS: Final = (
    attack_while_signing(
        "an authority that nobody knows issued it",
        UNVERIFIABLE,
        "authority is not in",
        leaf=_issue_by_foreign_authority,
    ),
    attack_while_signing(
        "somebody signed in the authority's name",
        "certificate chain",
        "chain to an authority",
        leaf=_borrow_authority_name,
    ),
    attack_while_signing(
        "it is signed by its own key", "certificate chain", "chain to an authority", leaf=_sign_by_itself
    ),
    attack_while_signing(
        "it names no authority", "certificate chain", "chain to an authority", leaf=set_fields(authority_key_id=b"")
    ),
    attack_while_signing(
        "a workload's certificate issued it", UNVERIFIABLE, "authority is not in", leaf=_issue_by_leaf
    ),
    attack_while_signing(
        "it had expired",
        "log time",
        "validity",
        leaf=set_fields(not_before=SIGNING_TIME - timedelta(days=2), not_after=SIGNING_TIME - timedelta(days=1)),
    ),
    attack_while_signing(
        "it was not valid yet", "log time", "validity", leaf=set_fields(not_before=SIGNING_TIME + timedelta(seconds=1))
    ),
    attack_while_signing(
        "it has an extension nobody knows, marked critical",
        "certificate chain",
        "chain",
        leaf=set_fields(extra=[_UNKNOWN_CRITICAL_EXTENSION]),
    ),
    attack_while_signing(
        "it is an authority itself", "certificate", "authority", leaf=set_fields(extra=[_CA_EXTENSION])
    ),
    attack_while_signing(
        "it has no extended key usage",
        "extended key usage",
        "no extended key usage",
        leaf=set_fields(extended_key_usage=None),
    ),
    attack_while_signing(
        "it is for servers",
        "extended key usage",
        "other uses",
        leaf=set_fields(extended_key_usage=[ExtendedKeyUsageOID.SERVER_AUTH]),
    ),
    attack_while_signing("it has no key usage", "key usage", "no key usage", leaf=set_fields(key_usage=None)),
    attack_while_signing(
        "it may not sign", "key usage", "other uses", leaf=set_fields(key_usage=make_key_usage(key_agreement=True))
    ),
    attack_while_signing(
        "it may sign certificates",
        "key usage",
        "keyCertSign",
        leaf=set_fields(key_usage=make_key_usage(digital_signature=True, key_cert_sign=True)),
    ),
    attack_while_signing("its key is RSA", "certificate key", "RSA", leaf=_use_rsa_key),
    attack_while_signing(
        "its key is on P-384", "certificate key", "secp384r1", leaf=set_fields(key=derive_key("p384", ec.SECP384R1()))
    ),
    attack_while_signing("its key is Ed25519", "certificate key", "Ed25519", leaf=_use_ed25519_key),
    attack_by_editing(
        "it has a byte too many", "certificate", "well-formed", set_at_path(_CERTIFICATE_PATH, _append_bytes(b"\0"))
    ),
    attack_by_editing(
        "it is no certificate",
        "certificate",
        "well-formed",
        set_at_path(_CERTIFICATE_PATH, b64encode(b"hello").decode()),
    ),
    attack_by_editing(
        "it is the authority's",
        "certificate key",
        "secp384r1",
        set_at_path(_CERTIFICATE_PATH, b64encode(_OTHER_DEPLOYMENT.intermediate.public_bytes(Encoding.DER)).decode()),
    ),
    attack_by_editing("it is empty", "certificate", "bytes", set_at_path(_CERTIFICATE_PATH, "")),
    attack_by_editing("it is longer than any", "certificate", "16384", set_at_path(_CERTIFICATE_PATH, "A" * 60_000)),
    attack_while_signing("it has no SCT", "certificate timestamp", "0", leaf=set_fields(sct_count=0)),
    attack_while_signing("it has two SCTs", "certificate timestamp", "2", leaf=set_fields(sct_count=2)),
    attack_while_signing(
        "its SCT is by a log nobody knows", UNVERIFIABLE, "CT log", leaf=set_fields(log=_OTHER_DEPLOYMENT.ct)
    ),
    attack_while_signing(
        "its SCT borrows the log's id",
        "certificate timestamp",
        "signed certificate timestamp (SCT) by",
        leaf=_sign_sct_in_logs_name,
    ),
    attack_while_signing(
        "its SCT is by a known log under an unknown id", UNVERIFIABLE, "CT log", leaf=set_fields(log_id=b"\0" * 32)
    ),
    attack_while_signing(
        "its SCT's signature is broken",
        "certificate timestamp",
        "signed certificate timestamp (SCT) by",
        leaf=set_fields(sct_tail=lambda one: one[:-1] + bytes([one[-1] ^ 1])),
    ),
    attack_while_signing(
        "its SCT is older than the log's key",
        "certificate timestamp",
        "2020",
        leaf=set_fields(sct_time=SIGNING_TIME.replace(year=2020)),
    ),
    attack_while_signing(
        "its SCT is by SHA-384",
        "certificate timestamp",
        "signed certificate timestamp (SCT) by",
        leaf=set_fields(sct_hash=5),
    ),
)
