from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.errors import UploadRefusedError
from assay.hosted.archive.limits import CHUNK_BYTES, ArchiveLimits
from assay.hosted.archive.metadata import ExpectedDistribution
from assay.hosted.archive.wheel import inspect_wheel
from tests.world.index.archives import (
    add_to_zip,
    insert_before_directory,
    insert_zip64_locator,
    make_bomb_wheel,
    make_zip_info,
    rename_in_central_directory,
    replace_members,
    set_flag_bits,
)
from tests.world.index.distributions import wheel

GOOD = wheel("foo", "1.0", requires_python=">=3.9")
EXPECTED = ExpectedDistribution(project=NormalizedName("foo"), version=Version("1.0"), filename=GOOD.filename)


def inspect(content: bytes, limits: ArchiveLimits | None = None) -> str | None:
    return inspect_wheel(io.BytesIO(content), len(content), EXPECTED, limits).requires_python


def test_a_valid_wheel_gives_its_metadata() -> None:
    found = inspect_wheel(io.BytesIO(GOOD.content), GOOD.size, EXPECTED)

    assert (found.requires_python, found.metadata) == (">=3.9", GOOD.metadata)


def test_a_compressed_wheel_is_accepted() -> None:
    assert inspect(make_bomb_wheel(1000)) is None


@pytest.mark.parametrize("above", [*range(18, 300, 47), 0])
def test_a_compressed_member_of_about_a_piece_is_accepted(above: int) -> None:
    """The decompressor has then taken all input before it has given all output."""
    assert inspect(make_bomb_wheel(CHUNK_BYTES + above)) is None


def test_paths_that_differ_in_case_or_are_similar_are_accepted() -> None:
    files = {"foo/a": b"", "foo/A": b"", "foo/a.b": b"", "foo/a-b/c": b"", "foo/RECORD": b"x"}

    assert inspect(wheel("foo", "1.0", files=files).content) is None


ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "traversal": (lambda: add_to_zip(GOOD.content, (make_zip_info("../evil.py"), b"x")), "leaves its directory"),
    "absolute": (lambda: add_to_zip(GOOD.content, (make_zip_info("/etc/evil"), b"x")), "absolute path"),
    "backslash": (lambda: add_to_zip(GOOD.content, (make_zip_info("foo\\evil"), b"x")), "backslash"),
    "drive": (lambda: add_to_zip(GOOD.content, (make_zip_info("c:evil"), b"x")), "absolute path"),
    "link": (lambda: add_to_zip(GOOD.content, (make_zip_info("foo/link", mode=0o120777), b"/etc")), "is a link"),
    "file below a file": (
        lambda: add_to_zip(GOOD.content, (make_zip_info("foo/__init__.py/x"), b"x")),
        "is below the file",
    ),
    "link of another system": (
        lambda: add_to_zip(GOOD.content, (make_zip_info("foo/link", mode=0o120777, system=0), b"/etc")),
        "is a link",
    ),
    "file below a later file": (
        lambda: wheel("foo", "1.0", files={"foo/z/y": b"", "foo/z": b""}).content,
        "'foo/z/y' is below the file 'foo/z'",
    ),
    "two METADATA for some systems": (
        lambda: wheel("foo", "1.0", files={"foo-1.0.dist-info/metadata": b""}).content,
        "only in case",
    ),
    "no digest of a file named RECORD": (
        lambda: replace_members(
            wheel("foo", "1.0", files={"foo/RECORD": b"x"}).content,
            lambda _, data: re.sub(rb"foo/RECORD,.*", b"foo/RECORD,,", data),
        ),
        "has no SHA-256 or better of 'foo/RECORD'",
    ),
    "ZIP64 directory": (lambda: insert_zip64_locator(GOOD.content), "ZIP64"),
    "not in RECORD": (lambda: add_to_zip(GOOD.content, (make_zip_info("foo/extra.py"), b"x")), "RECORD does not list"),
    "prefix": (lambda: b"#!/bin/sh\n" + GOOD.content, "not at the end"),
    "suffix": (lambda: GOOD.content + b"x", "not a ZIP archive"),
    "comment": (lambda: GOOD.content[:-2] + b"\1\0x", "not a ZIP archive"),
    "bytes between": (lambda: insert_before_directory(GOOD.content, b"hidden"), "bytes outside"),
    "two names": (
        lambda: rename_in_central_directory(GOOD.content, b"foo/__init__.py", b"foo/__iniT__.py"),
        "the local header and the central directory differ",
    ),
    "encrypted": (lambda: set_flag_bits(GOOD.content, 1), "is encrypted"),
    "changed content": (
        lambda: GOOD.content.replace(b"__version__", b"__Version__", 1),
        "differs from its size",
    ),
    "other version": (lambda: wheel("foo", "2.0").content, "belongs to another distribution"),
    "other project": (lambda: wheel("bar", "1.0").content, "belongs to another distribution"),
    "dependency with a URL": (
        lambda: wheel("foo", "1.0", requires=["evil @ https://evil.example/evil.whl"]).content,
        "requires evil from a URL",
    ),
    "dependency behind a line that is not a field": (
        lambda: wheel("foo", "1.0", requires=["bar\nno field\nRequires-Dist: evil @ https://evil.example/e"]).content,
        "a line before the description is not a field",
    ),
    "dependency behind a carriage return": (
        lambda: wheel("foo", "1.0", requires=["bar\r\rRequires-Dist: evil @ https://evil.example/e"]).content,
        "a control character",
    ),
    "invalid metadata": (lambda: wheel("foo", "1.0", requires_python="not a specifier").content, "invalid METADATA"),
    "empty": (lambda: b"", "not a ZIP archive"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_wheel_is_refused_with_its_reason(name: str) -> None:
    make, reason = ATTACKS[name]

    with pytest.raises(UploadRefusedError, match=reason):
        inspect(make())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_path_are_refused() -> None:
    twice = add_to_zip(GOOD.content, (make_zip_info("foo/__init__.py"), b"x"))

    with pytest.raises(UploadRefusedError, match="two members have the path"):
        inspect(twice)


def test_a_bomb_is_refused_before_it_is_expanded() -> None:
    limits = ArchiveLimits(free_bytes=1_000_000)

    assert inspect(make_bomb_wheel(900_000), limits) is None
    with pytest.raises(UploadRefusedError, match="expands to more than"):
        inspect(make_bomb_wheel(5_000_000), limits)


def test_too_many_members_are_refused() -> None:
    assert inspect(wheel("foo", "1.0").content, ArchiveLimits(entries=4)) is None
    with pytest.raises(UploadRefusedError, match="too large"):
        inspect(wheel("foo", "1.0", files={"foo/more.py": b""}).content, ArchiveLimits(entries=4))


@given(st.integers(0, GOOD.size - 1), st.integers(1, 255))
def test_a_wheel_with_one_changed_byte_is_refused_or_means_the_same(place: int, change: int) -> None:
    changed = bytearray(GOOD.content)
    changed[place] ^= change
    try:
        found = inspect_wheel(io.BytesIO(bytes(changed)), GOOD.size, EXPECTED)
    except UploadRefusedError:
        return
    assert found.metadata == GOOD.metadata  # only a time, a version number or the mode of a member has changed


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(UploadRefusedError):
        inspect(content)
