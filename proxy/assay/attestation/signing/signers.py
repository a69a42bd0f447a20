"""Keys that sign statements: key files, keys in tokens (PKCS#11) and keys of cloud services, by securesystemslib.

A key file is PEM. Any other key is named by a URI of securesystemslib, and needs further packages, which are imported
only then. Keys are ECDSA P-256 or P-384, or Ed25519. Functions of this module block.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from assay.attestation.signing.statement import Signed, encode_statement
from assay.attestation.trust_roots import TrustKey
from assay.attestation.verification.public_keys import PublicKey, is_signed_by, load_public_key
from assay.errors import ConfigurationError
from assay.operator_files import read_file

_MAX_KEY_BYTES: Final = 64 * 2**10
_EXTRAS: Final = {"hsm": "hsm", "gcpkms": "gcpkms", "awskms": "awskms", "azurekms": "azurekms", "hv": "vault"}
"""Extra of securesystemslib that each scheme of a key's URI needs."""
_FILE_SCHEMES: Final = ("file2:", "file:")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):")
_EXPECTED_KEY: Final = "a private key as PEM: ECDSA P-256 or P-384, or Ed25519"

SecretReader: TypeAlias = Callable[[str], str]
"""Function that returns the secret with a name, such as ``passphrase``. It raises `ConfigurationError` if it has
none."""


class StatementSigner(Protocol):
    """Signer of statements."""

    def sign(self, statement: bytes) -> Signed:
        """Return the signature of a statement.

        Raises:
            ConfigurationError: the signer cannot sign.
        """
        ...


class KeySigner:
    """Signer with a key. Implements `StatementSigner`.

    Args:
        name: path or URI of the key, for messages.
        signer: signer of securesystemslib.
        public_key: public key, which every signature is verified with.
        hint: hint for verifiers; None: the SHA-256 of the public key in base64.
    """

    def __init__(self, name: str, signer: Signer, public_key: PublicKey, hint: str | None) -> None:
        self.name = name
        self._signer = signer
        self._public_key = public_key
        self.hint = compute_hint(public_key) if hint is None else hint

    @property
    def trust_key(self) -> TrustKey:
        """Public key, as a proxy trusts it."""
        pem = self._public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return TrustKey(name=self.hint, pem=pem)

    def sign(self, statement: bytes) -> Signed:
        """Return the signature of a statement, with the hint for its key.

        Raises:
            ConfigurationError: the token or service does not sign, or it signs with another key.
        """
        content = encode_statement(statement)
        try:
            signature = bytes.fromhex(self._signer.sign(content).signature)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"{self.name}: cannot sign: {_describe(error)}") from error
        if not is_signed_by(self._public_key, signature, content):
            raise ConfigurationError(f"{self.name}: the signature does not match the public key")
        return Signed(signature=signature, material={"publicKey": {"hint": self.hint}})


def compute_hint(public_key: PublicKey) -> str:
    """Return the SHA-256 of a public key (SubjectPublicKeyInfo, DER) in base64."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(der).digest()).decode()


def load_key_signer(
    key: str, *, public_key_path: Path | None, hint: str | None, read_secret: SecretReader
) -> KeySigner:
    """Return the signer with a key.

    Args:
        key: path of a PEM file, or a URI: ``hsm:`` (PKCS#11), ``gcpkms:``, ``awskms:``, ``azurekms:`` or ``hv:``.
        public_key_path: PEM file of the public key; required for a URI.
        hint: hint for verifiers; None: the SHA-256 of the public key.
        read_secret: returns the passphrase of a key file, or the PIN of a token.

    Raises:
        ConfigurationError: the key cannot be loaded or is not supported, or packages are missing.
    """
    stated = None if public_key_path is None else _load_public_key(public_key_path)
    scheme = _find_scheme(key)
    if scheme is None:
        return _load_file(key, stated, hint, read_secret)
    if scheme not in _EXTRAS:
        schemes = ", ".join(f"{each}:" for each in _EXTRAS)
        raise ConfigurationError(f"--key: expected a PEM file, or a URI that begins with {schemes}; found {key!r:.200}")
    if stated is None:
        raise ConfigurationError(f"--public-key: expected the PEM file of the public key of {key}, found nothing")
    try:
        signer = Signer.from_priv_key_uri(key, SSlibKey.from_crypto(stated), read_secret)
    except UnsupportedLibraryError as error:
        packages = f'pip install "securesystemslib[{_EXTRAS[scheme]}]"'
        raise ConfigurationError(f"{key}: this kind of key needs further packages: {packages}") from error
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{key}: cannot be used: {_describe(error)}") from error
    return KeySigner(key, signer, stated, hint)


def _find_scheme(key: str) -> str | None:
    """Return the scheme of a URI; None for a file. A file whose path looks like a URI is a file."""
    found = _SCHEME.match(key)
    if found is None or key.startswith(_FILE_SCHEMES):
        return None
    return None if os.path.exists(key) else found[1]  # noqa: PTH110 - Path.exists raises for a name that is too long


def _load_public_key(path: Path) -> PublicKey:
    try:
        return load_public_key(read_file(path, max_bytes=_MAX_KEY_BYTES))
    except ValueError as error:
        raise ConfigurationError(f"{path}: expected {error}") from error


def _load_file(key: str, stated: PublicKey | None, hint: str | None, read_secret: SecretReader) -> KeySigner:
    path = key if os.path.exists(key) else re.sub("^file2?:", "", key)  # noqa: PTH110 - see _find_scheme
    private_key = _parse_private_key(read_file(Path(path), max_bytes=_MAX_KEY_BYTES), path, read_secret)
    try:
        public_key = load_public_key(
            private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    except ValueError as error:
        raise ConfigurationError(f"{path}: expected {_EXPECTED_KEY}; found another kind of key") from error
    if stated is not None and compute_hint(stated) != compute_hint(public_key):
        raise ConfigurationError(f"--public-key: expected the public key of {path}, found another key")
    return KeySigner(path, CryptoSigner(private_key), public_key, hint)


def _parse_private_key(pem: bytes, path: str, read_secret: SecretReader) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, None)
    except TypeError:  # the key is encrypted
        passphrase = read_secret("passphrase")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: expected {_EXPECTED_KEY}; found another file") from error
    try:
        return load_pem_private_key(pem, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path}: the passphrase is wrong, or the file is damaged") from error


def _describe(error: Exception) -> str:
    """Return an error of a library as one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
