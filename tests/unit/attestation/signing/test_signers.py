"""Signing keys: key files of three kinds with and without a passphrase, and keys that a URI names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from securesystemslib.signer import _aws_signer, _azure_signer, _gcp_signer, _vault_signer

from assay.attestation.signing.signers import load_key_signer
from assay.attestation.signing.statement import encode_statement
from assay.attestation.verification.public_keys import is_signed_by, load_public_key
from assay.errors import ConfigurationError
from tests.world.sigstore.review_keys import SUPPORTED_KINDS, write_key


def no_secret(name: str) -> str:
    raise AssertionError(f"the {name} was read")


def load(key: object, *, public: Path | None = None, hint: str | None = None, secret: str | None = None) -> Any:
    read_secret: Callable[[str], str] = no_secret if secret is None else lambda _: secret
    return load_key_signer(str(key), public_key_path=public, hint=hint, read_secret=read_secret)


@pytest.mark.parametrize("kind", SUPPORTED_KINDS)
@pytest.mark.parametrize("passphrase", [None, "open sesame"])
@pytest.mark.parametrize("scheme", ["", "file:", "file2:"])
def test_a_key_file_signs(tmp_path: Path, kind: str, passphrase: str | None, scheme: str) -> None:
    path = write_key(tmp_path, "security", kind, passphrase)
    signed = load(f"{scheme}{path}", secret=passphrase, hint="security").sign(b"{}")
    assert signed.material == {"publicKey": {"hint": "security"}}
    public = load_public_key(path.with_suffix(".pub").read_bytes())
    assert is_signed_by(public, signed.signature, encode_statement(b"{}"))
    assert not is_signed_by(public, signed.signature, encode_statement(b"{ }"))


def test_the_hint_is_by_default_the_digest_of_the_public_key(tmp_path: Path) -> None:
    path = write_key(tmp_path, "security")
    assert re.fullmatch("[A-Za-z0-9+/]{43}=", load(path).hint)
    assert load(path).hint == load(path, public=path.with_suffix(".pub")).hint


@pytest.mark.parametrize("kind", ["RSA", "P-521"])
def test_another_kind_of_key_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="ECDSA P-256 or P-384, or Ed25519; found another kind of key"):
        load(write_key(tmp_path, "security", kind))


def test_what_is_no_private_key_is_refused(tmp_path: Path) -> None:
    path = write_key(tmp_path, "security", passphrase="right")
    with pytest.raises(ConfigurationError, match=r"security\.pem: the passphrase is wrong, or the file is damaged"):
        load(path, secret="wrong")
    with pytest.raises(ConfigurationError, match=r"security\.pem: the passphrase is wrong, or the file is damaged"):
        load(path, secret="")
    with pytest.raises(
        ConfigurationError, match=r"security\.pub: expected a private key as PEM: .*; found another file"
    ):
        load(path.with_suffix(".pub"))
    with pytest.raises(ConfigurationError, match=r"missing\.pem: cannot be read: No such file or directory"):
        load(tmp_path / "missing.pem")
    with pytest.raises(ConfigurationError, match=r"cannot be read: File name too long"):
        load("x" * 5000)


def test_a_public_key_beside_a_key_file_must_be_its_own(tmp_path: Path) -> None:
    path, other = write_key(tmp_path, "security"), write_key(tmp_path, "other")
    with pytest.raises(ConfigurationError, match="--public-key: expected the public key of"):
        load(path, public=other.with_suffix(".pub"))


SERVICES = {
    "gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1": "gcpkms",
    "awskms:alias/reviews": "awskms",
    "azurekms://acme.vault.azure.net/keys/reviews/1": "azurekms",
    "hv:reviews/1": "vault",
}


@pytest.mark.parametrize("uri", SERVICES)
def test_a_missing_package_is_named_in_one_sentence(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (_gcp_signer, "GCP"),
        (_aws_signer, "AWS"),
        (_azure_signer, "AZURE"),
        (_vault_signer, "VAULT"),
    ):
        monkeypatch.setattr(module, f"{name}_IMPORT_ERROR", "missing")
    public = write_key(tmp_path, "security").with_suffix(".pub")
    with pytest.raises(ConfigurationError) as caught:
        load(uri, public=public)
    packages = f'pip install "securesystemslib[{SERVICES[uri]}]"'
    assert str(caught.value) == f"{uri}: this kind of key needs further packages: {packages}"


def install_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put classes without behavior in the place of the packages of the services."""

    def client(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace()

    p256 = {"": ("ecdsa", "ecdsa-sha2-nistp256")}
    for module, changes in (
        (_gcp_signer, {"GCP_IMPORT_ERROR": None, "KEYTYPES_AND_SCHEMES": p256}),
        (_gcp_signer, {"kms": SimpleNamespace(KeyManagementServiceClient=client)}),
        (_aws_signer, {"AWS_IMPORT_ERROR": None, "boto3": SimpleNamespace(client=client)}),
        (_azure_signer, {"AZURE_IMPORT_ERROR": None, "KEYTYPES_AND_SCHEMES": p256, "DefaultAzureCredential": client}),
        (_azure_signer, {"CryptographyClient": client, "SIGNATURE_ALGORITHMS": {"ecdsa-sha2-nistp256": ""}}),
        (_vault_signer, {"VAULT_IMPORT_ERROR": None, "hvac": SimpleNamespace(Client=client)}),
    ):
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value, raising=False)


@pytest.mark.parametrize("uri", SERVICES)
def test_the_key_of_a_service_is_constructed_and_its_failure_is_told(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_services(monkeypatch)
    public = write_key(tmp_path, "security").with_suffix(".pub")
    made = load(uri, public=public)
    assert made.trust_key.pem == public.read_bytes()
    with pytest.raises(ConfigurationError, match=f"^{re.escape(uri)}: cannot sign: "):
        made.sign(b"{}")


def test_a_service_that_signs_with_another_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_services(monkeypatch)
    own, other = write_key(tmp_path, "security"), write_key(tmp_path, "other")
    made = load("awskms:alias/reviews", public=own.with_suffix(".pub"))
    monkeypatch.setattr(made, "_signer", load(own)._signer)
    assert made.sign(b"{}").signature
    monkeypatch.setattr(made, "_signer", load(other)._signer)
    with pytest.raises(ConfigurationError, match="the signature does not match the public key"):
        made.sign(b"{}")


@pytest.mark.parametrize("uri", [*SERVICES, "hsm:1"])
def test_a_uri_needs_the_public_key(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="--public-key: expected the PEM file of the public key of"):
        load(uri)


@pytest.mark.parametrize("uri", ["gnupg:ab12", "pkcs11:token=a", "https://acme.example/key"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a PEM file, or a URI that begins with hsm:, gcpkms:, "):
        load(uri)
