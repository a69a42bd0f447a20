"""Replicas in one process: object storage and flights in memory, and peers that read each other's downloads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO

from assay.errors import StorageError, UpstreamGoneError, UpstreamUnavailableError
from assay.files.download import Download
from assay.files.download_registry import DownloadRegistry
from assay.files.shared.keeper import ObjectKeeper
from assay.files.shared.plan import SharedPlans
from assay.ports import BodyStream, ExpectedFile, FileBody, Flight, Objects, Source
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlobStore
from tests.unit.files.sources import followed

PIECE = 64 * 1024


class MemoryObjects:
    """Object storage in memory (`assay.ports.Objects`), which can be away and can hold wrong bytes."""

    def __init__(self) -> None:
        self.stored: dict[Sha256, bytes] = {}
        self.is_away = False
        self.breaks_after: int | None = None
        self.reads = 0
        self.uses: list[tuple[date, Sha256]] = []
        self.sweeps: list[date] = []
        self.may_keep = asyncio.Event()
        self.may_keep.set()
        self.has_begun_to_keep, self.has_kept = asyncio.Event(), asyncio.Event()

    def _check(self) -> None:
        if self.is_away:
            raise UpstreamUnavailableError("the object storage does not answer")

    @asynccontextmanager
    async def contents(self, sha256: Sha256, start: int) -> AsyncIterator[FileBody]:
        self._check()
        self.reads += 1
        content = self.stored.get(sha256)
        if content is None:
            raise UpstreamGoneError("no such object")
        yield BodyStream(
            start=start, length=len(content), chunks=self._send(content, start), content_type="", url=sha256
        )

    async def _send(self, content: bytes, start: int) -> AsyncIterator[bytes]:
        for position in range(start, len(content), PIECE):
            if self.breaks_after is not None and position >= self.breaks_after:
                raise UpstreamUnavailableError("broken off")
            yield content[position : position + PIECE]

    async def has(self, sha256: Sha256) -> bool:
        self._check()
        return sha256 in self.stored

    async def keep(self, sha256: Sha256, reader: BinaryIO) -> None:
        with reader:
            self.has_begun_to_keep.set()
            await self.may_keep.wait()
            if self.is_away:
                raise StorageError("the object storage does not answer")
            content = reader.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StorageError("corrupt")
        if len(self.stored.get(sha256, b"")) != len(content):
            self.stored[sha256] = content
        self.has_kept.set()

    async def remove(self, sha256: Sha256) -> None:
        self.stored.pop(sha256, None)

    async def record_uses(self, used: Collection[Sha256], day: date) -> None:
        if self.is_away:
            raise StorageError("the database is away")
        self.uses += [(day, sha256) for sha256 in used]

    async def remove_unused(self, today: date) -> int:
        self.sweeps.append(today)
        if self.is_away:
            raise StorageError("the database is away")
        return 1


class SharedLocks:
    """Flights of all replicas. A replica that dies loses its locks."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.free = asyncio.Condition()
        self.is_down = False

    async def give_up(self, address: str) -> None:
        """Take the locks of a dead replica away."""
        async with self.free:
            self.holders = {key: holder for key, holder in self.holders.items() if holder != address}
            self.free.notify_all()


class ReplicaFlights:
    """Flights of one replica (`assay.ports.Flights`)."""

    def __init__(self, locks: SharedLocks, address: str) -> None:
        self._locks = locks
        self._address = address

    @asynccontextmanager
    async def flight(
        self, key: str, done: Callable[[], Awaitable[bool]], *, follow: bool = False
    ) -> AsyncIterator[Flight]:
        if self._locks.is_down:
            raise StorageError("the database is away")
        async with self._locks.free:
            while (holder := self._locks.holders.get(key)) is not None:
                if follow:
                    break
                await self._locks.free.wait()
            if holder is None:
                self._locks.holders[key] = self._address
        if holder is not None:
            yield Flight(first=False, holder=holder)
            return
        try:
            yield Flight(first=not await done())
        finally:
            async with self._locks.free:
                if self._locks.holders.get(key) == self._address:
                    del self._locks.holders[key]
                self._locks.free.notify_all()


class WatchedBlobs(DiskBlobStore):
    """Local tier that tells when a blob is marked as kept."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        super().__init__(directory, max_bytes)
        self.marked = asyncio.Event()

    async def mark_kept(self, sha256: Sha256) -> None:
        await super().mark_kept(sha256)
        self.marked.set()


class Replica:
    """Downloads of one replica, with an empty local tier."""

    def __init__(self, world: World, number: int, *, follows: bool) -> None:
        self.address = f"10.0.0.{number}:8081"
        self.blobs = WatchedBlobs(world.directory / str(number), 10**9)
        self.keeper = ObjectKeeper(world.storage, self.blobs, interval_seconds=0.01, max_interval_seconds=0.1)
        self.plans = SharedPlans(
            objects=world.storage,
            keeper=self.keeper,
            peers=world if follows else None,
            flights=ReplicaFlights(world.locks, self.address),
            index=world.index,
        )
        self.downloads = DownloadRegistry(self.blobs, self.plans.make_plan)
        self.is_dead = False

    async def get(self, file: ExpectedFile) -> bytes:
        """Return the bytes that a client of this replica gets."""
        download = self.downloads.join(file)
        try:
            return await followed(download)
        finally:
            self.downloads.leave(download)

    async def wait_until_idle(self) -> None:
        """Wait until each download has stored its file, and no lease is held and no object is stored or checked.

        A client has the last byte before the download stores the file.
        """
        while self.downloads._tasks:
            await asyncio.wait(list(self.downloads._tasks))
        await self.plans.wait_until_idle()

    async def close(self) -> None:
        await self.downloads.close()
        await self.plans.close()
        await self.keeper.close()
        await self.blobs.close()


class World:
    """Object storage, flights, an index and any number of replicas. It is the replicas' `Peers` too."""

    def __init__(self, directory: Path, index: Source) -> None:
        self.directory = directory
        self.index = index
        self.objects = MemoryObjects()
        self.storage: Objects = self.objects
        """Object storage of the replicas. A test may replace it."""
        self.locks = SharedLocks()
        self.replicas: dict[str, Replica] = {}
        self.followed: list[tuple[str, int]] = []
        """Address and offset of each request to a replica."""
        self.lies = False
        self._stack = AsyncExitStack()

    async def add_replica(self, *, follows: bool = True, keeps: bool = False) -> Replica:
        replica = Replica(self, len(self.replicas) + 1, follows=follows)
        await replica.blobs.scan()
        if keeps:
            replica.keeper.start()
        self.replicas[replica.address] = replica
        self._stack.push_async_callback(replica.close)
        return replica

    @asynccontextmanager
    async def contents(self, address: str, file: ExpectedFile, start: int) -> AsyncIterator[FileBody]:
        self.followed.append((address, start))
        replica = self.replicas.get(address)
        if replica is None or replica.is_dead:
            raise UpstreamUnavailableError("no such replica")
        # As the listener for other replicas does (`FileCache.open_held`): a running download, or else the stored file.
        download = replica.downloads.join_running(file)
        try:
            if download is not None:
                chunks = self._read_running(replica, download, start)
            else:
                chunks = self._read_stored(replica, file.sha256, start)
            yield BodyStream(start=start, length=file.size, chunks=chunks, content_type="", url=address)
        finally:
            if download is not None:
                replica.downloads.leave(download)

    async def _read_running(self, replica: Replica, download: Download, start: int) -> AsyncIterator[bytes]:
        async def approved() -> None:
            pass

        await download.wait_until_sendable()
        with await download.open_reader() as reader:
            async for span in download.follow(approved):
                first = max(start, span.offset)
                reader.seek(first)
                if chunk := reader.read(max(0, span.offset + span.count - first)):
                    yield bytes(len(chunk)) if self.lies else chunk
                if replica.is_dead:
                    raise UpstreamUnavailableError("reset")

    async def _read_stored(self, replica: Replica, sha256: Sha256, start: int) -> AsyncIterator[bytes]:
        blob = await replica.blobs.open(sha256)
        if blob is None:
            raise UpstreamUnavailableError("the file is not stored")
        try:
            with await blob.open_reader() as reader:
                reader.seek(start)
                content = reader.read()
        finally:
            await blob.close()
        yield bytes(len(content)) if self.lies else content

    async def kill(self, replica: Replica) -> None:
        replica.is_dead = True
        await replica.downloads.close()
        await self.locks.give_up(replica.address)

    async def close(self) -> None:
        await self._stack.aclose()
