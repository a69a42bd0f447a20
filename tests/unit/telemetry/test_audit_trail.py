"""Writer of the audit trail: order, continuation, rotation, repair, locking, and failed writes in both modes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.config import Configuration
from assay.errors import StorageError, StorageInUseError
from assay.telemetry.audit_chain import encode_fields, list_parts, read_trail, verify_trail
from assay.telemetry.audit_file import TrailFile
from assay.telemetry.audit_trail import AuditLimits, AuditSettings, AuditTrail, OnFailure, open_audit_trail
from assay.telemetry.metrics import REGISTRY


def clock() -> datetime:
    return datetime(2026, 7, 1, tzinfo=UTC)


def settings(directory: Path, **keys: Any) -> AuditSettings:
    return AuditSettings(path=directory / "audit.jsonl", **keys)


async def read(directory: Path) -> list[dict[str, Any]]:
    """Check that the trail is valid, and return the fields of all entries."""
    entries = await asyncio.to_thread(lambda: list(read_trail(directory / "audit.jsonl")))
    assert verify_trail(entries).faults == ()
    return [dict(entry.fields) for entry in entries]


def failing_after(left: int) -> Callable[[int, memoryview], int]:
    """Return a replacement for `os.write` that fails after it has written `left` more bytes."""
    write = os.write

    def failing(descriptor: int, view: memoryview) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, view[:left])
        left -= taken
        return taken

    return failing


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> Iterator[None]:
    """Make all writes to the trail fail after `after` more bytes, while the context is open."""
    with monkeypatch.context() as patched:
        patched.setattr("assay.telemetry.audit_file.os.write", failing_after(after))
        yield


async def test_entries_of_many_requests_keep_their_order_and_the_chain(tmp_path: Path) -> None:
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        await asyncio.gather(*(trail.record({"event": "served", "number": number}) for number in range(500)))
        head = trail.head
    entries = await read(tmp_path)
    assert [entry["number"] for entry in entries] == list(range(500))
    assert entries[0]["time"] == "2026-07-01T00:00:00.000+00:00"
    assert head.sequence == 500
    assert REGISTRY.get_sample_value("assay_audit_entries") == 500
    assert f"{int(REGISTRY.get_sample_value('assay_audit_head') or 0):012x}" == head.hash[:12]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"sink": "objects"}, "a file for entries that wait"),
        ({"sink": "stdout", "path": "audit.jsonl"}, "no file with sink"),
        ({"sink": "postgresql", "path": "audit.jsonl"}, "'file', 'objects' or 'stdout'"),
        ({"upload": {"part-age": "2 hours"}}, "between"),
        ({"upload": {"part-size": "8 MiB", "max-waiting": "15 MiB"}}, "at least twice part-size"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        AuditSettings.model_validate(keys)


def test_sinks_with_what_they_need_are_accepted() -> None:
    upload = {"part-age": "1 hour", "part-size": "8 MiB", "max-waiting": "16 MiB"}
    assert AuditSettings.model_validate({"sink": "objects", "path": "audit.jsonl", "upload": upload}).path is not None
    assert AuditSettings.model_validate({"sink": "stdout"}).path is None
    with pytest.raises(ValidationError, match="an object storage for the audit trail"):
        Configuration.model_validate({"audit": {"sink": "objects", "path": "audit.jsonl"}})
    shared = {"deployment": "acme", "database": "postgresql://a@localhost/a", "key-file": "k", "objects": "s3://acme/"}
    audit = {"sink": "objects", "path": "audit.jsonl"}
    assert Configuration.model_validate({"audit": audit, "storage": {"shared": shared}}).audit.sink == "objects"


async def test_without_a_path_there_is_no_trail() -> None:
    async with open_audit_trail(AuditSettings(), clock) as trail:
        assert trail is None


async def test_what_nobody_waited_for_is_written_before_it_closes(tmp_path: Path) -> None:
    async with open_audit_trail(settings(tmp_path, on_failure="alarm"), clock) as trail:
        assert trail is not None
        for number in range(50):
            trail.record_nowait({"number": number})
    assert trail.head.sequence == 50
    assert isinstance(trail._file, TrailFile)
    assert trail._file._descriptor is None
    assert [entry["number"] for entry in await read(tmp_path)] == list(range(50))


async def test_closing_waits_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, released, write = threading.Event(), threading.Event(), os.write

    def slow(descriptor: int, view: memoryview) -> int:
        entered.set()
        released.wait()
        return write(descriptor, view)

    trail = await AuditTrail.open(settings(tmp_path, on_failure="alarm"), clock)
    assert trail is not None
    with monkeypatch.context() as patched:
        patched.setattr("assay.telemetry.audit_file.os.write", slow)
        trail.record_nowait({"number": 1})
        await asyncio.to_thread(entered.wait)
        trail.record_nowait({"number": 2})
        closing = asyncio.create_task(trail.close())
        ended, _ = await asyncio.wait({closing}, timeout=0.1)
        released.set()
        assert not ended
        await closing
    assert [entry["number"] for entry in await read(tmp_path)] == [1, 2]


async def test_a_trail_is_continued_where_it_ended(tmp_path: Path) -> None:
    for number in range(3):
        async with open_audit_trail(settings(tmp_path), clock) as trail:
            assert trail is not None
            await trail.record({"number": number})
    assert [entry["sequence"] for entry in await read(tmp_path)] == [1, 2, 3]


async def test_full_parts_are_closed_and_the_chain_goes_on_also_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_audit_trail(settings(tmp_path, rotate=4096), clock) as trail:
            assert trail is not None
            for number in range(60):
                await trail.record({"filler": "x" * 100, "number": number})
    found = await asyncio.to_thread(list_parts, tmp_path / "audit.jsonl")
    assert len(found) > 3
    assert all(part.stat().st_size < 8192 for part in found)
    assert [oct(part.stat().st_mode & 0o777) for part in found] == ["0o400"] * (len(found) - 1) + ["0o600"]
    assert len(await read(tmp_path)) == 120


def test_a_trail_in_use_leaves_no_descriptor_open(tmp_path: Path) -> None:
    holder = TrailFile(tmp_path / "audit.jsonl", 1000)
    holder.acquire()
    before = list(Path("/proc/self/fd").iterdir())
    part = TrailFile(tmp_path / "audit.jsonl", 1000)
    with pytest.raises(StorageInUseError):
        part.acquire()
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)
    holder.close()
    part.acquire()
    part.close()


async def test_only_one_proxy_writes_a_trail(tmp_path: Path) -> None:
    async with open_audit_trail(settings(tmp_path), clock):
        with pytest.raises(StorageInUseError):
            await AuditTrail.open(settings(tmp_path), clock)
    async with open_audit_trail(settings(tmp_path), clock) as again:
        assert again is not None


async def test_a_line_torn_by_a_power_cut_is_taken_off_and_the_trail_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        await trail.record({"number": 1})
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'{"sequence":2,"prev')
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        await trail.record({"number": 2})
    entries = await read(tmp_path)
    assert [entry.get("event") for entry in entries] == [None, "mended", None]
    assert entries[1]["bytes"] == len(b'{"sequence":2,"prev')
    assert "audit-trail-repaired" in caplog.messages


@pytest.mark.parametrize("written", [b"hello\n", b"{}\n", b"\n"])
async def test_a_trail_that_somebody_else_wrote_in_is_not_continued(tmp_path: Path, written: bytes) -> None:
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        await trail.record({"number": 1})
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(written)
    with pytest.raises(StorageError, match="not a valid entry"):
        await AuditTrail.open(settings(tmp_path), clock)


@pytest.mark.parametrize("after", [0, 30], ids=["at once", "within a line"])
async def test_refuse_what_is_not_written_must_not_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, after: int
) -> None:
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        await trail.record({"number": 1})
        with full_disk(monkeypatch, after):
            with pytest.raises(StorageError, match="No space left"):
                await trail.record({"number": 2})
            with pytest.raises(StorageError, match="No space left"):
                await trail.ensure_writable()
        await trail.ensure_writable()
        await trail.record({"number": 3})
        await trail.ensure_writable()
    assert [entry["number"] for entry in await read(tmp_path) if "number" in entry] == [1, 3]
    alarms = [record for record in caplog.records if record.getMessage() == "audit-write-failed"]
    assert alarms[0].levelno == logging.ERROR


async def test_alarm_goes_on_and_the_trail_says_how_many_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_audit_trail(settings(tmp_path, on_failure=OnFailure.ALARM), clock) as trail:
        assert trail is not None
        with full_disk(monkeypatch):
            await trail.record({"number": 1})
            await trail.record({"number": 2})
            assert trail._writer_task is not None
            await trail._writer_task
            assert "audit-write-failed" in caplog.messages
            await trail.ensure_writable()
        await trail.record({"number": 3})
    entries = await read(tmp_path)
    assert [(entry.get("event"), entry.get("count"), entry.get("number")) for entry in entries] == [
        ("lost", 2, None),
        (None, None, 3),
    ]
    assert await asyncio.to_thread(lambda: verify_trail(read_trail(tmp_path / "audit.jsonl")).lost) == 2


async def test_an_entry_that_cannot_be_synced_is_not_in_the_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        with monkeypatch.context() as patched:
            patched.setattr("assay.telemetry.audit_file.os.fdatasync", refuse)
            with pytest.raises(StorageError, match="Input/output error"):
                await trail.record({"number": 1})
        await trail.ensure_writable()
        await trail.record({"number": 2})
    assert [entry["number"] for entry in await read(tmp_path) if "number" in entry] == [2]


def test_entries_are_in_the_trail_although_a_new_part_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    part = TrailFile(path, 4096)
    part.acquire()
    with monkeypatch.context() as patched:
        patched.setattr("assay.telemetry.audit_file.Path.rename", refuse)
        for number in range(3):
            part.append([encode_fields({"number": number, "text": "x" * 3000})])
    assert (caplog.messages.count("audit-rotation-failed"), len(list_parts(path))) == (2, 1)
    part.append([encode_fields({"number": 3})])
    assert len(list_parts(path)) == 2
    part.close()
    entries = list(read_trail(path))
    assert verify_trail(entries).faults == ()
    assert [entry.fields["number"] for entry in entries] == [0, 1, 2, 3]


def refuse(*_: object) -> None:
    raise OSError(5, "Input/output error")


async def test_a_disk_that_hangs_holds_up_nobody_for_ever_and_takes_no_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = AuditLimits(write_timeout_seconds=0.0, max_queued_entries=3)
    released, write = threading.Event(), os.write

    def hanging(descriptor: int, view: memoryview) -> int:
        released.wait()
        return write(descriptor, view)

    async with open_audit_trail(settings(tmp_path), clock, limits) as trail:
        assert trail is not None
        monkeypatch.setattr("assay.telemetry.audit_file.os.write", hanging)
        with pytest.raises(StorageError, match="did not take an entry"):
            await trail.record({"number": 0})
        for number in range(1, 4):
            with pytest.raises(StorageError, match="did not take an entry"):
                await trail.record({"number": number})
        with pytest.raises(StorageError, match="already wait to be written"):
            await trail.record({"number": 4})
        with pytest.raises(StorageError):
            await trail.ensure_writable()
        released.set()
        assert trail._writer_task is not None
        await trail._writer_task
        await trail.ensure_writable()
    assert [entry["number"] for entry in await read(tmp_path)][:4] == [0, 1, 2, 3]


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async with open_audit_trail(settings(tmp_path / "new"), clock) as trail:
        assert trail is not None
        await trail.record({"number": 1})
    assert oct((tmp_path / "new").stat().st_mode & 0o777) == "0o700"
    assert oct((tmp_path / "new" / "audit.jsonl").stat().st_mode & 0o777) == "0o600"
    assert json.loads((tmp_path / "new" / "audit.jsonl").read_bytes())["number"] == 1


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.none() | st.integers(0, 900), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    st.integers(600, 4000),
)
@settings_of(max_examples=60)
def test_wherever_the_disk_fails_or_the_proxy_ends_the_chain_holds_and_no_acknowledged_entry_is_missing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int | None, bool]], rotate: int
) -> None:
    """Each step has the number of entries in a batch, the bytes after which the disk fails, and True for a restart."""
    path = tmp_path_factory.mktemp("trail") / "audit.jsonl"
    part, acknowledged, number = TrailFile(path, rotate), [], 0
    part.acquire()
    for count, fails_after, starts_again in steps:
        batch = [{"number": number + position} for position in range(count)]
        number += count
        with pytest.MonkeyPatch.context() as patch:
            if fails_after is not None:
                patch.setattr("assay.telemetry.audit_file.os.write", failing_after(fails_after))
            try:
                part.append([encode_fields(entry) for entry in batch])
            except StorageError:
                assert fails_after is not None
            else:
                acknowledged += [entry["number"] for entry in batch]
        if starts_again:
            part.close()
            part = TrailFile(path, rotate)
            part.acquire()
    part.close()
    entries = list(read_trail(path))
    assert verify_trail(entries).faults == ()
    there = [entry.fields["number"] for entry in entries if "number" in entry.fields]
    assert there == acknowledged, "all that was acknowledged, in its order, and nothing that was refused"


async def test_a_callback_that_fails_is_reported_and_the_other_entries_get_their_result(tmp_path: Path) -> None:
    faults, done = list[dict[str, Any]](), list[int]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def fail() -> None:
        raise ValueError("broken")

    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        first, second = trail.begin_record({"number": 0}), trail.begin_record({"number": 1})
        assert first is not None
        assert second is not None
        first.add_done_callback(fail)
        first.add_done_callback(lambda: done.append(0))
        second.add_done_callback(lambda: done.append(1))
        await second.wait()
        assert done == [0, 1]
        assert [str(each["exception"]) for each in faults] == ["broken"]
        second.add_done_callback(lambda: done.append(2))
        assert done == [0, 1, 2], "the entry is written, so the callback runs at once"
        await first.wait()


async def test_encoded_members_follow_the_other_ones(tmp_path: Path) -> None:
    kept = encode_fields({"filename": "foo-1.0.tar.gz", "despite": [], "text": 'a "quoted" ü\n'})
    async with open_audit_trail(settings(tmp_path), clock) as trail:
        assert trail is not None
        for number in range(2):
            write = trail.begin_record({"number": number}, kept)
            assert write is not None
            await write.wait()
    found = await read(tmp_path)
    assert [list(entry)[2:] for entry in found] == [["time", "number", "filename", "despite", "text"]] * 2
    assert [(entry["number"], entry["text"]) for entry in found] == [(0, 'a "quoted" ü\n'), (1, 'a "quoted" ü\n')]
