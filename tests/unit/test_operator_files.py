"""Files of the operator: whole, bounded, and named where they cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import ConfigurationError
from assay.operator_files import MAX_OPERATOR_FILE_BYTES, decode_text, read_file, read_text
from assay.policy.language.document import BUILT_IN_POLICY


def test_a_file_is_read_through_links_and_to_its_last_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "link", max_bytes=100) == b"x" * 100


def test_one_byte_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 101)
    with pytest.raises(ConfigurationError, match=r"/a: larger than 100 B$"):
        read_file(tmp_path / "a", max_bytes=100)


def test_an_endless_file_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match=r"/dev/zero: larger than 16\.0 MiB"):
        read_file(Path("/dev/zero"))


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), (".", "Is a directory")])
def test_what_cannot_be_read_is_named_as_its_setting_is(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^server.tls: cannot be read: {why}"):
        read_file(tmp_path / name, "server.tls")


def test_text_is_utf_8_with_newlines(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("é\r\nb\n".encode())
    assert read_text(tmp_path / "a") == "é\nb\n"
    with pytest.raises(ConfigurationError, match=r"^it: not UTF-8, at byte 1$"):
        decode_text(b"a\xff", "it")


def test_a_policy_is_bounded_as_well(tmp_path: Path) -> None:
    from assay.assembly.inputs import read_policy  # noqa: PLC0415 - heavy

    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\n')
    assert read_policy(policy).rules[0].name == "all"
    assert read_policy(None) is BUILT_IN_POLICY
    with policy.open("ab") as file:
        file.truncate(MAX_OPERATOR_FILE_BYTES + 1)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_policy(policy)
