"""Inspection of a wheel: its ZIP archive, RECORD and METADATA (PEP 427, PEP 376). Pure."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Mapping
from typing import BinaryIO, Final

from packaging.utils import canonicalize_name

from assay.errors import UploadRefusedError
from assay.hosted.archive.limits import (
    MAX_METADATA_BYTES,
    MAX_RECORD_BYTES,
    ArchiveLimits,
    refuse,
    refuse_similar_path,
)
from assay.hosted.archive.metadata import ExpectedDistribution, InspectedArchive, read_metadata
from assay.hosted.archive.zip_file import ZipMember, iter_content, read_members
from assay.simple.fields import parse_version

_RECORD_DIGESTS: Final = frozenset({"sha256", "sha384", "sha512"})
_UNRECORDED: Final = ("RECORD", "RECORD.jws", "RECORD.p7s")
_DIST_INFO: Final = ".dist-info"
_RECORD_COLUMNS: Final = 3


def inspect_wheel(
    stream: BinaryIO, size: int, expected: ExpectedDistribution, limits: ArchiveLimits | None = None
) -> InspectedArchive:
    """Check all members of a wheel against its RECORD; return the facts from its METADATA. Blocking.

    Args:
        stream: the wheel, seekable.
        size: size of the wheel in bytes.
        expected: distribution that the upload names.
        limits: limits on the contents; None for the defaults.

    Raises:
        UploadRefusedError: the wheel is invalid.
    """
    members = read_members(stream, size, limits or ArchiveLimits())
    folder = _find_dist_info(members, expected)
    for name in ("METADATA", "WHEEL", "RECORD"):
        if f"{folder}/{name}" not in members:
            raise refuse(f"the wheel has no {folder}/{name}")
        refuse_similar_path(f"{folder}/{name}", members)
    record = _parse_record(_read(stream, members[f"{folder}/RECORD"], MAX_RECORD_BYTES))
    files = {path for path, member in members.items() if not member.is_directory}
    unrecorded = {f"{folder}/{name}" for name in _UNRECORDED}
    if missing := sorted(files - record.keys() - unrecorded):
        raise refuse(f"RECORD does not list {missing[0][:80]!a}")
    if absent := sorted(record.keys() - files):
        raise refuse(f"RECORD lists {absent[0][:80]!a}, which the wheel does not contain")
    for path in sorted(files - unrecorded):
        _check_member(stream, members[path], record[path])
    for path in sorted(files & unrecorded):
        for _ in iter_content(stream, members[path]):
            pass
    _check_wheel_file(_read(stream, members[f"{folder}/WHEEL"], MAX_METADATA_BYTES))
    metadata = _read(stream, members[f"{folder}/METADATA"], MAX_METADATA_BYTES)
    return InspectedArchive(requires_python=read_metadata(metadata, expected, "METADATA"), metadata=metadata)


def _find_dist_info(members: Mapping[str, ZipMember], expected: ExpectedDistribution) -> str:
    folders = {path.partition("/")[0] for path in members}
    found = sorted(each for each in folders if each.lower().endswith(_DIST_INFO))
    if len(found) != 1:
        raise refuse(f"the wheel has {len(found)} directories {_DIST_INFO}, expected 1")
    name, _, version = found[0].removesuffix(_DIST_INFO).rpartition("-")
    if canonicalize_name(name) != expected.project or parse_version(version) != expected.version:
        raise refuse(f"the directory {found[0][:80]!a} belongs to another distribution")
    return found[0]


def _read(stream: BinaryIO, member: ZipMember, max_bytes: int) -> bytes:
    if member.size > max_bytes:
        raise refuse(f"the member {member.path[:80]!a} has more than {max_bytes} bytes")
    return b"".join(iter_content(stream, member))


def _parse_record(raw: bytes) -> dict[str, tuple[str, str]]:
    """Return digest and size of each path in RECORD, as text."""
    rows: dict[str, tuple[str, str]] = {}
    try:
        for row in csv.reader(io.StringIO(raw.decode(), newline=""), strict=True):
            if len(row) != _RECORD_COLUMNS or row[0] in rows:
                raise refuse("a malformed or repeated line in RECORD")
            rows[row[0]] = (row[1], row[2])
    except (UnicodeDecodeError, csv.Error) as error:
        raise refuse("RECORD is not valid CSV in UTF-8") from error
    return rows


def _check_member(stream: BinaryIO, member: ZipMember, row: tuple[str, str]) -> None:
    """Compare a member with its row in RECORD: digest and size, as text."""
    digest, size = row
    algorithm, _, encoded = digest.partition("=")
    if algorithm not in _RECORD_DIGESTS:
        raise refuse(f"RECORD has no SHA-256 or better of {member.path[:80]!a}")
    hasher = hashlib.new(algorithm)
    for piece in iter_content(stream, member):
        hasher.update(piece)
    found = base64.urlsafe_b64encode(hasher.digest()).decode().rstrip("=")
    if encoded.rstrip("=") != found or (size and size != str(member.size)):
        raise refuse(f"the member {member.path[:80]!a} differs from RECORD")


def _check_wheel_file(raw: bytes) -> None:
    version = next((line.partition(b":")[2] for line in raw.splitlines() if line.startswith(b"Wheel-Version:")), b"")
    if version.strip().partition(b".")[0] != b"1":
        raise UploadRefusedError("invalid WHEEL: expected Wheel-Version 1")
