"""Format of the audit trail, a hash chain of JSON lines: encoding, reading and verification.

An entry is one line with a JSON object. The member ``sequence`` is the entry's number, from 1 and without gaps. The
member ``previous`` is the hash of the entry before, or 64 zeros in the first entry. The last member, ``hash``, is the
SHA-256 of the line without ``hash``. If a line is changed, removed, inserted or moved, the chain is therefore broken at
this line.

Removing the newest lines does not break the chain. To detect this, the operator saves the hash of the last entry in
another place. Such a saved hash is called a *head*, and the chain must contain it at any later time.

The trail consists of files, called parts. A full part is renamed: its last sequence number is appended to the filename.
Parts are read in the order of these numbers. Nothing in the trail is secret or signed. A program that can write to the
whole trail can forge the trail. But the forged trail does not contain a head that was saved elsewhere.

A directory may also have the parts of one replica, as an object storage keeps them. Their names have the last sequence
number too: ``000000000042.jsonl.gz``.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NewType, cast

from assay.errors import StorageError
from assay.telemetry.lines import encode_json_string

GENESIS_HASH: Final = "0" * 64
"""Value of ``previous`` in the first entry."""
MAX_LINE_BYTES: Final = 256 * 1024
"""Maximum length of a line in bytes. An entry that Assay writes has a few hundred bytes."""
MIN_HEAD_HEX_DIGITS: Final = 12
"""Minimum number of hexadecimal digits of a head (the saved hash of an entry). The metric ``assay_audit_head`` gives 12
digits, or 48 bits. A metric is a 64-bit float, which represents 48 bits exactly."""
_MAX_FAULTS: Final = 100
_PART_SUFFIX = re.compile(r"\.(\d{12})", re.ASCII)
_STORED_PART = re.compile(r"(\d{12})\.jsonl(?:\.gz)?", re.ASCII)
_HASH_MEMBER = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_HASH_MEMBER_BYTES: Final = len(',"hash":""}') + 64
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False)
"""Encoder of all entries, because making one takes as long as encoding a small entry."""

EncodedFields = NewType("EncodedFields", str)
"""Members of an entry as JSON text in ASCII, separated by commas and without braces. Empty if there are no members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """Sequence number and hash of the last entry of a chain."""

    sequence: int
    hash: str


EMPTY_CHAIN: Final = ChainEnd(sequence=0, hash=GENESIS_HASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEntry:
    """One line of a trail, valid or not, with its position."""

    part: Path
    line: int
    """Line number in the part, from 1."""
    sequence: int
    hash: str
    """Hash computed from the line. Empty if the line is not an entry."""
    fields: Mapping[str, Any]
    fault: str | None = None
    """Description of the fault of the line or of its place in the chain. None if the line is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """Result of verifying a whole trail."""

    entries: int
    head: ChainEnd
    faults: tuple[str, ...]
    """Descriptions of the first 100 faults, each with its part and line."""
    lost: int = 0
    """Number of entries that could not be written, according to the ``lost`` entries of the trail."""


def encode_fields(fields: Mapping[str, Any]) -> EncodedFields:
    """Return the members of an entry as JSON text."""
    # Most values are text, and encoding each for itself takes half of the time that the encoder takes for the mapping.
    return EncodedFields(
        ",".join(
            f"{encode_json_string(name)}:{encode_json_string(value) if type(value) is str else _ENCODER.encode(value)}"
            for name, value in fields.items()
        )
    )


def encode_entries(entries: Iterable[EncodedFields], previous: ChainEnd) -> tuple[bytes, ChainEnd]:
    """Return the lines of entries, each with its newline, and the new end of the chain.

    Args:
        entries: members of each entry besides ``sequence``, ``previous`` and ``hash``; not empty.
        previous: end of the chain before these entries.
    """
    sequence, digest = previous.sequence, previous.hash
    lines = []
    for fields in entries:
        sequence += 1
        body = f'{{"sequence":{sequence},"previous":"{digest}",{fields}'
        digest = hashlib.sha256(f"{body}}}".encode()).hexdigest()
        lines.append(f'{body},"hash":"{digest}"}}\n')
    return "".join(lines).encode(), ChainEnd(sequence=sequence, hash=digest)


def list_parts(path: Path) -> list[Path]:
    """Return the existing parts of a trail, oldest first. The last one is the part that is being written.

    Args:
        path: path of the part that is being written, or a directory with the stored parts of one replica.
    """
    if path.is_dir():
        stored = [(int(match[1]), each) for each in path.iterdir() if (match := _STORED_PART.fullmatch(each.name))]
        return [each for _, each in sorted(stored)]
    ended = [
        (int(match[1]), each)
        for each in path.parent.glob(f"{path.name}.*")
        if (match := _PART_SUFFIX.fullmatch(each.name.removeprefix(path.name)))
    ]
    return [*(each for _, each in sorted(ended)), *([path] if path.exists() else [])]


def name_rotated_part(path: Path, last_sequence: int) -> Path:
    """Return the path of a full part.

    Args:
        path: path of the part that is being written.
        last_sequence: last sequence number in the full part.
    """
    return path.with_name(f"{path.name}.{last_sequence:012d}")


def read_trail(path: Path, *, after_hash: str = GENESIS_HASH) -> Iterator[TrailEntry]:
    """Yield an entry for each line of a trail, oldest part first. Blocking.

    An invalid line yields an entry with a `fault`, and reading continues with the next line.

    Args:
        path: path of the part that is being written, or a directory with the stored parts of one replica.
        after_hash: hash of the entry before the oldest part. Needed only if older parts were moved to an archive.

    Raises:
        StorageError: no part exists, or a part cannot be read.
    """
    found = list_parts(path)
    if not found:
        what = "no part of one replica in this directory" if path.is_dir() else "there is no audit trail"
        raise StorageError(f"{path}: {what}")
    before = EMPTY_CHAIN if after_hash == GENESIS_HASH else ChainEnd(sequence=-1, hash=after_hash)
    for part in found:
        number = 0
        try:
            with _open_part(part) as file:
                for number, line in enumerate(_read_lines(file), start=1):
                    entry = _parse_entry(part, number, line, before)
                    yield entry
                    if entry.hash:
                        before = ChainEnd(sequence=entry.sequence, hash=entry.hash)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            fault = f"the rest of the part cannot be decompressed: {error}"
            yield TrailEntry(part=part, line=number + 1, sequence=before.sequence, hash="", fields={}, fault=fault)
        except OSError as error:
            raise StorageError(f"{part}: cannot be read: {error.strerror}") from error


def verify_trail(
    entries: Iterable[TrailEntry], *, head: str | None = None, heads: Iterable[ChainEnd] = ()
) -> ChainReport:
    """Check that entries form one unbroken chain, and return a report.

    Args:
        entries: all entries of the trail, from `read_trail`.
        head: hash, or the first digits of a hash, that the chain must contain; None to skip this check.
        heads: entries that the chain must contain, unless they are older than its first entry.
    """
    expected = {each.sequence: each.hash for each in heads}
    count, lost, end, met = 0, 0, EMPTY_CHAIN, head is None
    faults: list[str] = []
    for entry in entries:
        count += 1
        if count == 1:
            expected = {sequence: digest for sequence, digest in expected.items() if sequence >= entry.sequence}
        if expected.get(entry.sequence) == entry.hash:
            del expected[entry.sequence]
        end = ChainEnd(sequence=entry.sequence, hash=entry.hash)
        met = met or (head is not None and entry.hash.startswith(head))
        if entry.fields.get("event") == "lost" and isinstance(entry.fields.get("count"), int):
            lost += entry.fields["count"]
        if entry.fault is not None and len(faults) < _MAX_FAULTS:
            faults.append(f"{entry.part.name}:{entry.line}: {entry.fault}")
    if not met:
        faults.append(f"no entry has the hash {head}: the trail was cut before it, or it is a different trail")
    missing = itertools.islice(expected.items(), max(0, _MAX_FAULTS - len(faults)))
    faults += [f"entry {sequence} with the recorded hash {digest} is missing" for sequence, digest in missing]
    return ChainReport(entries=count, head=end, faults=tuple(faults), lost=lost)


def read_chain_end(file: BinaryIO, size: int) -> tuple[ChainEnd | None, bytes]:
    """Return the last entry of a part, and the bytes of an incomplete line after it.

    If the part has no complete line, return None for the entry.

    Args:
        file: the part.
        size: size of the part in bytes. Only the last bytes are read.

    Raises:
        StorageError: the last complete line is not a valid entry, so another program wrote to the file.
    """
    start = max(0, size - 2 * MAX_LINE_BYTES)
    file.seek(start)
    finished, newline, torn = file.read().rpartition(b"\n")
    if not newline:
        if start:
            raise StorageError("the audit trail ends in a line that is too long")
        return None, torn
    line = finished.rpartition(b"\n")[2] + b"\n"
    fields, digest, fault = _parse_line(line)
    if fault is not None:
        raise StorageError(f"the audit trail's last line is not a valid entry: {fault}")
    return ChainEnd(sequence=fields["sequence"], hash=digest), torn


def _open_part(part: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(part)) if part.name.endswith(".gz") else part.open("rb")


def _read_lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        yield line


def _parse_entry(part: Path, number: int, line: bytes, previous: ChainEnd) -> TrailEntry:
    fields, digest, fault = _parse_line(line)
    sequence = fields.get("sequence", previous.sequence)
    if fault is None:
        fault = _find_misplacement(fields, previous)
    return TrailEntry(part=part, line=number, sequence=sequence, hash=digest, fields=fields, fault=fault)


def _parse_line(line: bytes) -> tuple[dict[str, Any], str, str | None]:
    """Return the fields and the computed hash of a line, and a description of its fault.

    The place of the line in the chain is not checked. The description is None if the line is valid.
    """
    if not line.endswith(b"\n"):
        return {}, "", "the line is incomplete: it was cut off, or is still being written"
    stated = _HASH_MEMBER.fullmatch(line, len(line) - 1 - _HASH_MEMBER_BYTES, len(line) - 1)
    if stated is None:
        return {}, "", "not an entry: it does not end with a hash"
    body = line[: -1 - _HASH_MEMBER_BYTES] + b"}"
    digest = hashlib.sha256(body).hexdigest()
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}, "", "not an entry: it is not valid JSON"
    if not isinstance(fields, dict) or type(fields.get("sequence")) is not int:
        return {}, "", "not an entry: it has no sequence number"
    if digest != stated[1].decode():
        return fields, digest, "changed: its contents do not match its hash"
    return fields, digest, None


def _find_misplacement(fields: Mapping[str, Any], previous: ChainEnd) -> str | None:
    sequence = fields["sequence"]
    if previous.sequence >= 0 and sequence != previous.sequence + 1:
        return f"entry {sequence} follows entry {previous.sequence}: entries are missing or out of order"
    if fields.get("previous") != previous.hash:
        return f"entry {sequence} does not follow the entry before it: that entry was changed or inserted"
    return None
