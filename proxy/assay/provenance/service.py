"""Provenance service of all views: evidence for judging pages, documents to serve, and revalidation.

A background task collects the evidence about a project. All views share the task, and a project has only one at a time.
If replicas share the storage, they take turns. Meanwhile, a replica that waits for its turn reads from the records the
evidence that another one has found.
A caller waits for the task only for a limited time, and only for documents that are requested for the first time. If
the task takes longer, it publishes a notice every few seconds and at its end. Each notice causes the page to be judged
again with the evidence found so far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from assay import telemetry
from assay.caching.background import cancel_and_wait
from assay.errors import AssayError
from assay.evidence import INDEX_SOURCE
from assay.indexes import IndexSettings
from assay.ports import Flights, IndexPage, Notice, Notices, ProjectHistory, ProjectKey
from assay.provenance.collector import CollectionProgress
from assay.provenance.documents import file_key
from assay.provenance.resolver import ProvenanceResolver, Resolution
from assay.provenance.revalidation import ProvenanceRevalidator
from assay.simple.model import File, NormalizedName

_RETRY_WAIT_SECONDS = 1.0
"""Maximum wait in seconds for documents that have failed before. The wait begins when every other document has either
evidence or a failure."""
_NOTICE_INTERVAL_SECONDS = 2.0
"""Seconds between two notices of a running collection. The notices let files be decided before the collection ends."""
_MAX_TURNS = 15
"""Number of times that a collection waits for its turn before it begins anyway. Each time, it waits as long as a flight
does."""
_MAX_PREFETCHED_DOCUMENTS = 200
"""Maximum number of withheld files whose documents are fetched in the background after a page is judged."""


@dataclass(slots=True, kw_only=True)
class _Collection:
    """Background collection of the evidence about files of one project. A project has at most one at a time."""

    page: IndexPage
    wanted: Mapping[str, Sequence[File]]
    """Files about which evidence is collected, by the name of the source."""
    history: ProjectHistory
    progress: Mapping[str, CollectionProgress]
    task: asyncio.Task[None] | None = None
    is_waiting: bool = False
    """True while another replica collects the evidence about the project."""
    is_left: bool = False
    """True if a caller has stopped waiting for the collection."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Event that is set when a notice is published. A new event then replaces it."""

    @property
    def key(self) -> ProjectKey:
        """Names of the index and the project."""
        return self.page.index.name, self.page.project.name

    def announce(self, notices: Notices) -> None:
        """Publish a notice that evidence was found, and wake the callers that wait for it."""
        # Evidence that another replica has recorded is no news for the others.
        index, project = self.key
        notices.publish(Notice(index=index, project=project, is_remote=self.is_waiting))
        self.news.set()
        self.news = asyncio.Event()

    @property
    def is_complete(self) -> bool:
        """True if the evidence about all wanted files is known."""
        return all(
            file_key(file) in self.progress[name].by_file for name, files in self.wanted.items() for file in files
        )

    def covers(self, wanted: Mapping[str, Sequence[File]]) -> bool:
        """Return whether the collection was started for all wanted files. If so, they need no other collection."""
        started = {(name, file_key(file)) for name, files in self.wanted.items() for file in files}
        return all((name, file_key(file)) in started for name, files in wanted.items() for file in files)

    def make_resolution(self, *, is_complete: bool) -> Resolution:
        """Return the evidence found so far."""
        found = {name: progress.snapshot() for name, progress in self.progress.items()}
        return Resolution(by_source=found, is_complete=is_complete)


class ProvenanceService:
    """Evidence and provenance documents for the gates of all views.

    Args:
        resolver: finds the evidence.
        revalidator: checks in the background if documents were replaced.
        notices: tells the gates that more evidence is known.
        flights: let replicas take turns.
        notice_interval_seconds: time between two notices of a running collection, in seconds.
    """

    def __init__(
        self,
        *,
        resolver: ProvenanceResolver,
        revalidator: ProvenanceRevalidator,
        notices: Notices,
        flights: Flights,
        notice_interval_seconds: float = _NOTICE_INTERVAL_SECONDS,
    ) -> None:
        self.resolver = resolver
        self.revalidator = revalidator
        self._notices = notices
        self._flights = flights
        self._notice_interval_seconds = notice_interval_seconds
        self._collections: dict[ProjectKey, _Collection] = {}

    async def resolve(
        self,
        page: IndexPage,
        wanted: Mapping[str, Sequence[File]],
        history: ProjectHistory,
        *,
        timeout_seconds: float,
    ) -> Resolution:
        """Return the evidence of several sources about files of a page, as far as it is known before the timeout.

        The method waits at most a second for documents that have failed before. Their next tries run in the background.

        Args:
            page: the page of the index that owns the project.
            wanted: files to ask about, by the name of the source; each file has a digest.
            history: the ledger's history of the project.
            timeout_seconds: maximum wait in seconds.

        Raises:
            VerificationUnavailableError: verification could not run.
        """
        key = (page.index.name, page.project.name)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while (running := self._collections.get(key)) is not None:
            if running.is_left and running.covers(wanted):
                return running.make_resolution(is_complete=False)
            # Started for other files, or by a request that did not wait for its end: it may record what is wanted here.
            if not await self._wait(running, deadline - loop.time()):
                return running.make_resolution(is_complete=False)
        collection = self._make_collection(page, wanted, history)
        if collection.is_complete:
            return collection.make_resolution(is_complete=True)
        self._start(collection)
        return collection.make_resolution(is_complete=await self._wait(collection, deadline - loop.time()))

    def _make_collection(
        self, page: IndexPage, wanted: Mapping[str, Sequence[File]], history: ProjectHistory
    ) -> _Collection:
        progress = self.resolver.begin(page, wanted, history)
        return _Collection(page=page, wanted=wanted, history=history, progress=progress)

    def _start(self, collection: _Collection) -> None:
        self._collections[collection.key] = collection
        collection.task = asyncio.create_task(self._collect(collection), name=f"evidence {collection.key}")
        collection.task.add_done_callback(partial(_log_failed_collection, collection.key))

    async def _wait(self, collection: _Collection, seconds: float) -> bool:
        """Wait for a running collection; return whether it has ended. If the collection has failed, raise its error.

        The method waits at most `seconds`. When every file has either evidence or a failure, only documents that failed
        before are still being fetched. From then on, the method waits at most `_RETRY_WAIT_SECONDS`.

        Raises:
            VerificationUnavailableError: verification could not run.
        """
        task = collection.task
        if task is None:
            raise RuntimeError("the collection of evidence has not been started")
        settled = asyncio.ensure_future(_wait_until_settled(collection))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(0.0, seconds)
        try:
            await asyncio.wait((task, settled), timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()
        if not task.done():
            await asyncio.wait((task,), timeout=max(0.0, min(deadline - loop.time(), _RETRY_WAIT_SECONDS)))
        if not task.done():
            collection.is_left = True
            return False
        task.result()
        return True

    async def _collect(self, collection: _Collection) -> None:
        """Collect evidence. If a caller has stopped waiting, publish notices during the collection and at its end."""
        work = asyncio.create_task(self._collect_in_turn(collection))
        published = 0
        try:
            while not work.done():
                await asyncio.wait((work,), timeout=self._notice_interval_seconds)
                if collection.is_waiting:
                    await self.resolver.load_recorded(
                        collection.page, collection.wanted, collection.history, collection.progress
                    )
                known = sum(len(found.by_file) for found in collection.progress.values())
                if collection.is_left and known > published and not work.done():
                    published = known
                    collection.announce(self._notices)
            await work
        finally:
            await cancel_and_wait((work,))
            del self._collections[collection.key]
            if collection.is_left:
                collection.announce(self._notices)

    async def _collect_in_turn(self, collection: _Collection) -> None:
        """Collect the evidence when no other replica does."""
        index, project = collection.key
        collection.is_waiting = True
        try:
            for turn in range(1, _MAX_TURNS + 1):
                async with self._flights.flight(f"documents:{index}:{project}", _never_done) as flight:
                    if flight.first or turn == _MAX_TURNS:
                        collection.is_waiting = False
                        await self.resolver.resolve(
                            collection.page, collection.wanted, collection.history, collection.progress
                        )
                        return
        finally:
            collection.is_waiting = False

    async def wait_for_news(self, page: IndexPage, timeout_seconds: float) -> bool:
        """Wait until more evidence about a page is known; return whether it is known before the timeout.

        Return False at once if no collection of the project is running. Also return False at once if every caller is
        still waiting for the end of the collection, because the collection then publishes no notices.
        """
        collection = self._collections.get((page.index.name, page.project.name))
        if collection is None or not collection.is_left:
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                await collection.news.wait()
        except TimeoutError:
            return False
        return True

    async def get_document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """Return the provenance document of a file; None if the file has none.

        Raises:
            UpstreamError: the index cannot answer now, or its response is unusable.
        """
        return await self.resolver.get_document(index, project, file)

    def start_revalidation(self, page: IndexPage, files: Sequence[File]) -> None:
        """Start a background check for replaced documents of `files`, unless the page is stale.

        If the page is stale, its index is unavailable, and the check would fail too.
        """
        if not page.is_stale:
            self.revalidator.start(page.index, page.project.name, [file for file in files if file.sha256])

    def start_prefetch(self, page: IndexPage, files: Sequence[File], history: ProjectHistory) -> None:
        """Start to collect the index's evidence about `files` in the background, before it is needed.

        Do nothing if a collection of the project is already running.
        """
        collection = self._make_collection(page, {INDEX_SOURCE: files[:_MAX_PREFETCHED_DOCUMENTS]}, history)
        if not (page.is_stale or collection.is_complete or collection.key in self._collections):
            self._start(collection)

    async def wait_until_idle(self) -> None:
        """Wait until no evidence is being collected."""
        while tasks := [each.task for each in self._collections.values() if each.task is not None]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Cancel the running collections."""
        await cancel_and_wait([each.task for each in self._collections.values() if each.task is not None])


async def _never_done() -> bool:
    """Return False, because the records show what another replica has found."""
    return False


async def _wait_until_settled(collection: _Collection) -> None:
    for progress in collection.progress.values():
        await progress.is_settled.wait()


def _log_failed_collection(key: ProjectKey, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, AssayError):
        telemetry.failure("page-failed", error, project=key[1])
