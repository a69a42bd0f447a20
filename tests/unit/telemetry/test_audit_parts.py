"""State of a trail whose parts are uploaded: its name, its continuation, its room, and paths of other trails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.errors import ConfigurationError, StorageError
from assay.telemetry.audit_chain import EMPTY_CHAIN, encode_fields
from assay.telemetry.audit_file import TrailFile
from assay.telemetry.audit_parts import WaitingParts, get_state_path


def open_file(path: Path, *, max_bytes: int = 2**20, rotate: int = 2**20) -> TrailFile:
    opened = TrailFile(path, rotate, WaitingParts(path, max_bytes))
    opened.acquire()
    return opened


def test_a_trail_keeps_its_name_and_its_chain_although_all_parts_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    first = open_file(path)
    first.append([encode_fields({"number": number}) for number in range(3)])
    first.rotate()
    (part,) = first.list_waiting()
    first.discard(part, first.end)
    assert first.list_waiting() == []
    first.close()
    again = open_file(path)
    assert (again.replica, again.end) == (first.replica, first.end)
    again.append([encode_fields({"number": 3})])
    again.close()
    fields = json.loads(path.read_bytes())
    assert (fields["sequence"], fields["previous"]) == (4, first.end.hash)


def test_a_lost_disk_begins_a_trail_of_another_name(tmp_path: Path) -> None:
    names = set()
    for directory in (tmp_path / "a", tmp_path / "b"):
        opened = open_file(directory / "audit.jsonl")
        names.add(opened.replica)
        assert opened.end == EMPTY_CHAIN
        opened.close()
    assert len(names) == 2


def test_a_part_without_entries_is_not_closed(tmp_path: Path) -> None:
    opened = open_file(tmp_path / "audit.jsonl")
    opened.rotate()
    assert opened.list_waiting() == []
    opened.append([encode_fields({"number": 1})])
    opened.rotate()
    assert [part.name for part in opened.list_waiting()] == ["audit.jsonl.000000000001"]
    opened.close()


def test_beyond_the_maximum_nothing_is_written_until_a_part_is_gone(tmp_path: Path) -> None:
    opened = open_file(tmp_path / "audit.jsonl", max_bytes=8192, rotate=4096)
    for number in range(2):
        opened.append([encode_fields({"text": "x" * 4096, "number": number})])
    with pytest.raises(StorageError, match="max-waiting"):
        opened.append([encode_fields({"number": 2})])
    opened.close()
    opened = open_file(tmp_path / "audit.jsonl", max_bytes=8192, rotate=4096)
    with pytest.raises(StorageError, match="max-waiting"):
        opened.append([encode_fields({"number": 2})])
    oldest = opened.list_waiting()[0]
    fields = json.loads(oldest.read_bytes())
    opened.discard(oldest, type(EMPTY_CHAIN)(sequence=1, hash=fields["hash"]))
    opened.append([encode_fields({"number": 2})])
    assert opened.end.sequence == 3
    opened.close()


@pytest.mark.parametrize("first_is_uploaded", [True, False])
def test_the_path_of_another_sink_is_refused_and_stays_unlocked(tmp_path: Path, first_is_uploaded: bool) -> None:
    path = tmp_path / "audit.jsonl"
    first, other = TrailFile(path, 4096), TrailFile(path, 4096, WaitingParts(path, 2**20))
    if first_is_uploaded:
        first, other = other, first
    first.acquire()
    first.append([encode_fields({"number": 1})])
    first.close()
    with pytest.raises(ConfigurationError, match="set another path"):
        other.acquire()
    first.acquire()
    first.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"[" * 4000, b'{"replica":"../x","sequence":0,"hash":"' + b"0" * 64 + b'"}', b'{"replica":"a"}'],
)
def test_a_malformed_state_is_an_error_and_names_no_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    get_state_path(path).write_bytes(content)
    with pytest.raises(StorageError, match="not the state of an audit trail"):
        open_file(path)
    document = {"replica": "a-1", "sequence": 0, "hash": "0" * 64}
    get_state_path(path).write_text(json.dumps(document))
    opened = open_file(path)
    assert opened.replica == "a-1"
    opened.close()
