"""Plan of a download in a deployment of several replicas: object storage, then another replica, then the index.

1. If the object storage has the file, it is read there.
2. Otherwise the download takes a *lease*: one replica fetches the file from its index, and keeps the lease until the
   file is in object storage. The flight looks there once more before it gives the lease.
3. If another replica has the lease, the download follows that replica's download (`assay.ports.Peers`). If that breaks
   off, the download takes the lease again and continues at the first missing byte.
4. If the lease is with a replica that does not answer, or the flights fail, the download asks the index alone. A file
   is then fetched more than once, and never wrong.

The download verifies all bytes. An object with wrong bytes is read again, and removed if its digest is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError, UpstreamError
from assay.files.shared.keeper import ObjectKeeper
from assay.files.shared.lease import Lease
from assay.files.shared.sources import ObjectSource, PeerSource
from assay.ports import ExpectedFile, Flights, Objects, Peers, Source
from assay.simple.model import Sha256
from assay.telemetry.metrics import SOURCES

_MAX_SILENT_PEERS = 3
"""Number of replicas in a row that deliver nothing, after which a download asks the index alone."""
_MAX_PEERS = 10
"""Number of replicas in all, after which a download asks the index alone."""
_PEER_PAUSE_SECONDS = 0.1
"""Pause in seconds after the first silent replica, in which a dead one loses its lease. It doubles with each one."""


class SharedPlans:
    """Plans of all downloads of one replica.

    Args:
        objects: the object storage; None if the replicas share no objects.
        keeper: stores finished files as objects; None if there is no object storage.
        peers: connections to other replicas; None: wait for the object storage instead of following a replica.
        flights: locks of all replicas.
        index: source that asks the index.
    """

    def __init__(
        self,
        *,
        objects: Objects | None,
        keeper: ObjectKeeper | None,
        peers: Peers | None,
        flights: Flights,
        index: Source,
    ) -> None:
        self.objects = objects
        self.keeper = keeper
        self.peers = peers
        self.index = index
        self._flights = flights
        self._tasks = BackgroundTasks(_report_fault)
        self._held: set[Sha256] = set()

    def make_plan(self, file: ExpectedFile) -> SharedPlan:
        """Return the plan of a new download."""
        return SharedPlan(self, file)

    async def take_lease(
        self, sha256: Sha256, is_done: Callable[[], Awaitable[bool]]
    ) -> tuple[Lease | None, str | None]:
        """Take the lease of a file, or learn who has it.

        Args:
            sha256: digest of the file.
            is_done: returns whether the file is an object now, for a download that had to wait.

        Returns:
            The lease, if this replica may fetch the file for all. Otherwise None, and the address of the replica that
            does so; None if it is unknown, or if this replica has the lease for another download already.
        """
        if sha256 in self._held:
            return None, None
        lease = Lease(
            self._flights,
            self._tasks,
            key=f"file:{sha256}",
            done=is_done,
            follow=self.peers is not None,
        )
        flight = await lease.take()
        if flight.first and sha256 not in self._held:
            self._held.add(sha256)
            return lease, None
        lease.release()
        return None, flight.holder

    def release(self, sha256: Sha256, lease: Lease) -> None:
        """Give up a lease."""
        self._held.discard(sha256)
        lease.release()

    def finish_later(self, file: ExpectedFile, lease: Lease | None, *, keeps: bool, is_suspect: bool) -> None:
        """Check and store an object in the background, and then give up the lease.

        Args:
            file: the file.
            lease: lease of the file; None if this replica does not have it.
            keeps: True to store the file as an object.
            is_suspect: True to remove an object with wrong bytes first.
        """
        self._tasks.spawn(self._finish(file, lease, keeps=keeps, is_suspect=is_suspect), name=f"finish {file.sha256}")

    async def _finish(self, file: ExpectedFile, lease: Lease | None, *, keeps: bool, is_suspect: bool) -> None:
        try:
            if is_suspect and self.objects is not None:
                await _remove_if_wrong(self.objects, file)
            if keeps and self.keeper is not None:
                await self.keeper.keep(file.sha256)
        except AssayError as error:
            telemetry.warning("object-not-kept", sha256=file.sha256, error=str(error))
        finally:
            if lease is not None:
                self.release(file.sha256, lease)

    def mark_kept_later(self, sha256: Sha256) -> None:
        """Remember in the background that the object of a stored file exists."""
        if self.keeper is not None:
            self._tasks.spawn(self.keeper.mark_kept(sha256), name=f"mark {sha256}")

    async def wait_until_idle(self) -> None:
        """Wait until no lease is held and no object is stored or checked."""
        await self._tasks.wait_until_idle()

    async def close(self) -> None:
        """Give up all leases and end the background work."""
        await self._tasks.close()


async def _remove_if_wrong(objects: Objects, file: ExpectedFile) -> None:
    """Read an object, and remove it if its bytes do not have its digest.

    A page can state a wrong size of a file, so a download that failed does not prove that the object is wrong.

    Raises:
        UpstreamError: the object cannot be read.
        StorageError: the object cannot be removed.
    """
    hashed, size = hashlib.sha256(), 0
    async with objects.contents(file.sha256, 0) as body:
        async for chunk in body.chunks:
            hashed.update(chunk)
            size += len(chunk)
            if size > file.limit:
                return  # it may be the right file of another index; a wrong one is replaced because of its size
    if hashed.hexdigest() != file.sha256:
        telemetry.security("object-corrupt", sha256=file.sha256, found=hashed.hexdigest())
        await objects.remove(file.sha256)


def _report_fault(name: str, error: BaseException) -> None:
    telemetry.failure("keeping-failed", error, task=name)


class SharedPlan:
    """Plan of one download (`assay.files.source_plan.SourcePlan`).

    Args:
        plans: what the downloads of this replica share.
        file: the file.
    """

    def __init__(self, plans: SharedPlans, file: ExpectedFile) -> None:
        self._plans = plans
        self._file = file
        self._objects = None if plans.objects is None else ObjectSource(plans.objects)
        self._index = plans.index
        self._peer: PeerSource | None = None
        self._silent_peers = self._asked_peers = 0
        self._is_deceived = False
        self._lease: Lease | None = None
        self._current: Source | None = None
        self._is_suspect = False
        self._is_finished = False
        self._steps = deque[Callable[[], Awaitable[Source | None]]]([self._ask_objects, self._ask_holder])

    async def get_next(self) -> Source | None:
        """Return the next source; None if none is left. This may wait for the lease."""
        while self._steps:
            step = self._steps.popleft()
            if (source := await step()) is not None:
                self._current = source
                return source
        return None

    async def _ask_objects(self) -> Source | None:
        return None if self._is_suspect else self._objects

    async def _ask_holder(self) -> Source | None:
        """Take the lease. Return the replica that has it; None if the index is next, after the objects."""
        if self._peer is not None:
            self._silent_peers = 0 if self._peer.has_delivered else self._silent_peers + 1
        if self._silent_peers:
            await asyncio.sleep(_PEER_PAUSE_SECONDS * 2 ** (self._silent_peers - 1))
        holder = None
        may_follow = self._silent_peers < _MAX_SILENT_PEERS and self._asked_peers < _MAX_PEERS
        if may_follow and not self._is_deceived:
            self._lease, holder = await self._plans.take_lease(self._file.sha256, self._is_done)
        if self._lease is not None:  # the flight has looked for the object
            self._steps.append(self._ask_index)
            return None
        if holder is None or self._plans.peers is None:
            # The lease may have been another replica's until now, so that the object exists.
            self._steps.extend((self._ask_objects, self._ask_index))
            return None
        self._peer = PeerSource(self._plans.peers, holder)
        self._asked_peers += 1
        self._steps.extend((self._ask_objects, self._ask_holder))
        return self._peer

    async def _is_done(self) -> bool:
        """Return whether the object exists and is not suspect."""
        if self._plans.objects is None or self._is_suspect:
            return False
        try:
            return await self._plans.objects.has(self._file.sha256)
        except UpstreamError:
            return False

    async def _ask_index(self) -> Source:
        return self._index

    def report_wrong_bytes(self, suppliers: Sequence[Source]) -> None:
        """Ask the object storage, or other replicas, no more if they have supplied some of the bytes."""
        self._is_suspect |= any(each is self._objects for each in suppliers)
        self._is_deceived |= any(each is self._peer for each in suppliers)

    def finish(self, *, is_stored: bool) -> None:
        """Give up the lease; if the file came from the index, store it as an object before.

        Args:
            is_stored: True if the verified file is in the local tier.
        """
        if self._is_finished:
            return
        self._is_finished = True
        lease, self._lease = self._lease, None
        keeps = is_stored and self._current is self._index
        if keeps or self._is_suspect:
            self._plans.finish_later(self._file, lease, keeps=keeps, is_suspect=self._is_suspect)
        elif lease is not None:
            self._plans.release(self._file.sha256, lease)
        if is_stored:
            self._count()

    def _count(self) -> None:
        if self._current is self._index:
            SOURCES.labels("index").inc()
        elif self._current is self._peer:
            SOURCES.labels("peer").inc()
        else:
            SOURCES.labels("objects").inc()
            self._plans.mark_kept_later(self._file.sha256)
