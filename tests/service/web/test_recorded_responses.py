"""Responses from memory with an audit trail: the connection sends them when the entry is written, without a task."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.telemetry.audit_chain import EncodedFields, read_trail, verify_trail
from assay.telemetry.audit_file import TrailFile
from tests.world.clients.raw_client import TIMEOUT_SECONDS, RawClient, encode_get, open_clients
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.two_ways import count_tasks


@dataclass
class Warm:
    """Proxy with an audit trail and a file in memory, and a connected client."""

    proxy: RunningProxy
    client: RawClient
    file: str
    trail: Path
    tasks: list[str]


@asynccontextmanager
async def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_failure: str = "refuse") -> AsyncIterator[Warm]:
    tasks, trail = count_tasks(monkeypatch), tmp_path / "audit.jsonl"
    async with Index() as index, AsyncExitStack() as stack:
        audit = {"path": str(trail), "on-failure": on_failure}
        configuration = make_configuration(index, tmp_path / "assay", audit=audit)
        proxy = await stack.enter_async_context(run_test_proxy(index, tmp_path, configuration=configuration))
        clients = await stack.enter_async_context(open_clients(proxy))
        listed = index.add(wheel("foo", padding=50_000))
        file, client = proxy.files_path(listed), await clients.connect()
        for _ in range(3):
            assert (await client.get(file))[0] == 200
            await proxy.wait_until_stored(listed)
        tasks.clear()
        yield Warm(proxy, client, file, trail, tasks)


class Disk:
    """Replacement for the write of entries that waits until the test releases it."""

    def __init__(self, append: Callable[[TrailFile, list[EncodedFields]], None]) -> None:
        self._append = append
        self.is_writing = threading.Event()
        self.may_write = threading.Event()
        self.fails = False

    def append(self, file: TrailFile, entries: list[EncodedFields]) -> None:
        self.is_writing.set()
        assert self.may_write.wait(TIMEOUT_SECONDS)
        if self.fails:
            raise StorageError("no space left")
        self._append(file, entries)

    async def reach(self) -> None:
        """Wait until a write has begun."""
        assert await asyncio.to_thread(self.is_writing.wait, TIMEOUT_SECONDS)


@contextmanager
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(TrailFile.append)
    with monkeypatch.context() as patched:
        patched.setattr(TrailFile, "append", lambda file, entries: disk.append(file, entries))  # noqa: PLW0108 - a method
        try:
            yield disk
        finally:
            disk.may_write.set()


async def receive(client: RawClient) -> bytes:
    """Return the head of the next response."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        head = await client.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        await client.reader.readexactly(int(length[1]) if length else 0)
    return head


async def count_served(trail: Path) -> int:
    entries = await asyncio.to_thread(lambda: list(read_trail(trail)))
    assert verify_trail(entries).faults == ()
    return [entry.fields["event"] for entry in entries].count("served")


async def test_a_file_in_memory_leaves_after_its_entry_and_needs_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with warm(tmp_path, monkeypatch) as world:
        before = await count_served(world.trail)
        with slow_disk(monkeypatch) as disk:
            world.client.writer.write(encode_get(world.file))
            await disk.reach()
            first = asyncio.create_task(world.client.reader.readexactly(1))
            await asyncio.sleep(0)
            assert not first.done()
            disk.may_write.set()
            assert await first == b"H"
            assert (await receive(world.client)).startswith(b"TTP/1.1 200")
        assert world.tasks == []
        assert await count_served(world.trail) == before + 1
        world.client.writer.write(encode_get(world.file))
        assert (await receive(world.client)).startswith(b"HTTP/1.1 200"), "the connection takes the next request"


async def test_a_file_whose_entry_cannot_be_written_is_refused_and_its_twin_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for on_failure, status in (("refuse", b"503"), ("alarm", b"200")):
        async with warm(tmp_path / on_failure, monkeypatch, on_failure=on_failure) as world:
            with slow_disk(monkeypatch) as disk:
                disk.fails = True
                disk.may_write.set()
                world.client.writer.write(encode_get(world.file))
                assert (await receive(world.client)).split(b" ")[1] == status
                assert world.tasks == ([f"GET {world.file}"] if on_failure == "refuse" else [])


async def test_requests_that_arrive_while_an_entry_is_written_are_answered_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with warm(tmp_path, monkeypatch) as world:
        with slow_disk(monkeypatch) as disk:
            world.client.writer.write(encode_get(world.file))
            await disk.reach()
            world.client.writer.write(encode_get("/simple/foo/"))
            world.client.writer.write(encode_get("/simple/no-such-project/"))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not world.tasks:  # noqa: ASYNC110 - no event says that a task took over
                    await asyncio.sleep(0)
            disk.may_write.set()
            statuses = [(await receive(world.client)).split(b" ")[1] for _ in range(3)]
        assert statuses == [b"200", b"200", b"404"]


async def test_a_client_that_leaves_while_its_entry_is_written_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay")
    async with warm(tmp_path, monkeypatch) as world:
        caplog.clear()
        with slow_disk(monkeypatch) as disk:
            world.client.writer.write(encode_get(world.file))
            await disk.reach()
            world.client.writer.transport.abort()
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not [record for record in caplog.records if record.message == "request"]:  # noqa: ASYNC110 - the log
                    await asyncio.sleep(0)
            disk.may_write.set()
        logged = [record.__dict__["fields"] for record in caplog.records if record.message == "request"]
        assert [each["status"] for each in logged] == ["left"]
