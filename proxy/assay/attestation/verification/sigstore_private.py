"""The private names of sigstore that verification stands on, as read in 4.5.1, each behind one function.

sigstore's public API verifies a whole bundle at once, looks keys up by a hint, and verifies the same chain again for
each file of a release. Its steps one by one let `verify` be stricter (one exact key, its validity window) and let the
chain of a certificate be remembered. No public way is as strict, and so there is no fall-back: where
`require_known_version` finds a change, nothing is verified and nothing is accepted.

`tests/unit/attestation/verification/test_sigstore_private.py` fails loudly when the library changes under us.
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
    """Return a verifier over a parsed trusted root, with no cache directory and no network in it.

    Read in 4.5.1: `TrustedRoot` wraps the parsed message. Public way: `TrustedRoot.from_file`.
    """
    return Verifier(trusted_root=TrustedRoot(root))


def verify_chain(verifier: Verifier, certificate: Certificate, time: datetime) -> list[Certificate]:
    """Return step (1), the chain from the leaf's issuer to the authority, all valid at `time`.

    Read in 4.5.1: `Verifier._verify_chain_at_time`. Public way: `Verifier.verify_dsse`, for a whole bundle.

    Raises:
        sigstore.errors.Error: there is no such chain.
    """
    at = TimestampVerificationResult(source=TimestampSource.TRANSPARENCY_SERVICE, time=time)
    return verifier._verify_chain_at_time(certificate, at)  # noqa: SLF001 - this module's purpose


def create_keyring(key: PublicKey) -> Keyring | None:
    """Return a keyring of exactly this key, so that no other can vouch; None for an algorithm sigstore doesn't take.

    Read in 4.5.1: `Keyring` keeps the keys that it could load in `_keyring`. Public way: none for one key.
    """
    made = Keyring([key])
    return made if made._keyring else None  # noqa: SLF001 - as above


def verify_embedded_sct(certificate: Certificate, issuers: Sequence[Certificate], log: Keyring) -> None:
    """Raise unless, by step (2), the certificate's SCT is signed by this CT log.

    Read in 4.5.1: `verify_sct`. Public way: `Verifier.verify_dsse`, for a whole bundle.
    """
    verify_sct(certificate, list(issuers), CTKeyring(log))


def is_signed_by(log: Keyring, log_id: bytes, signature: bytes, content: bytes) -> bool:
    """Return True if, by steps (4) and (5), this log signed `content`.

    Read in 4.5.1: `Keyring.verify` raises `VerificationError`. Public way: `Verifier.verify_dsse`, for a whole bundle.
    """
    try:
        log.verify(key_id=KeyID(log_id), signature=signature, data=content)
    except VerificationError:
        return False
    return True


def require_known_version() -> None:
    """Raise if a private name is not as it was read. Tried once in each process that loads keys (2 ms).

    Raises:
        PrivateApiChangedError: what has changed.
    """
    changed = find_change()
    if changed is not None:
        raise PrivateApiChangedError(f"sigstore {sigstore.__version__}: {changed}")


@lru_cache(maxsize=1)
def find_change() -> str | None:
    """Try each function on keys and certificates made for it; return what has changed."""
    if _import_error is not None:
        return _import_error
    try:
        _check_signatures()
        _check_chain()
        _expect(list(inspect.signature(verify_sct).parameters) == _SCT_PARAMETERS, "verify_sct")
    except Exception as error:  # noqa: BLE001 - whatever a changed library raises means the same
        return f"{type(error).__name__}: {error}"
    return None


def _check_signatures() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    raw = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keyring = create_keyring(PublicKey(raw_bytes=b64encode(raw), key_details=PublicKeyDetails.PKIX_ECDSA_P256_SHA_256))
    if keyring is None:
        raise _ChangedError("Keyring")
    signature = key.sign(b"a", ec.ECDSA(hashes.SHA256()))
    _expect(is_signed_by(keyring, b"", signature, b"a"), "Keyring.verify of a good signature")
    _expect(not is_signed_by(keyring, b"", signature, b"b"), "Keyring.verify of a bad signature")


def _check_chain() -> None:
    authority, leaf = _create_certificates()
    _, stranger = _create_certificates()
    content = json.loads(read_bundled(_SELF_TEST_ROOT))
    listed = content["certificateAuthorities"][0]
    listed["certChain"] = {"certificates": [{"rawBytes": b64encode(authority.public_bytes(Encoding.DER)).decode()}]}
    content["certificateAuthorities"] = [listed]
    verifier = create_verifier(WireTrustedRoot.from_json(json.dumps(content)))
    inside = leaf.not_valid_before_utc + _SELF_TEST_VALIDITY / 2
    _expect(verify_chain(verifier, leaf, inside) == [authority], "Verifier._verify_chain_at_time of a good chain")
    for certificate, time in ((leaf, inside + _SELF_TEST_VALIDITY), (stranger, inside)):
        try:
            verify_chain(verifier, certificate, time)
        except SigstoreError:
            continue
        raise _ChangedError("Verifier._verify_chain_at_time of a bad chain")


def _create_certificates() -> tuple[Certificate, Certificate]:
    """An authority, and a leaf that it signed."""
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
    """A private name is not as it was read."""


def _expect(is_met: object, name: str) -> None:
    if not is_met:
        raise _ChangedError(f"{name} is not as it was read")
