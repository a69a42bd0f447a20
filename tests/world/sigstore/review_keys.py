"""Private keys of reviewers as PEM files, as openssl writes them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SUPPORTED_KINDS = ("P-256", "P-384", "Ed25519")
_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def write_key(directory: Path, name: str, kind: str = "P-256", passphrase: str | None = None) -> Path:
    """Write a new key to ``NAME.pem`` and its public key to ``NAME.pub``, and return the path of the first."""
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    match kind:
        case "Ed25519":
            key = ed25519.Ed25519PrivateKey.generate()
        case "RSA":
            key = rsa.generate_private_key(65537, 2048)
        case _:
            key = ec.generate_private_key(_CURVES[kind])
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    path = directory / f"{name}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path
