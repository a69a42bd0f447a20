"""Key file of a shared storage."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from assay.errors import ConfigurationError
from assay.store.shared.key_file import KeyFile, is_exposed, parse_keys

OLD, NEW = bytes(range(32)), bytes(range(100, 148))


@pytest.mark.parametrize(
    "text",
    [
        OLD.hex(),
        OLD.hex().upper() + "\n",
        base64.b64encode(OLD).decode() + "\n",
        base64.b64encode(OLD).decode().rstrip("=") + "\r\n",
        base64.urlsafe_b64encode(OLD).decode() + "\n\n",
    ],
)
def test_a_key_is_hexadecimal_or_base64(text: str) -> None:
    assert parse_keys(text, "key") == (OLD,)


def test_two_lines_are_the_new_key_and_the_old_one() -> None:
    assert parse_keys(f"{NEW.hex()}\n{OLD.hex()}\n", "key") == (NEW, OLD)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected one line with a key, or two while it is rotated, found 0"),
        (f"{OLD.hex()}\n{NEW.hex()}\n{OLD.hex()}", "found 3"),
        (f"{OLD.hex()}\n{base64.b64encode(OLD).decode()}", "expected two different keys"),
        (OLD[:31].hex(), "key:1: expected a key of at least 32 bytes, found 31; create one with: openssl rand -hex 32"),
        (f"{OLD.hex()}\nnot!a!key", "key:2: expected a key in hexadecimal or Base64, found other text"),
        ("correct horse battery staple", "key:1: expected a key in hexadecimal or Base64"),
    ],
)
def test_another_text_is_refused_without_quoting_it(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_keys(text, "key")
    assert sentence in str(refused.value)
    assert not text or text.splitlines()[-1] not in str(refused.value)


def test_a_changed_file_is_read_again_and_an_invalid_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(OLD.hex())
    keys = KeyFile(path)
    keys.load()
    assert keys.get() == (OLD,)
    path.write_text(f"{NEW.hex()}\n{OLD.hex()}\n")
    keys.load()
    assert keys.get() == (NEW, OLD)
    path.write_text("short")
    with pytest.raises(ConfigurationError):
        keys.load()
    assert keys.get() == (NEW, OLD)


def test_a_missing_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyFile(tmp_path / "none").load()
    (tmp_path / "huge").write_text("00" * 4096)
    with pytest.raises(ConfigurationError, match="larger than"):
        KeyFile(tmp_path / "huge").load()


@pytest.mark.parametrize(
    ("mode", "owner", "expected"),
    [
        (0o600, 1000, False),
        (0o400, 1000, False),
        (0o640, 1000, True),
        (0o604, 1000, True),
        (0o620, 1000, True),
        (0o600, 0, False),
        (0o640, 0, False),
        (0o440, 0, False),
        (0o644, 0, True),
        (0o660, 0, True),
        (0o444, 0, True),
    ],
)
def test_a_key_is_exposed_by_the_rule_of_postgresql(mode: int, owner: int, expected: bool) -> None:
    assert is_exposed(0o100000 | mode, owner) == expected


def test_the_mode_of_an_exposed_file_is_named(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "key")
    assert file.find_exposed_mode() is None, "no file"
    file.path.touch()
    file.path.chmod(0o666)
    assert file.find_exposed_mode() == "0666"
    file.path.chmod(0o600)
    assert file.find_exposed_mode() is None
