"""Wrappers of the private names of sigstore 4.5.1 that verification uses, with one function for each name.

sigstore's public API is not sufficient. It verifies a whole bundle at once, looks up keys by a hint, and verifies the
same certificate chain again for each file of a release. `verify` calls the single steps instead. It can thus require
one exact key within its validity period, and can cache verified chains.

There is no fallback to the public API, which is less strict. If `require_known_version` finds a change, nothing is
verified and no attestation is accepted. `tests/unit/attestation/verification/test_sigstore_private.py` fails if the
library changes.
"""

from __future__ import annotations

import inspect
import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import sigstore
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from sigstore.errors import Error as SigstoreError
from sigstore.errors import VerificationError
from sigstore.models import TrustedRoot
from sigstore.verify import Verifier
from sigstore_models.common.v1 import PublicKey, PublicKeyDetails
from sigstore_models.trustroot.v1 import TrustedRoot as WireTrustedRoot

from assay.attestation.trust_roots import read_bundled
from assay.errors import PrivateApiChangedError

try:
    from sigstore._internal.sct import verify_sct
    from sigstore._internal.timestamp import TimestampSource, TimestampVerificationResult
    from sigstore._internal.trust import CTKeyring, Keyring
    from sigstore._utils import KeyID
except ImportError as error:
    _import_error: str | None = str(error)
else:
    _import_error = None

__all__ = [
    "Keyring",
    "create_keyring",
    "create_verifier",
    "is_signed_by",
    "require_known_version",
    "verify_chain",
    "verify_embedded_sct",
]
_SCT_PARAMETERS: Final = ["cert", "chain", "ct_keyring"]
_SELF_TEST_ROOT: Final = "sigstore"
_SELF_TEST_VALIDITY: Final = timedelta(minutes=10)


def create_verifier(root: WireTrustedRoot) -> Verifier:
    """Return a sigstore verifier for a parsed trust root. The verifier uses no cache directory and no network.

    In sigstore 4.5.1, `TrustedRoot` wraps the parsed message. Public alternative: `TrustedRoot.from_file`.
    """
    return Verifier(trusted_root=TrustedRoot(root))


def verify_chain(verifier: Verifier, certificate: Certificate, time: datetime) -> list[Certificate]:
    """Return the certificates from the leaf's issuer to the authority (check 1 of `verify`).

    The leaf and all returned certificates are valid at `time`. Private name in sigstore 4.5.1:
    `Verifier._verify_chain_at_time`. Public alternative: `Verifier.verify_dsse`, for a whole bundle.

    Raises:
        sigstore.errors.Error: there is no such chain.
    """
    at = TimestampVerificationResult(source=TimestampSource.TRANSPARENCY_SERVICE, time=time)
    return verifier._verify_chain_at_time(certificate, at)  # noqa: SLF001 - this module's purpose


def create_keyring(key: PublicKey) -> Keyring | None:
    """Return a keyring that contains only this key; None if sigstore does not support the key's algorithm.

    A keyring of one key ensures that no other key can verify a signature. In sigstore 4.5.1, `Keyring` leaves
    out keys of unsupported algorithms, and `Keyring._keyring` contains the other keys. There is no public alternative
    for a single key.
    """
    made = Keyring([key])
    return made if made._keyring else None  # noqa: SLF001 - as above


def verify_embedded_sct(certificate: Certificate, issuers: Sequence[Certificate], log: Keyring) -> None:
    """Verify that the CT log signed the SCT in the certificate (check 2 of `verify`).

    Private name in sigstore 4.5.1: `verify_sct`. Public alternative: `Verifier.verify_dsse`, for a whole bundle.

    Raises:
        sigstore.errors.Error: the CT log did not sign the SCT.
    """
    verify_sct(certificate, list(issuers), CTKeyring(log))


def is_signed_by(log: Keyring, log_id: bytes, signature: bytes, content: bytes) -> bool:
    """Return True if `signature` is the log's signature of `content` (checks 4 and 5 of `verify`).

    In sigstore 4.5.1, `Keyring.verify` raises `VerificationError` for any other signature. Public alternative:
    `Verifier.verify_dsse`, for a whole bundle.
    """
    try:
        log.verify(key_id=KeyID(log_id), signature=signature, data=content)
    except VerificationError:
        return False
    return True


def require_known_version() -> None:
    """Check that the private names of the installed sigstore behave like those of version 4.5.1.

    The check takes 5 ms and runs once in each process that loads keys; for workers, once before they are forked.

    Raises:
        PrivateApiChangedError: a private name is missing or behaves differently. The message states the name.
    """
    changed = find_change()
    if changed is not None:
        raise PrivateApiChangedError(f"sigstore {sigstore.__version__}: {changed}")


@lru_cache(maxsize=1)
def find_change() -> str | None:
    """Test each function of this module with generated keys and certificates.

    Returns:
        Description of the first difference from sigstore 4.5.1; None if all functions behave as expected.
    """
    if _import_error is not None:
        return _import_error
    try:
        _check_signatures()
        _check_chain()
        _expect(list(inspect.signature(verify_sct).parameters) == _SCT_PARAMETERS, "verify_sct")
    except Exception as error:  # noqa: BLE001 - any exception of the library means that it changed
        return f"{type(error).__name__}: {error}"
    return None


def _check_signatures() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    raw = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keyring = create_keyring(PublicKey(raw_bytes=b64encode(raw), key_details=PublicKeyDetails.PKIX_ECDSA_P256_SHA_256))
    if keyring is None:
        raise _ChangedError("Keyring loads no ECDSA P-256 key")
    signature = key.sign(b"a", ec.ECDSA(hashes.SHA256()))
    _expect(is_signed_by(keyring, b"", signature, b"a"), "Keyring.verify (with a valid signature)")
    _expect(not is_signed_by(keyring, b"", signature, b"b"), "Keyring.verify (with an invalid signature)")


def _check_chain() -> None:
    authority, leaf = _create_certificates()
    _, stranger = _create_certificates()
    content = json.loads(read_bundled(_SELF_TEST_ROOT))
    listed = content["certificateAuthorities"][0]
    listed["certChain"] = {"certificates": [{"rawBytes": b64encode(authority.public_bytes(Encoding.DER)).decode()}]}
    content["certificateAuthorities"] = [listed]
    verifier = create_verifier(WireTrustedRoot.from_json(json.dumps(content)))
    inside = leaf.not_valid_before_utc + _SELF_TEST_VALIDITY / 2
    _expect(verify_chain(verifier, leaf, inside) == [authority], "Verifier._verify_chain_at_time (with a valid chain)")
    for certificate, time in ((leaf, inside + _SELF_TEST_VALIDITY), (stranger, inside)):
        try:
            verify_chain(verifier, certificate, time)
        except SigstoreError:
            continue
        raise _ChangedError("Verifier._verify_chain_at_time accepts an invalid chain")


def _create_certificates() -> tuple[Certificate, Certificate]:
    """Return a new self-signed authority certificate and a leaf certificate that the authority signed."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self-test")])
    start = datetime.now(UTC).replace(microsecond=0)
    key_id = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    extensions: tuple[list[tuple[x509.ExtensionType, bool]], ...] = (
        [(x509.BasicConstraints(ca=True, path_length=0), True), (_create_key_usage(is_authority=True), True)],
        [
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), False),
            (_create_key_usage(is_authority=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectAlternativeName([x509.RFC822Name("self-test@example.com")]), True),
        ],
    )
    extensions[0].append((key_id, False))
    made = []
    for key, own, subject in zip(keys, extensions, (name, x509.Name([])), strict=True):
        builder = x509.CertificateBuilder(name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + _SELF_TEST_VALIDITY)
        for extension, critical in own:
            builder = builder.add_extension(extension, critical=critical)
        made.append(builder.sign(keys[0], hashes.SHA256()))
    return made[0], made[1]


def _create_key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


class _ChangedError(Exception):
    """Difference between the behaviour of a private name and its behaviour in sigstore 4.5.1."""


def _expect(is_met: object, name: str) -> None:
    if not is_met:
        raise _ChangedError(f"{name} behaves differently than in sigstore 4.5.1")
