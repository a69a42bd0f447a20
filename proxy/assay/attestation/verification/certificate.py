"""Parser of signing certificates: checks Sigstore's X.509 profile and decodes Fulcio's extensions to text.

The parser does not check who issued a certificate; `verify` does. Fulcio's extensions have the OIDs
1.3.6.1.4.1.57264.1.N, documented at https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md. Extensions with N
below 8 are raw text. Extensions with N from 8 on are DER UTF8Strings.
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
CERTIFICATE_KEY_STEP: Final = "certificate key"
"""Name of the check that the certificate's key is an ECDSA P-256 key."""
_FULCIO_OID_PREFIX: Final = "1.3.6.1.4.1.57264.1."
_RAW_TEXT_ARCS: Final = range(1, 7)
_DER_TEXT_ARCS: Final = range(8, 25)
_ARC_BY_OID: Final = {
    x509.ObjectIdentifier(f"{_FULCIO_OID_PREFIX}{arc}"): arc for arc in (*_RAW_TEXT_ARCS, *_DER_TEXT_ARCS)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningCertificate:
    """Parsed leaf certificate that conforms to Sigstore's profile."""

    x509: Certificate
    key: ec.EllipticCurvePublicKey
    authority_key_id: bytes | None
    """Authority Key Identifier (RFC 5280 section 4.2.1.1): identifies the key that signed the certificate. None if
    absent."""
    alternative_names: tuple[GeneralName, ...]
    scts: tuple[SignedCertificateTimestamp, ...]
    fulcio_extensions: tuple[tuple[int, bytes], ...]
    """Pairs of number and raw value, one for each Fulcio extension. The number is the last arc of the extension's
    OID."""

    @property
    def claims(self) -> dict[int, str]:
        """Text of each Fulcio extension, by the last arc of its OID. Empty and unknown extensions are left out.

        Raises:
            CheckFailed: an extension is not encoded as Fulcio specifies.
        """
        found: dict[int, str] = {}
        for arc, raw in self.fulcio_extensions:
            try:
                text = raw.decode() if arc in _RAW_TEXT_ARCS else _decode_utf8_string(raw)
            except ValueError as error:
                raise CheckFailed("certificate claims", f"{EXTENSION_NAMES.get(arc, arc)} as text", error) from error
            # In CircleCI's certificates an empty Runner Environment consists of two quotation marks.
            if text not in {"", '""'}:
                found[arc] = text
        return found

    @property
    def subject_alternative_name(self) -> tuple[bool, str]:
        """Subject Alternative Name as a pair: True for an e-mail address or False for a URI, and the name itself.

        Raises:
            CheckFailed: the certificate has no such name, or several, so that the signer is ambiguous.
            UnknownMaterial: the name is neither a URI nor an e-mail address.
        """
        if len(self.alternative_names) != 1:
            raise CheckFailed("subject alternative name", "exactly one name", f"{len(self.alternative_names)} names")
        match self.alternative_names[0]:
            case x509.UniformResourceIdentifier(value=value):
                return False, value
            case x509.RFC822Name(value=value):
                return True, value
            case other:
                kind = type(other).__name__
                raise UnknownMaterial(f"the Subject Alternative Name is neither a URI nor an e-mail address: {kind}")


def load_certificate(der: bytes) -> SigningCertificate:
    """Parse a leaf certificate and check it against Sigstore's profile (part of check 3 of `verify`).

    Raises:
        CheckFailed: the DER is malformed, or the certificate is not X.509 version 3, may not sign code, belongs to an
            authority, or has a key other than ECDSA P-256 (PEP 740).
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = list(certificate.extensions)
        key = certificate.public_key()
    except MemoryError:
        raise
    except Exception as error:
        # cryptography raises ValueError, x509.DuplicateExtension, UnsupportedAlgorithm …, which have no common base.
        raise CheckFailed("certificate", "a well-formed X.509 certificate", error) from error
    if certificate.version is not x509.Version.v3:
        raise CheckFailed("certificate", "X.509 version 3", certificate.version.name)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        found = f"ECDSA {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
        raise CheckFailed(CERTIFICATE_KEY_STEP, "a certificate with an ECDSA P-256 key (PEP 740)", found)
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
        found = "no key usage" if usage is None else "a key usage that permits only other uses"
        raise CheckFailed("key usage", "a key usage that permits digital signatures", found)
    if usage.key_cert_sign:
        raise CheckFailed(
            "key usage", "a key that may not sign certificates", "a key that may sign certificates (keyCertSign)"
        )
    extended = _find_extension(values, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        found = "no extended key usage" if extended is None else "an extended key usage that permits only other uses"
        raise CheckFailed("extended key usage", "an extended key usage that permits code signing", found)
    constraints = _find_extension(values, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise CheckFailed("certificate", "a signing certificate", "a certificate authority")


_UTF8_STRING_TAG: Final = 0x0C
_LONG_FORM_FLAG: Final = 0x80


def _decode_utf8_string(raw: bytes) -> str:
    """Decode a DER UTF8String (X.690). The length must be definite and in its shortest form, without trailing bytes.

    Raises:
        ValueError: the bytes are not such a string.
    """
    if len(raw) < 2 or raw[0] != _UTF8_STRING_TAG:  # noqa: PLR2004 - tag and length
        raise ValueError("the bytes are not a DER UTF8String")
    length, start = raw[1], 2
    if length >= _LONG_FORM_FLAG:
        octets = length - _LONG_FORM_FLAG
        length, start = int.from_bytes(raw[2 : 2 + octets], "big"), 2 + octets
        if not 1 <= octets <= 2 or length < _LONG_FORM_FLAG or (octets == 2 and length <= 0xFF):  # noqa: PLR2004 - one or two
            raise ValueError("the DER length is not in its shortest form")
    if len(raw) != start + length:
        raise ValueError("the DER length differs from the length of the content")
    return raw[start:].decode()
