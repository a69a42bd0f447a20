"""Verification of audit trails: changed, removed, cut and reordered entries are detected; intact trails are valid."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import StorageError
from assay.telemetry.audit_chain import (
    EMPTY_CHAIN,
    ChainEnd,
    ChainReport,
    encode_entries,
    encode_fields,
    list_parts,
    name_rotated_part,
    read_trail,
    verify_trail,
)


def written(path: Path, count: int = 6, before: ChainEnd = EMPTY_CHAIN) -> ChainEnd:
    lines = b""
    for number in range(count):
        line, before = encode_entries([encode_fields({"event": "served", "filename": f"foo-{number}.tar.gz"})], before)
        lines += line
    path.write_bytes(lines)
    return before


def found(path: Path, head: str | None = None) -> ChainReport:
    return verify_trail(read_trail(path), head=head)


def changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"foo-2", b"foo-9"), *lines[3:]]


def last_changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b"foo-5", b"foo-9")]


def forged(lines: list[bytes]) -> list[bytes]:
    """Replace an entry and compute its new hash. The next entry still has the hash of the old entry."""
    fields = json.loads(lines[2])
    other = encode_fields({"event": "served", "filename": "bar.tar.gz"})
    line, _ = encode_entries([other], ChainEnd(sequence=2, hash=fields["previous"]))
    return [*lines[:2], line, *lines[3:]]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (changed, "3: changed: its contents do not match its hash"),
        (last_changed, "6: changed: its contents do not match its hash"),
        (forged, "4: entry 4 does not follow the entry before it"),
        (lambda lines: lines[:2] + lines[3:], "3: entry 4 follows entry 2"),
        (lambda lines: lines[1:], "1: entry 2 follows entry 0"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "3: entry 4 follows entry 2"),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], "4: entry 3 follows entry 3"),
        (lambda lines: [*lines[:3], b"{}\n", *lines[3:]], "4: not an entry"),
        (lambda lines: [*lines[:3], b"\n", *lines[3:]], "4: not an entry"),
        (lambda lines: [*lines[:-1], lines[-1][:40]], "6: the line is incomplete"),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], "6: the line is incomplete"),
    ],
    ids=[
        "changed",
        "last changed",
        "forged",
        "removed",
        "first removed",
        "reordered",
        "repeated",
        "inserted",
        "empty line",
        "torn",
        "no newline",
    ],
)
def test_a_tampered_line_is_detected_and_the_untouched_trail_is_good(
    tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    trail = tmp_path / "audit.jsonl"
    head = written(trail)
    good = found(trail)
    assert (good.faults, good.entries, good.head) == ((), 6, head)
    trail.write_bytes(b"".join(tamper(trail.read_bytes().splitlines(keepends=True))))
    assert any(fault.startswith(f"audit.jsonl:{said}") for fault in found(trail).faults), found(trail).faults


def test_a_cut_tail_is_detected_by_a_head_that_was_kept(tmp_path: Path) -> None:
    trail = tmp_path / "audit.jsonl"
    head = written(trail)
    assert found(trail, head.hash).faults == ()
    assert found(trail, head.hash[:12]).faults == (), "what the metric says is enough"
    early = json.loads(trail.read_bytes().splitlines()[2])["hash"]
    trail.write_bytes(b"".join(trail.read_bytes().splitlines(keepends=True)[:-1]))
    assert found(trail).faults == (), "nothing in the trail itself tells"
    assert "the trail was cut before it" in found(trail, head.hash).faults[0]
    assert found(trail, early).faults == (), "an older head still stands: a trail may have grown since"


def test_parts_are_read_in_their_order_and_a_missing_one_is_detected(tmp_path: Path) -> None:
    trail = tmp_path / "audit.jsonl"
    first = written(name_rotated_part(trail, 6))
    second = written(name_rotated_part(trail, 12), before=first)
    last = written(trail, 3, before=second)
    (tmp_path / "audit.jsonl.lock").touch()
    assert [part.name for part in list_parts(trail)] == [
        "audit.jsonl.000000000006",
        "audit.jsonl.000000000012",
        "audit.jsonl",
    ]
    assert (found(trail).faults, found(trail).head) == ((), last)
    name_rotated_part(trail, 12).rename(tmp_path / "elsewhere")
    assert found(trail).faults == ("audit.jsonl:1: entry 13 follows entry 6: entries are missing or out of order",)


def test_what_was_archived_is_followed_by_its_last_hash_and_by_no_other(tmp_path: Path) -> None:
    trail = tmp_path / "audit.jsonl"
    first = written(name_rotated_part(trail, 6))
    written(trail, before=first)
    name_rotated_part(trail, 6).unlink()
    assert verify_trail(read_trail(trail, after_hash=first.hash)).faults == ()
    assert verify_trail(read_trail(trail, after_hash="1" * 64)).faults != ()
    assert verify_trail(read_trail(trail)).faults != ()


def test_a_trail_that_is_not_there_is_an_error_and_never_a_good_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no audit trail"):
        found(tmp_path / "audit.jsonl")


def test_lost_entries_are_counted(tmp_path: Path) -> None:
    trail = tmp_path / "audit.jsonl"
    line, _ = encode_entries([encode_fields({"event": "lost", "count": 7})], EMPTY_CHAIN)
    trail.write_bytes(line)
    assert found(trail).lost == 7


HOSTILE = st.text(max_size=60)


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_whatever_a_filename_holds_it_stays_within_its_line(names: list[str]) -> None:
    before = EMPTY_CHAIN
    for name in names:
        line, before = encode_entries([encode_fields({"filename": name})], before)
        assert line.count(b"\n") == 1
        assert json.loads(line)["filename"] == name


@given(st.binary(max_size=300), st.integers(0, 3))
def test_any_bytes_in_the_place_of_a_line_are_a_fault_and_never_an_error(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int
) -> None:
    trail = tmp_path_factory.mktemp("trail") / "audit.jsonl"
    written(trail, 4)
    lines = trail.read_bytes().splitlines(keepends=True)
    trail.write_bytes(b"".join([*lines[:place], junk + b"\n", *lines[place + 1 :]]))
    assert found(trail).faults != ()


def stored(directory: Path, counts: tuple[int, ...]) -> list[ChainEnd]:
    """Write parts as an object storage has them, and return the last entry of each."""
    directory.mkdir()
    heads, end = [], EMPTY_CHAIN
    for count in counts:
        end = written(directory / "part", count, before=end)
        (directory / f"{end.sequence:012d}.jsonl.gz").write_bytes(gzip.compress((directory / "part").read_bytes()))
        heads.append(end)
    (directory / "part").unlink()
    return heads


def test_the_stored_parts_of_a_replica_are_one_trail_with_their_heads(tmp_path: Path) -> None:
    heads = stored(tmp_path / "parts", (2, 3, 1))
    report = verify_trail(read_trail(tmp_path / "parts"), heads=heads)
    assert (report.entries, report.head, report.faults) == (6, heads[-1], ())
    plain = tmp_path / "parts" / "000000000005.jsonl"
    packed = plain.with_name("000000000005.jsonl.gz")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert verify_trail(read_trail(tmp_path / "parts"), heads=heads).faults == ()


def test_a_missing_last_part_and_a_rewritten_trail_are_detected_by_the_heads(tmp_path: Path) -> None:
    heads = stored(tmp_path / "parts", (2, 3, 1))
    (tmp_path / "parts" / "000000000006.jsonl.gz").unlink()
    assert verify_trail(read_trail(tmp_path / "parts")).faults == ()
    assert verify_trail(read_trail(tmp_path / "parts"), heads=heads).faults == (
        f"entry 6 with the recorded hash {heads[-1].hash} is missing",
    )
    (tmp_path / "parts" / "000000000002.jsonl.gz").unlink()
    rest = read_trail(tmp_path / "parts", after_hash=heads[0].hash)
    assert verify_trail(rest, heads=heads[:2]).faults == (), "the head of an archived part is not expected"
    others = [ChainEnd(sequence=each.sequence, hash="1" * 64) for each in heads]
    faults = verify_trail(read_trail(tmp_path / "parts", after_hash=heads[0].hash), heads=others).faults
    assert len(faults) == 2


@pytest.mark.parametrize("cut", [0, 5, 40, -4])
def test_a_stored_part_that_cannot_be_decompressed_is_a_fault(tmp_path: Path, cut: int) -> None:
    heads = stored(tmp_path / "parts", (20,))
    part = tmp_path / "parts" / "000000000020.jsonl.gz"
    part.write_bytes(part.read_bytes()[:cut])
    assert verify_trail(read_trail(tmp_path / "parts"), heads=heads).faults != ()
    part.write_bytes(b"no gzip")
    assert "cannot be decompressed" in verify_trail(read_trail(tmp_path / "parts")).faults[0]


def test_a_directory_of_several_replicas_is_an_error(tmp_path: Path) -> None:
    stored(tmp_path / "replica", (1,))
    with pytest.raises(StorageError, match="no part of one replica"):
        found(tmp_path)
