"""Upload of parts: by age and size, once, again after failures, after a crash, and never over another part."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assay.errors import StorageError
from assay.ports import AuditHead
from assay.telemetry.audit_chain import ChainEnd, read_trail, verify_trail
from assay.telemetry.audit_file import TrailFile
from assay.telemetry.audit_trail import AuditSettings, AuditTrail, open_audit_trail
from assay.telemetry.audit_upload import AuditUploader, UploadPacing, upload_parts

LONG = UploadPacing(part_age_seconds=3600, close_seconds=30)
SHORT = UploadPacing(part_age_seconds=0.01, min_delay_seconds=0.01, close_seconds=30)


class MemoryArchive:
    """Archive in memory, which fails on request."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, int], bytes] = {}
        self.heads: list[AuditHead] = []
        self.failures: list[str] = []
        """Names of methods that fail, each once."""
        self.forgets_acknowledgement = False
        self.changed = asyncio.Event()

    def _fail(self, name: str) -> None:
        self.changed.set()
        if name in self.failures:
            self.failures.remove(name)
            raise StorageError("the archive is away")

    async def store(self, replica: str, part: int, body: bytes) -> bool:
        self._fail("store")
        if (replica, part) in self.parts:
            return False
        self.parts[replica, part] = body
        if self.forgets_acknowledgement:
            self.forgets_acknowledgement = False
            raise StorageError("no answer in time")
        return True

    async def read(self, replica: str, part: int, max_bytes: int) -> bytes | None:
        body = self.parts.get((replica, part))
        assert body is None or len(body) <= max_bytes
        return body

    async def record_head(self, head: AuditHead) -> bool:
        self._fail("record_head")
        known = [each for each in self.heads if (each.replica, each.part) == (head.replica, head.part)]
        if not known:
            self.heads.append(head)
        return known in ([], [head])

    async def wait_for_heads(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.heads) < count:
                self.changed.clear()
                await self.changed.wait()
                await asyncio.sleep(0)

    def verify(self, directory: Path) -> tuple[int, tuple[str, ...]]:
        """Write the parts to a directory, and return the number of entries and the faults."""
        directory.mkdir()
        for (_, part), body in self.parts.items():
            (directory / f"{part:012d}.jsonl.gz").write_bytes(body)
        heads = [ChainEnd(sequence=each.sequence, hash=each.hash) for each in self.heads]
        assert len(heads) == len(self.parts)
        report = verify_trail(read_trail(directory), heads=heads)
        return report.entries, report.faults


@asynccontextmanager
async def open_trail(directory: Path, **upload: Any) -> AsyncIterator[tuple[AuditTrail, TrailFile]]:
    settings = AuditSettings.model_validate(
        {"sink": "objects", "path": str(directory / "audit.jsonl"), "upload": upload}
    )
    async with open_audit_trail(settings, lambda: datetime(2026, 7, 1, tzinfo=UTC)) as trail:
        assert trail is not None
        assert trail.parts is not None
        yield trail, trail.parts


async def list_waiting(parts: TrailFile) -> list[Path]:
    return await asyncio.to_thread(parts.list_waiting)


async def test_parts_are_uploaded_while_the_proxy_runs_and_the_last_one_when_it_ends(tmp_path: Path) -> None:
    archive = MemoryArchive()
    async with open_trail(tmp_path) as (trail, parts):
        async with upload_parts(trail, archive, SHORT):
            await trail.record({"number": 0})
            await archive.wait_for_heads(1)
            await trail.record({"number": 1})
            await archive.wait_for_heads(2)
            trail.record_nowait({"number": 2})
        assert await list_waiting(parts) == []
        replica = trail.parts.replica if trail.parts else ""
    assert {name for name, _ in archive.parts} == {replica}
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (3, ())


async def test_a_full_part_is_uploaded_as_one_and_nothing_without_entries(tmp_path: Path) -> None:
    archive = MemoryArchive()
    async with open_trail(tmp_path, **{"part-size": "4 KiB"}) as (trail, parts):
        for number in range(3):
            await trail.record({"text": "x" * 4096, "number": number})
        assert len(await list_waiting(parts)) == 3
        uploader = AuditUploader(parts, archive, LONG)
        await uploader.upload_all()
        assert len(archive.parts) == 3
        await uploader.upload_all()
        assert len(archive.parts) == 3
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (3, ())


async def test_while_the_archive_is_away_entries_stay_and_are_uploaded_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = MemoryArchive()
    archive.failures = ["store", "store", "record_head", "record_head"]
    async with open_trail(tmp_path) as (trail, parts):
        await trail.record({"number": 0})
        async with upload_parts(trail, archive, SHORT):
            await archive.wait_for_heads(1)
        assert await list_waiting(parts) == []
    assert caplog.messages.count("audit-upload-failed") == 4
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (1, ())


async def test_while_a_part_waits_no_further_part_is_closed_for_its_age(tmp_path: Path) -> None:
    archive = MemoryArchive()
    archive.failures = ["store"] * 3
    async with open_trail(tmp_path) as (trail, parts):
        uploader = AuditUploader(parts, archive, LONG)
        for number in range(3):
            await trail.record({"number": number})
            with pytest.raises(StorageError, match="away"):
                await uploader.upload_all()
        assert len(await list_waiting(parts)) == 1
        await uploader.upload_all()
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (3, ())
    assert len(archive.parts) == 2


async def test_parts_that_a_killed_proxy_left_are_uploaded_at_the_next_start(tmp_path: Path) -> None:
    archive = MemoryArchive()
    async with open_trail(tmp_path, **{"part-size": "4 KiB"}) as (trail, _):
        await trail.record({"text": "x" * 4096})
        await trail.record({"number": 1})
    async with open_trail(tmp_path) as (trail, parts), upload_parts(trail, archive, LONG):
        await archive.wait_for_heads(2)
        assert parts.end.sequence == 2
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (2, ())


async def test_a_part_whose_upload_was_not_acknowledged_is_taken_for_uploaded(tmp_path: Path) -> None:
    archive = MemoryArchive()
    archive.forgets_acknowledgement = True
    async with open_trail(tmp_path) as (trail, parts):
        await trail.record({"number": 0})
        uploader = AuditUploader(parts, archive, LONG)
        with pytest.raises(StorageError, match="no answer"):
            await uploader.upload_all()
        assert len(await list_waiting(parts)) == 1
        await uploader.upload_all()
        assert await list_waiting(parts) == []
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (1, ())


STORED = {
    "empty": b"",
    "not gzip": b"no gzip",
    "other": gzip.compress(b"{}\n"),
    "too large": gzip.compress(b"x" * 10_000_000),
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED)
async def test_another_part_of_this_name_is_never_replaced_and_the_local_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: bytes
) -> None:
    archive = MemoryArchive()
    async with open_trail(tmp_path) as (trail, parts):
        archive.parts[parts.replica, 1] = stored
        await trail.record({"number": 0})
        with pytest.raises(StorageError, match="another part of this name"):
            await AuditUploader(parts, archive, LONG).upload_all()
        assert archive.parts[parts.replica, 1] == stored
        assert len(await list_waiting(parts)) == 1
    assert "audit-part-conflict" in caplog.messages


async def test_another_recorded_head_is_a_conflict(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = MemoryArchive()
    async with open_trail(tmp_path) as (trail, parts):
        archive.heads.append(AuditHead(replica=parts.replica, part=1, sequence=1, hash="1" * 64))
        await trail.record({"number": 0})
        with pytest.raises(StorageError, match="another last entry"):
            await AuditUploader(parts, archive, LONG).upload_all()
        assert len(await list_waiting(parts)) == 1
    assert "audit-part-conflict" in caplog.messages


async def test_beyond_the_maximum_on_failure_decides_until_the_archive_is_back(tmp_path: Path) -> None:
    archive = MemoryArchive()
    archive.failures = ["store"]
    sizes = {"part-size": "4 KiB", "max-waiting": "8 KiB"}
    async with open_trail(tmp_path, **sizes) as (trail, parts):
        uploader = AuditUploader(parts, archive, LONG)
        for number in range(2):
            await trail.record({"text": "x" * 4096, "number": number})
        with pytest.raises(StorageError, match="max-waiting"):
            await trail.record({"number": 2})
        with pytest.raises(StorageError, match="away"):
            await uploader.upload_all()
        with pytest.raises(StorageError, match="max-waiting"):
            await trail.ensure_writable()
        await uploader.upload_all()
        await trail.ensure_writable()
        await uploader.upload_all()
    assert await asyncio.to_thread(archive.verify, tmp_path / "parts") == (3, ())


async def test_an_archive_that_hangs_does_not_hold_up_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class HangingArchive(MemoryArchive):
        async def store(self, replica: str, part: int, body: bytes) -> bool:
            self.changed.set()
            await asyncio.get_running_loop().create_future()
            return await super().store(replica, part, body)

    archive = HangingArchive()
    pacing = UploadPacing(part_age_seconds=3600, close_seconds=0.0)
    async with open_trail(tmp_path) as (trail, parts):
        await trail.record({"number": 0})
        async with upload_parts(trail, archive, pacing):
            await archive.changed.wait()
        assert len(await list_waiting(parts)) == 1
    assert "audit-upload-failed" in caplog.messages


async def test_without_a_trail_or_an_archive_nothing_is_uploaded(tmp_path: Path) -> None:
    async with upload_parts(None, MemoryArchive(), LONG):
        pass
    async with open_trail(tmp_path) as (trail, parts):
        await trail.record({"number": 0})
        async with upload_parts(trail, None, LONG):
            pass
        assert await list_waiting(parts) == []
