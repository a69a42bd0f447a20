"""What a signing certificate says: Sigstore's X.509 profile, and Fulcio's extensions as typed claims.

Owns the OIDs and their decoding. Proves nothing of who issued the certificate: `verify` does. Source of the extensions:
https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md (1.3.6.1.4.1.57264.1.*: below .8 raw text, from .8 up DER
UTF8String).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate, GeneralName
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp
from cryptography.x509.oid import ExtendedKeyUsageOID

from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.publishers.extensions import EXTENSION_NAMES

_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)
_FULCIO_OID_PREFIX: Final = "1.3.6.1.4.1.57264.1."
_RAW_TEXT_ARCS: Final = range(1, 7)
_DER_TEXT_ARCS: Final = range(8, 25)
_ARC_BY_OID: Final = {
    x509.ObjectIdentifier(f"{_FULCIO_OID_PREFIX}{arc}"): arc for arc in (*_RAW_TEXT_ARCS, *_DER_TEXT_ARCS)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningCertificate:
    """A leaf by Sigstore's profile, taken apart once."""

    x509: Certificate
    key: ec.EllipticCurvePublicKey
    authority_key_id: bytes | None
    """Key identifier of the authority that it names as its issuer (RFC 5280 section 4.2.1.1)."""
    alternative_names: tuple[GeneralName, ...]
    scts: tuple[SignedCertificateTimestamp, ...]
    fulcio_extensions: tuple[tuple[int, bytes], ...]
    """Fulcio's extensions as they stand there, by the last arc of their OID."""

    @property
    def claims(self) -> dict[int, str]:
        """Fulcio's extensions as text; empty ones are left out, as are arcs that we have no name for.

        Raises:
            CheckFailed: one of those we read isn't encoded as Fulcio encodes it.
        """
        found: dict[int, str] = {}
        for arc, raw in self.fulcio_extensions:
            try:
                text = raw.decode() if arc in _RAW_TEXT_ARCS else _decode_utf8_string(raw)
            except ValueError as error:
                raise CheckFailed("certificate claims", f"{EXTENSION_NAMES.get(arc, arc)} as text", error) from error
            # CircleCI's certificates carry a Runner Environment of two quotation marks.
            if text not in {"", '""'}:
                found[arc] = text
        return found

    @property
    def subject_alternative_name(self) -> tuple[bool, str]:
        """The one Subject Alternative Name: whether it is an e-mail address, and its text.

        Raises:
            CheckFailed: there is no such name, or there are several, so that the signer is ambiguous.
            UnknownMaterial: neither a URI nor an e-mail address.
        """
        if len(self.alternative_names) != 1:
            raise CheckFailed("subject alternative name", "exactly one", f"{len(self.alternative_names)} names")
        match self.alternative_names[0]:
            case x509.UniformResourceIdentifier(value=value):
                return False, value
            case x509.RFC822Name(value=value):
                return True, value
            case other:
                raise UnknownMaterial(f"subject alternative name of type {type(other).__name__}")


def load_certificate(der: bytes) -> SigningCertificate:
    """The certificate, if it is one by Sigstore's profile: what step (3) asks of any leaf.

    Raises:
        CheckFailed: not DER, not version 3, not for code signing, an authority, or not an ECDSA P-256 key (PEP 740).
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = list(certificate.extensions)
        key = certificate.public_key()
    except MemoryError:
        raise
    except Exception as error:
        # ValueError, x509.DuplicateExtension, UnsupportedAlgorithm …: cryptography has no common base for them.
        raise CheckFailed("certificate", "a well-formed X.509 certificate", error) from error
    if certificate.version is not x509.Version.v3:
        raise CheckFailed("certificate", "X.509 version 3", certificate.version.name)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        found = f"ECDSA {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
        raise CheckFailed("certificate key", "ECDSA on P-256, as PEP 740 says", found)
    values = {type(extension.value): extension.value for extension in extensions}
    _check_usages(values)
    authority = _find_extension(values, x509.AuthorityKeyIdentifier)
    return SigningCertificate(
        x509=certificate,
        key=key,
        authority_key_id=None if authority is None else authority.key_identifier,
        alternative_names=tuple(_find_extension(values, x509.SubjectAlternativeName) or ()),
        scts=tuple(_find_extension(values, x509.PrecertificateSignedCertificateTimestamps) or ()),
        fulcio_extensions=tuple(
            (arc, extension.value.value)
            for extension in extensions
            if isinstance(extension.value, x509.UnrecognizedExtension)
            and (arc := _ARC_BY_OID.get(extension.oid)) is not None
        ),
    )


def _find_extension(values: Mapping[type, x509.ExtensionType], kind: type[_ExtensionT]) -> _ExtensionT | None:
    value = values.get(kind)
    return value if isinstance(value, kind) else None


def _check_usages(values: Mapping[type, x509.ExtensionType]) -> None:
    usage = _find_extension(values, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise CheckFailed("key usage", "digital signature", "none" if usage is None else "other uses only")
    if usage.key_cert_sign:
        raise CheckFailed("key usage", "no signing of certificates", "keyCertSign")
    extended = _find_extension(values, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise CheckFailed("extended key usage", "code signing", "none" if extended is None else "other uses only")
    constraints = _find_extension(values, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise CheckFailed("certificate", "a signing certificate", "a certificate authority")


_UTF8_STRING_TAG: Final = 0x0C
_LONG_FORM_FLAG: Final = 0x80


def _decode_utf8_string(raw: bytes) -> str:
    """X.690: a UTF8String in DER, with a definite length in its shortest form and nothing after it."""
    if len(raw) < 2 or raw[0] != _UTF8_STRING_TAG:  # noqa: PLR2004 - tag and length
        raise ValueError("not a DER UTF8String")
    length, start = raw[1], 2
    if length >= _LONG_FORM_FLAG:
        octets = length - _LONG_FORM_FLAG
        length, start = int.from_bytes(raw[2 : 2 + octets], "big"), 2 + octets
        if not 1 <= octets <= 2 or length < _LONG_FORM_FLAG or (octets == 2 and length <= 0xFF):  # noqa: PLR2004 - one or two
            raise ValueError("a DER length that is not the shortest")
    if len(raw) != start + length:
        raise ValueError("a DER length that is not the content's")
    return raw[start:].decode()
