"""Strict reader of ZIP archives: every byte belongs to exactly one member or to the directory. Pure.

Readers of ZIP archives differ where an archive contradicts itself: some read the central directory, others the local
headers. This reader refuses such archives. It also refuses encryption, links, ZIP64, and methods other than stored and
deflated.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from assay.hosted.archive.limits import CHUNK_BYTES, ArchiveLimits, MemberPaths, refuse

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_END: Final = struct.Struct("<4sHHHHIIH")
_CENTRAL_BYTES: Final = 46
_DESCRIPTOR_FLAG: Final = 1 << 3
_REFUSED_FLAGS: Final = (1 << 0) | (1 << 5) | (1 << 6) | (1 << 13)
"""Encryption, patch data, strong encryption and masked headers."""
_UTF8_FLAG: Final = 1 << 11
_UNICODE_PATH_EXTRA: Final = 0x7075
_ZIP64_EXTRA: Final = 1
_ZIP64_LOCATOR_BYTES: Final = 20
_ZIP64_MARK: Final = 0xFFFFFFFF
_MAX_DIRECTORY_BYTES: Final = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """Member of a ZIP archive, whose local header agrees with the central directory."""

    path: str
    is_directory: bool
    size: int
    compressed_size: int
    method: int
    crc: int
    data_offset: int


def read_members(stream: BinaryIO, size: int, limits: ArchiveLimits) -> dict[str, ZipMember]:
    """Return the members of an archive by their paths.

    Args:
        stream: the archive, seekable.
        size: size of the archive in bytes.
        limits: limits on the contents.

    Raises:
        UploadRefusedError: the archive is not a strict ZIP archive, or exceeds a limit.
    """
    directory_offset = _check_end(stream, size, limits)
    try:
        with zipfile.ZipFile(stream) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, OSError) as error:
        raise refuse(f"not a ZIP archive ({error})") from error
    paths, found, total, position, directory_bytes = MemberPaths(limits), dict[str, ZipMember](), 0, 0, 0
    for info in sorted(listed, key=lambda each: each.header_offset):
        if info.header_offset != position:
            raise refuse("bytes between its members")
        member, position = _read_member(stream, info, paths)
        total += member.size
        directory_bytes += _CENTRAL_BYTES + len(_encode_name(info)) + len(info.extra) + len(info.comment)
        if total > limits.get_max_bytes(size):
            raise refuse(f"it expands to more than {limits.get_max_bytes(size)} bytes")
        found[member.path] = member
    paths.check_parents()
    if position != directory_offset or directory_offset + directory_bytes + _END.size != size:
        raise refuse("bytes outside its members")
    return found


def iter_content(stream: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    """Yield the content of a member in pieces, and check its size and CRC.

    Raises:
        UploadRefusedError: the content does not match its header.
    """
    stream.seek(member.data_offset)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == zipfile.ZIP_DEFLATED else None
    left, length, crc = member.compressed_size, 0, 0
    while left:
        raw = stream.read(min(left, CHUNK_BYTES))
        if not raw:
            raise refuse(f"the member {member.path!a} is cut off")
        left -= len(raw)
        for piece in (raw,) if inflater is None else _inflate(inflater, raw, member.path):
            length += len(piece)
            if length > member.size:
                raise refuse(f"the member {member.path!a} is larger than its header says")
            crc = zlib.crc32(piece, crc)
            yield piece
    if length != member.size or crc != member.crc or (inflater is not None and not inflater.eof):
        raise refuse(f"the member {member.path!a} differs from its size or CRC")


def _inflate(inflater: zlib._Decompress, raw: bytes, path: str) -> Iterator[bytes]:
    try:
        piece = b""
        # A full piece can leave output inside the decompressor although it has taken all of its input.
        while raw or (len(piece) == CHUNK_BYTES and not inflater.eof):
            if inflater.eof:
                raise refuse(f"the member {path!a} has bytes after its content")
            piece = inflater.decompress(raw, CHUNK_BYTES)
            yield piece
            raw = inflater.unconsumed_tail or inflater.unused_data
    except zlib.error as error:
        raise refuse(f"the member {path!a} is not valid deflate data") from error


def _check_end(stream: BinaryIO, size: int, limits: ArchiveLimits) -> int:
    """Return the offset of the central directory, from a record at the very end of the archive."""
    if size < _END.size:
        raise refuse("not a ZIP archive")
    stream.seek(size - _END.size)
    magic, disk, first_disk, on_disk, count, length, offset, comment = _END.unpack(stream.read(_END.size))
    if magic != b"PK\5\6" or comment or disk or first_disk or on_disk != count:
        raise refuse("not a ZIP archive without a comment on one disk")
    if count > limits.entries or length > _MAX_DIRECTORY_BYTES or offset + length + _END.size != size:
        raise refuse("a central directory that is too large, or not at the end of the archive")
    if size >= _END.size + _ZIP64_LOCATOR_BYTES:
        stream.seek(size - _END.size - _ZIP64_LOCATOR_BYTES)
        if stream.read(4) == b"PK\6\7":
            raise refuse("a ZIP64 directory")
    return int(offset)


def _read_member(stream: BinaryIO, info: zipfile.ZipInfo, paths: MemberPaths) -> tuple[ZipMember, int]:
    """Return a member after comparing its headers, and the offset of the first byte behind it."""
    stream.seek(info.header_offset)
    raw = stream.read(_LOCAL.size)
    if len(raw) != _LOCAL.size:
        raise refuse("a member without a local header")
    magic, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = _LOCAL.unpack(raw)
    name, extra = stream.read(name_bytes), stream.read(extra_bytes)
    if magic != b"PK\3\4" or name != _encode_name(info) or flags != info.flag_bits or method != info.compress_type:
        raise refuse(f"the local header and the central directory differ about {info.orig_filename[:80]!a}")
    if flags & _REFUSED_FLAGS:
        raise refuse(f"the member {info.filename[:80]!a} is encrypted")
    if method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise refuse(f"the member {info.filename[:80]!a} has the compression method {method}")
    _check_extra(extra)
    _check_extra(info.extra)
    has_descriptor = bool(flags & _DESCRIPTOR_FLAG)
    stated, listed = (crc, packed, unpacked), (info.CRC, info.compress_size, info.file_size)
    if _ZIP64_MARK in (*stated, *listed)[1:3] or (stated != listed and not (has_descriptor and stated == (0, 0, 0))):
        raise refuse(f"the local header and the central directory differ about the size of {info.filename[:80]!a}")
    if method == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise refuse(f"the stored member {info.filename[:80]!a} has two sizes")
    kind = _find_kind(info)
    path = paths.add(info.orig_filename, kind)
    data_offset = info.header_offset + _LOCAL.size + name_bytes + extra_bytes
    end = data_offset + info.compress_size
    if has_descriptor:
        end += _measure_descriptor(stream, end, listed)
    member = ZipMember(
        path=path,
        is_directory=kind == "directory",
        size=info.file_size,
        compressed_size=info.compress_size,
        method=method,
        crc=info.CRC,
        data_offset=data_offset,
    )
    return member, end


def _find_kind(info: zipfile.ZipInfo) -> str:
    # Some readers take the mode from archives of every system.
    file_type = stat.S_IFMT(info.external_attr >> 16)
    if file_type not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise refuse(f"the member {info.filename[:80]!a} is a link or a special file")
    is_directory = info.orig_filename.endswith("/")
    if (file_type == stat.S_IFDIR) > is_directory or (is_directory and info.file_size):
        raise refuse(f"the member {info.filename[:80]!a} is both a directory and a file")
    return "directory" if is_directory else "file"


def _encode_name(info: zipfile.ZipInfo) -> bytes:
    encoding = "utf-8" if info.flag_bits & _UTF8_FLAG else "cp437"
    try:
        return info.orig_filename.encode(encoding)
    except UnicodeEncodeError as error:
        raise refuse("a member whose path has no valid encoding") from error


def _check_extra(extra: bytes) -> None:
    while extra:
        if len(extra) < 4:  # noqa: PLR2004 - id and length of a field
            raise refuse("a malformed extra field")
        kind, length = struct.unpack_from("<HH", extra)
        if length > len(extra) - 4:
            raise refuse("a malformed extra field")
        if kind in {_ZIP64_EXTRA, _UNICODE_PATH_EXTRA}:
            raise refuse("ZIP64 or a second path in an extra field")
        extra = extra[4 + length :]


def _measure_descriptor(stream: BinaryIO, offset: int, listed: tuple[int, int, int]) -> int:
    """Return the length of the data descriptor behind a member, which repeats CRC and sizes."""
    stream.seek(offset)
    raw, expected = stream.read(16), struct.pack("<III", *listed)
    if raw == b"PK\7\x08" + expected:
        return 16
    if raw[:12] == expected:
        return 12
    raise refuse("a data descriptor that differs from the central directory")
