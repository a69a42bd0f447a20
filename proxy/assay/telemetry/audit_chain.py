"""The audit trail's form: JSON Lines in which every entry names the hash of the one before. Reading and checking.

An entry is one line: a JSON object with ``sequence`` (from 1, without gaps), ``previous`` (the hash of the entry
before; 64 zeros for the first) and, last, ``hash``: SHA-256 of the line without that last member. So a line that is
changed, removed, inserted or moved breaks the chain at its place. A cut tail breaks nothing: who wants to see it keeps
a *head*, the hash of the last entry at some time, which must still stand somewhere in the chain.

A full part is renamed to the trail's name with the last sequence number behind it; the parts are read in that order.
Nothing here is secret or signed: who can write all of the trail can forge all of it, but not a head kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from assay.errors import StorageError

GENESIS_HASH: Final = "0" * 64
"""What stands for the hash before the first entry."""
MAX_LINE_BYTES: Final = 256 * 1024
"""Bytes of a line; entries of ours have a few hundred."""
MIN_HEAD_HEX_DIGITS: Final = 12
"""Hexadecimal digits of a head that are enough to find it: what fits a metric exactly."""
_PART_SUFFIX = re.compile(r"\.(\d{12})", re.ASCII)
_HASH_MEMBER = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_HASH_MEMBER_BYTES: Final = len(',"hash":""}') + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """Where a chain ends."""

    sequence: int
    hash: str


EMPTY_CHAIN: Final = ChainEnd(sequence=0, hash=GENESIS_HASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEntry:
    """One line of a trail, sound or not."""

    part: Path
    line: int
    """From 1, within its part."""
    sequence: int
    hash: str
    """As computed from the line; empty where the line is no entry at all."""
    fields: Mapping[str, Any]
    fault: str | None = None
    """What is wrong with it, or with its place in the chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What reading a whole trail came to."""

    entries: int
    head: ChainEnd
    faults: tuple[str, ...]
    """In words, with part and line; the first hundred."""
    lost: int = 0
    """Entries that the trail itself says it could not take."""


def encode_entry(fields: Mapping[str, Any], previous: ChainEnd) -> tuple[bytes, ChainEnd]:
    """The next line, newline included, and the end of the chain that it makes."""
    sequence = previous.sequence + 1
    numbered = {"sequence": sequence, "previous": previous.hash, **fields}
    body = json.dumps(numbered, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{digest}"}}\n'.encode(), ChainEnd(sequence=sequence, hash=digest)


def list_parts(path: Path) -> list[Path]:
    """The files of the trail at `path` in their order, the one that is being written last."""
    ended = [
        (int(match[1]), each)
        for each in path.parent.glob(f"{path.name}.*")
        if (match := _PART_SUFFIX.fullmatch(each.name.removeprefix(path.name)))
    ]
    return [*(each for _, each in sorted(ended)), *([path] if path.exists() else [])]


def name_rotated_part(path: Path, last_sequence: int) -> Path:
    """What a full part is renamed to."""
    return path.with_name(f"{path.name}.{last_sequence:012d}")


def read_trail(path: Path, *, after_hash: str = GENESIS_HASH) -> Iterator[TrailEntry]:
    """Every entry of the trail at `path`, its older parts first; what is wrong with one is said in it. Blocking.

    Args:
        path: of the part that is being written.
        after_hash: the hash of the last entry of what was archived, where the beginning is not here any more.

    Raises:
        StorageError: there is no trail, or it cannot be read.
    """
    found = list_parts(path)
    if not found:
        raise StorageError(f"{path}: there is no audit trail")
    before = EMPTY_CHAIN if after_hash == GENESIS_HASH else ChainEnd(sequence=-1, hash=after_hash)
    for part in found:
        try:
            with part.open("rb") as file:
                for number, line in enumerate(_read_lines(file), start=1):
                    entry = _parse_entry(part, number, line, before)
                    yield entry
                    if entry.hash:
                        before = ChainEnd(sequence=entry.sequence, hash=entry.hash)
        except OSError as error:
            raise StorageError(f"{part}: cannot be read: {error.strerror}") from error


def verify_trail(entries: Iterable[TrailEntry], *, head: str | None = None) -> ChainReport:
    """Read all `entries` and say whether they are one unbroken chain in which `head` stands, if one is given."""
    count, lost, end, met = 0, 0, EMPTY_CHAIN, head is None
    faults: list[str] = []
    for entry in entries:
        count += 1
        end = ChainEnd(sequence=entry.sequence, hash=entry.hash)
        met = met or (head is not None and entry.hash.startswith(head))
        if entry.fields.get("event") == "lost" and isinstance(entry.fields.get("count"), int):
            lost += entry.fields["count"]
        if entry.fault is not None and len(faults) < 100:  # noqa: PLR2004 - as documented
            faults.append(f"{entry.part.name}:{entry.line}: {entry.fault}")
    if not met:
        faults.append(f"no entry has the hash {head}: the trail was cut before it, or is another one")
    return ChainReport(entries=count, head=end, faults=tuple(faults), lost=lost)


def read_chain_end(file: BinaryIO, size: int) -> tuple[ChainEnd | None, bytes]:
    """Where the part in `file` ends, and the bytes of an unfinished line behind that.

    None: it has no finished line.

    Raises:
        StorageError: the last finished line is no entry: somebody else wrote here.
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
        raise StorageError(f"the audit trail's last line is no sound entry: {fault}")
    return ChainEnd(sequence=fields["sequence"], hash=digest), torn


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
    """Fields, computed hash, and what is wrong with the line itself."""
    if not line.endswith(b"\n"):
        return {}, "", "the line is not finished: it was cut, or is being written"
    stated = _HASH_MEMBER.fullmatch(line, len(line) - 1 - _HASH_MEMBER_BYTES, len(line) - 1)
    if stated is None:
        return {}, "", "not an entry: no hash at its end"
    body = line[: -1 - _HASH_MEMBER_BYTES] + b"}"
    digest = hashlib.sha256(body).hexdigest()
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}, "", "not an entry: no JSON"
    if not isinstance(fields, dict) or type(fields.get("sequence")) is not int:
        return {}, "", "not an entry: no sequence number"
    if digest != stated[1].decode():
        return fields, digest, "changed: its hash is another"
    return fields, digest, None


def _find_misplacement(fields: Mapping[str, Any], previous: ChainEnd) -> str | None:
    sequence = fields["sequence"]
    if previous.sequence >= 0 and sequence != previous.sequence + 1:
        return f"entry {sequence} follows entry {previous.sequence}: entries are missing, or not in their order"
    if fields.get("previous") != previous.hash:
        return f"entry {sequence} does not follow the entry before it: that one was changed or put there"
    return None
