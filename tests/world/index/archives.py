"""Hostile and unusual archives, made in memory: each differs in one point from a valid archive of `distributions`."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from gzip import compress

from tests.world.index.distributions import sdist, wheel

END_BYTES = 22
"""Size of the end-of-central-directory record of a ZIP archive without a comment."""


def add_to_zip(content: bytes, *members: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """Return a ZIP archive with further members."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        for info, data in members:
            archive.writestr(info, data)
    return buffer.getvalue()


def make_zip_info(path: str, *, mode: int = 0o100644, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
    info.create_system = system
    info.external_attr = mode << 16
    return info


def insert_before_directory(content: bytes, junk: bytes) -> bytes:
    """Return a ZIP archive with bytes between its members and its central directory."""
    count, length, offset = struct.unpack_from("<HII", content, len(content) - END_BYTES + 10)
    end = bytearray(content[-END_BYTES:])
    struct.pack_into("<HII", end, 10, count, length, offset + len(junk))
    return content[:offset] + junk + content[offset:-END_BYTES] + bytes(end)


def insert_zip64_locator(content: bytes) -> bytes:
    """Return a ZIP archive whose directory ends with a comment that is the locator of a second, ZIP64 directory."""
    length, offset = struct.unpack_from("<II", content, len(content) - END_BYTES + 12)
    directory, end = bytearray(content[offset:-END_BYTES]), bytearray(content[-END_BYTES:])
    last = directory.rindex(b"PK\1\2")
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1)
    struct.pack_into("<H", directory, last + 32, len(locator))
    struct.pack_into("<I", end, 12, length + len(locator))
    return content[:offset] + bytes(directory) + locator + bytes(end)


def replace_members(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """Return a ZIP archive in which the content of each member is `change(path, content)`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as packed:
        for info in source.infolist():
            packed.writestr(make_zip_info(info.filename), change(info.filename, source.read(info)))
    return buffer.getvalue()


def rename_in_central_directory(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return a ZIP archive whose central directory has another name for a member than the local header."""
    assert len(old) == len(new)
    offset = struct.unpack_from("<I", content, len(content) - END_BYTES + 16)[0]
    return content[:offset] + content[offset:].replace(old, new, 1)


def set_flag_bits(content: bytes, bits: int) -> bytes:
    """Return a ZIP archive whose first member has further flag bits, in both headers."""
    changed = bytearray(content)
    offset = struct.unpack_from("<I", content, len(content) - END_BYTES + 16)[0]
    changed[6] |= bits
    changed[offset + 8] |= bits
    return bytes(changed)


def make_tar(
    members: Iterable[tuple[tarfile.TarInfo, bytes]],
    *,
    pack: Callable[[bytes], bytes] = compress,
    pax_headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a compressed tar archive; `pax_headers` are for all members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=pax_headers) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if data else None)
    return pack(buffer.getvalue())


def make_tar_info(path: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    return info


def make_sdist_with(*members: tuple[tarfile.TarInfo, bytes], pax_headers: Mapping[str, str] | None = None) -> bytes:
    """Return the source archive foo 1.0 with further members, and with `pax_headers` for all members."""
    return make_tar([*read_tar(sdist("foo", "1.0").content), *members], pax_headers=pax_headers)


def read_tar(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the members of a compressed tar archive of files."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        found = []
        for info in archive:
            reader = archive.extractfile(info)
            found.append((info, b"" if reader is None else reader.read()))
        return found


def make_bomb_wheel(size: int, project: str = "foo") -> bytes:
    """Return a valid wheel 1.0 whose compressed module expands to `size` zeros."""
    built = wheel(project, "1.0", files={"zeros.bin": bytes(size)})
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(built.content)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for info in source.infolist():
            packed.writestr(make_zip_info(info.filename), source.read(info), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
