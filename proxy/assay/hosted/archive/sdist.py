"""Inspection of a source archive: its gzip stream, the members of its tar archive, and PKG-INFO (PEP 625). Pure."""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Mapping
from itertools import dropwhile
from typing import BinaryIO, Final, Self, cast

from assay.errors import UploadRefusedError
from assay.hosted.archive.limits import (
    CHUNK_BYTES,
    MAX_METADATA_BYTES,
    ArchiveLimits,
    MemberPaths,
    check_path,
    refuse,
    refuse_similar_path,
)
from assay.hosted.archive.metadata import ExpectedDistribution, InspectedArchive, read_metadata
from assay.hosted.naming import SDIST_ENDING

_MAX_HEADER_READ_BYTES: Final = 2**20
"""Maximum number of bytes that the tar parser may read at once: a block, or an extended header."""
_KEPT_BYTES: Final = 2 * tarfile.BLOCKSIZE
"""Number of bytes before the current position that stay readable, because the tar parser goes back by one byte."""
_REGULAR_TYPES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_PARSED_TYPES: Final = _REGULAR_TYPES | {
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_MAX_EXTENDED_HEADERS: Final = 100
"""Maximum number of extended headers of a member. The parser copies those of the archive for each member."""
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS


def inspect_sdist(
    stream: BinaryIO, size: int, expected: ExpectedDistribution, limits: ArchiveLimits | None = None
) -> InspectedArchive:
    """Check all members of a source archive; return the facts from its PKG-INFO. Blocking.

    Args:
        stream: the archive.
        size: size of the archive in bytes.
        expected: distribution that the upload names.
        limits: limits on the contents; None for the defaults.

    Raises:
        UploadRefusedError: the archive is invalid.
    """
    limits = limits or ArchiveLimits()
    source = _GzipSource(stream, limits.get_max_bytes(size))
    top = expected.filename.removesuffix(SDIST_ENDING)
    paths, metadata = MemberPaths(limits), None
    try:
        with tarfile.open(fileobj=cast("BinaryIO", source), mode="r:", errorlevel=2, tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # the parser would keep every member
                _check_extended_headers(member, archive.pax_headers)
                _check_member(member, paths, top)
                if member.name == f"{top}/PKG-INFO":
                    metadata = _read_member(archive, member)
            # The parser also stops, without an error, at a header that is invalid for it but perhaps not for others.
            source.seek(archive.offset)
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        raise refuse(f"not a valid tar archive ({str(error)[:100]})") from error
    source.read_to_end()
    paths.check_parents()
    refuse_similar_path(f"{top}/PKG-INFO", paths.kinds)
    if metadata is None:
        raise refuse(f"the source archive has no {top}/PKG-INFO")
    return InspectedArchive(requires_python=read_metadata(metadata, expected, "PKG-INFO"), metadata=None)


def _check_extended_headers(member: tarfile.TarInfo, common: Mapping[str, str]) -> None:
    """Refuse extended headers (POSIX pax) that readers of tar archives understand in different ways.

    Args:
        member: a member, whose `pax_headers` include those of the whole archive.
        common: headers of the whole archive.
    """
    if len(member.pax_headers) > _MAX_EXTENDED_HEADERS:
        raise refuse(f"the member {member.name[:80]!a} has more than {_MAX_EXTENDED_HEADERS} extended headers")
    if unclear := [key for key in member.pax_headers if key == "size" or key.startswith("GNU.sparse.")]:
        raise refuse(f"the member {member.name[:80]!a} has the extended header {unclear[0][:40]!a}")
    if unclear := [key for key in ("path", "linkpath") if key in common]:
        raise refuse(f"the extended header {unclear[0]!a} for all members")


def _check_member(member: tarfile.TarInfo, paths: MemberPaths, top: str) -> None:
    if member.type in _REGULAR_TYPES and not member.issparse():
        kind = "file"
    elif member.isdir():
        kind = "directory"
    elif member.issym() or member.islnk():
        kind = "link"
        _check_link(member, paths, top)
    else:
        raise _refuse_special(member)
    if kind != "file" and member.size:
        raise refuse(f"the {kind} {member.name[:80]!a} has content")
    path = paths.add(member.name, kind)
    if path.partition("/")[0] != top or (path == top and kind != "directory"):
        raise refuse(f"the member {path[:80]!a} is outside the directory {top}")


def _check_link(member: tarfile.TarInfo, paths: MemberPaths, top: str) -> None:
    """Check that a link leads to a place inside the archive's directory."""
    target = member.linkname
    if target.startswith("/") or "\\" in target:
        raise refuse(f"the link {member.name[:80]!a} leads out of the archive")
    if member.issym():
        # After a name, which can be another link, ".." leads to a place that only an extracted archive shows.
        if ".." in dropwhile(lambda part: part in {".", ".."}, target.split("/")):
            raise refuse(f"the target of the link {member.name[:80]!a} is not normalized")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), target))
    check_path(target)
    if target.partition("/")[0] != top or (member.islnk() and paths.kinds.get(target) != "file"):
        raise refuse(f"the link {member.name[:80]!a} leads out of the archive, or to a missing member")


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg() or member.size > MAX_METADATA_BYTES:
        raise refuse(f"PKG-INFO is not a file of at most {MAX_METADATA_BYTES} bytes")
    reader = archive.extractfile(member)
    if reader is None:
        raise refuse("PKG-INFO cannot be read")
    pieces, left = [], member.size
    while left and (piece := reader.read(min(left, CHUNK_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _refuse_special(member: tarfile.TarInfo) -> UploadRefusedError:
    return refuse(f"the member {member.name[:80]!a} is a device or another special file")


class _Member(tarfile.TarInfo):
    """Member of a tar archive. Other types are refused before the parser reads more of them, such as sparse maps."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the member of a header block.

        Raises:
            UploadRefusedError: the type of the member is not accepted.
        """
        member = super().frombuf(buf, encoding, errors)
        if member.type not in _PARSED_TYPES:
            raise _refuse_special(member)
        return member


class _GzipSource:
    """Decompressed bytes of a gzip stream, as the file object that tarfile reads: forward only.

    It limits the total number of bytes and the size of one read.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._inflater = zlib.decompressobj(_GZIP_WBITS)
        self._input = b""
        self._buffer = bytearray()
        self._buffer_offset = 0
        self._position = 0

    def tell(self) -> int:
        """Return the position in the decompressed bytes."""
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """Move to a later position, or at most `_KEPT_BYTES` back."""
        if whence != 0 or position < self._buffer_offset:
            raise UploadRefusedError("invalid archive: its members are not in order")
        while position > self._buffer_offset + len(self._buffer) and self._fill():
            self._discard(position)
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; fewer than `size` only at the end."""
        if not 0 <= size <= _MAX_HEADER_READ_BYTES:
            raise UploadRefusedError(f"invalid archive: a header of more than {_MAX_HEADER_READ_BYTES} bytes")
        while self._position + size > self._buffer_offset + len(self._buffer) and self._fill():
            pass
        start = self._position - self._buffer_offset
        found = bytes(self._buffer[start : start + size])
        self._position += len(found)
        self._discard(self._position)
        return found

    def read_to_end(self) -> None:
        """Check that only zeros follow the tar archive, and that nothing follows the gzip stream.

        Raises:
            UploadRefusedError: other bytes follow, or the stream is cut off.
        """
        while piece := self.read(CHUNK_BYTES):
            if piece.strip(b"\0"):
                raise refuse("bytes behind the end of the tar archive")
        if not self._inflater.eof or self._inflater.unused_data or self._stream.read(1):
            raise refuse("a gzip stream that is cut off, or bytes behind it")

    def _discard(self, position: int) -> None:
        """Discard the bytes that lie more than `_KEPT_BYTES` before a position."""
        surplus = min(position - _KEPT_BYTES - self._buffer_offset, len(self._buffer))
        if surplus > 0:
            del self._buffer[:surplus]
            self._buffer_offset += surplus

    def _fill(self) -> bool:
        """Decompress the next bytes; return False at the end."""
        while not self._inflater.eof:
            if not self._input:
                self._input = self._stream.read(CHUNK_BYTES)
            if not self._input:
                return False
            try:
                piece = self._inflater.decompress(self._input, CHUNK_BYTES)
            except zlib.error as error:
                raise refuse("not a valid gzip stream") from error
            self._input = self._inflater.unconsumed_tail
            if piece:
                if self._buffer_offset + len(self._buffer) + len(piece) > self._max_bytes:
                    raise refuse(f"it expands to more than {self._max_bytes} bytes")
                self._buffer += piece
                return True
        return False
