"""Tests of the memory of Authorization headers."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from assay.config import AuthSettings, ServerSettings
from assay.users import Authentication, User
from assay.web import auth
from assay.web.auth import Authenticator

CI, DEV = User("ci", Authentication.TOKEN), User("dev", Authentication.TOKEN)


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def write_tokens(path: Path, **tokens: str) -> None:
    path.write_text("".join(f"{name}:{hash_token(token).hex()}\n" for name, token in tokens.items()))


def as_password(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'__token__:{token}'.encode()).decode()}"}


@pytest.fixture
def authenticator(tmp_path: Path) -> Authenticator:
    write_tokens(tmp_path / "tokens", ci="one", dev="two")
    authenticator = Authenticator(ServerSettings(), AuthSettings(tokens=str(tmp_path / "tokens")))
    authenticator.load()
    return authenticator


def test_each_header_has_its_own_user(authenticator: Authenticator) -> None:
    for _ in range(3):
        assert authenticator.identify(as_password("one"), None) == CI
        assert authenticator.identify(as_password("two"), None) == DEV
        assert authenticator.identify({"Authorization": "Bearer two"}, None) == DEV
        assert authenticator.identify(as_password("three"), None) is None
        assert authenticator.identify({}, None) is None


def test_a_header_is_decoded_once(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = auth._decode_credentials

    def count(given: bytes) -> str:
        decoded.append(decode(given))
        return decoded[-1]

    monkeypatch.setattr(auth, "_decode_credentials", count)
    for _ in range(3):
        assert authenticator.identify(as_password("one"), None) == CI
    assert len(decoded) == 1
    for _ in range(3):
        assert authenticator.identify(as_password("three"), None) is None
    assert len(decoded) == 4, "headers of strangers are not kept"


def test_a_removed_token_counts_no_longer_although_its_header_was_known(
    authenticator: Authenticator, tmp_path: Path
) -> None:
    assert authenticator.identify(as_password("one"), None) == CI
    assert authenticator.identify(as_password("two"), None) == DEV
    write_tokens(tmp_path / "tokens", dev="two")
    authenticator.load()
    assert authenticator.identify(as_password("one"), None) is None
    assert authenticator.identify(as_password("two"), None) == DEV


def test_a_header_that_is_looked_up_during_a_reload_is_looked_up_again(
    authenticator: Authenticator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = auth._decode_credentials
    old = authenticator._tokens

    def reload_first(given: bytes) -> str:
        write_tokens(tmp_path / "tokens", dev="two")
        authenticator.load()
        return decode(given)

    with monkeypatch.context() as patch:
        patch.setattr(auth, "_decode_credentials", reload_first)
        patch.setattr(
            Authenticator, "_identify_token", lambda _, token: old.get(hashlib.sha256(token.encode()).digest())
        )
        assert authenticator.identify(as_password("one"), None) == CI
    assert authenticator.identify(as_password("one"), None) is None
