from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from contextlib import suppress
from gzip import compress, decompress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.errors import UploadRefusedError
from assay.hosted.archive.limits import ArchiveLimits
from assay.hosted.archive.metadata import ExpectedDistribution
from assay.hosted.archive.sdist import inspect_sdist
from tests.world.index.archives import make_sdist_with, make_tar, make_tar_info, read_tar
from tests.world.index.distributions import sdist

GOOD = sdist("foo", "1.0", requires_python=">=3.9")
EXPECTED = ExpectedDistribution(project=NormalizedName("foo"), version=Version("1.0"), filename=GOOD.filename)
METADATA = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"


def inspect(content: bytes, limits: ArchiveLimits | None = None) -> str | None:
    return inspect_sdist(io.BytesIO(content), len(content), EXPECTED, limits).requires_python


def test_a_valid_source_archive_gives_its_requires_python() -> None:
    assert inspect(GOOD.content) == ">=3.9"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 300_000])
def test_members_of_any_size_are_read(size: int) -> None:
    assert inspect(make_sdist_with((make_tar_info("foo-1.0/data.bin"), b"x" * size))) is None


def test_links_inside_the_archive_are_accepted() -> None:
    inside = make_tar_info("foo-1.0/docs/readme", tarfile.SYMTYPE, "../PKG-INFO")
    hard = make_tar_info("foo-1.0/copy", tarfile.LNKTYPE, "foo-1.0/PKG-INFO")

    assert inspect(make_sdist_with((inside, b""), (hard, b""))) is None


def test_links_up_and_headers_for_all_members_are_accepted() -> None:
    up = make_tar_info("foo-1.0/docs/a/link", tarfile.SYMTYPE, "../../src/x")

    assert inspect(make_sdist_with((up, b""), pax_headers={f"key{number}": "x" for number in range(100)})) is None


def _add_block(block: bytes) -> bytes:
    """Return the source archive with a block in place of the first block of its end."""
    raw = decompress(GOOD.content)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        archive.getmembers()
        return compress(raw[: archive.offset] + block + bytes(1024))


def _make_header(path: str, kind: bytes) -> bytes:
    return make_tar_info(path, kind).tobuf(tarfile.GNU_FORMAT)


def _with_extended(**headers: str) -> bytes:
    info = make_tar_info("foo-1.0/data")
    info.pax_headers = {name.replace("__", "."): value for name, value in headers.items()}
    return make_sdist_with((info, b"x" * 512))


def _with(path: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[], bytes]:
    return lambda: make_sdist_with((make_tar_info(path, kind, target), b""))


ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "traversal": (_with("foo-1.0/../../evil"), "leaves its directory"),
    "absolute": (_with("/etc/evil"), "absolute path"),
    "outside": (_with("evil.pth"), "outside the directory foo-1.0"),
    "link out": (_with("foo-1.0/link", tarfile.SYMTYPE, "../../etc/passwd"), "leaves its directory"),
    "absolute link": (_with("foo-1.0/link", tarfile.SYMTYPE, "/etc/passwd"), "leads out"),
    "hard link to nothing": (_with("foo-1.0/link", tarfile.LNKTYPE, "foo-1.0/none"), "missing member"),
    "link through a link": (
        lambda: make_sdist_with(
            (make_tar_info("foo-1.0/a/b/up", tarfile.SYMTYPE, "../.."), b""),
            (make_tar_info("foo-1.0/out", tarfile.SYMTYPE, "a/b/up/../../x"), b""),
        ),
        "is not normalized",
    ),
    "link in place of a directory": (
        lambda: make_sdist_with(
            (make_tar_info("foo-1.0/dir/x"), b""), (make_tar_info("foo-1.0/dir", tarfile.SYMTYPE, "."), b"")
        ),
        "is below the link",
    ),
    "link with content": (
        lambda: make_sdist_with((make_tar_info("foo-1.0/link", tarfile.SYMTYPE, "PKG-INFO"), bytes(512))),
        "has content",
    ),
    "header that the parser does not understand": (lambda: _add_block(b"x" * 512), "bytes behind the end of the tar"),
    "size in an extended header": (lambda: _with_extended(size="0"), "extended header 'size'"),
    "name of a sparse file": (lambda: _with_extended(GNU__sparse__name="foo-1.0/y"), "extended header 'GNU.sparse"),
    "path for all members": (
        lambda: make_sdist_with(pax_headers={"path": "foo-1.0/x"}),
        "extended header 'path' for all members",
    ),
    "headers for all members, copied for each one": (
        lambda: make_sdist_with(pax_headers={f"key{number}": "x" for number in range(101)}),
        "more than 100 extended headers",
    ),
    "map of a sparse file": (
        lambda: _add_block(_make_header("foo-1.0/sparse", tarfile.GNUTYPE_SPARSE) + b"\xff" * 512),
        "is a device or another special file",
    ),
    "two PKG-INFO for some systems": (_with("foo-1.0/pkg-info"), "only in case"),
    "device": (_with("foo-1.0/null", tarfile.CHRTYPE), "is a device"),
    "pipe": (_with("foo-1.0/pipe", tarfile.FIFOTYPE), "is a device"),
    "twice": (_with("foo-1.0/PKG-INFO"), "two members have the path"),
    "through a link": (
        lambda: make_sdist_with(
            (make_tar_info("foo-1.0/dir", tarfile.SYMTYPE, "."), b""), (make_tar_info("foo-1.0/dir/x"), b"")
        ),
        "is below the link",
    ),
    "no PKG-INFO": (lambda: make_tar([(make_tar_info("foo-1.0/setup.py"), b"")]), "has no foo-1.0/PKG-INFO"),
    "other version": (
        lambda: make_tar([(make_tar_info("foo-1.0/PKG-INFO"), METADATA.replace(b"1.0", b"1.1"))]),
        "has the version 1.1",
    ),
    "other name": (
        lambda: make_tar([(make_tar_info("foo-1.0/PKG-INFO"), METADATA.replace(b"foo", b"bar"))]),
        "has the name",
    ),
    "bytes behind the tar": (
        lambda: make_tar(read_tar(GOOD.content), pack=lambda raw: compress(raw + b"hidden")),
        "bytes behind the end of the tar",
    ),
    "bytes behind the gzip stream": (lambda: GOOD.content + b"hidden", "bytes behind it"),
    "two gzip streams": (lambda: GOOD.content + compress(b""), "bytes behind it"),
    "cut off": (lambda: GOOD.content[:-4], "cut off"),
    "huge header": (
        lambda: make_tar([(make_tar_info("foo-1.0/" + "x" * 3_000_000), b"")]),
        "a header of more than",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_source_archive_is_refused_with_its_reason(name: str) -> None:
    make, reason = ATTACKS[name]

    with pytest.raises(UploadRefusedError, match=reason):
        inspect(make())


def test_a_bomb_is_refused() -> None:
    limits = ArchiveLimits(free_bytes=1_000_000)

    assert inspect(make_sdist_with((make_tar_info("foo-1.0/zeros"), bytes(900_000))), limits) is None
    with pytest.raises(UploadRefusedError, match="expands to more than"):
        inspect(make_sdist_with((make_tar_info("foo-1.0/zeros"), bytes(5_000_000))), limits)


@given(st.integers(0, GOOD.size - 1), st.integers(1, 255))
def test_a_changed_byte_never_causes_another_error(place: int, change: int) -> None:
    changed = bytearray(GOOD.content)
    changed[place] ^= change
    with suppress(UploadRefusedError):
        assert inspect(bytes(changed)) == ">=3.9"


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_refused(content: bytes, packed: bool) -> None:
    with pytest.raises(UploadRefusedError):
        inspect(compress(content) if packed else content)
