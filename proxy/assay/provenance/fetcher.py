"""Fetcher of one source's documents: returns the recorded copy, or else fetches the document.

All pages share a budget of bytes. The budget limits the memory for documents that are fetched and not recorded yet.
PyPI's documents have about 10 kB each and never exhaust the budget. If the documents of an index are very large, the
fetcher stops when the budget is exhausted. It fetches more documents after the first ones are verified and recorded.

A failure concerns one document only (`failures`). If the first few documents of a page get no answer, the source is
probably down. The other documents of the page are then postponed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Final, TypeAlias

from assay.caching.background import cancel_and_wait
from assay.errors import AssayError, UpstreamUnavailableError
from assay.provenance.documents import DocumentCache, DocumentPointer, FileEvidence, FileKey, file_key, hash_document
from assay.provenance.failures import DocumentFailure, FailureMemory
from assay.provenance.sources.base import EvidenceSource, ProjectQuery
from assay.simple.model import File

_MAX_UNANSWERED: Final = 5
"""Number of documents without an answer at which a source counts as down, if it has answered for no document of the
page. The other documents of the page are then postponed."""
_STRAGGLER_SECONDS: Final = 0.5
"""Seconds after which the documents of a batch that have arrived are verified without the others."""
_RECHECK_TIMEOUT_SECONDS: Final = 5.0
"""Timeout in seconds for fetching a forged document again. After a timeout, the recorded evidence is used."""


class Deferred(Enum):
    """Outcome for a document that is fetched later, because the byte budget is exhausted."""

    DEFERRED = 0


DEFERRED: Final = Deferred.DEFERRED
FetchOutcome: TypeAlias = bytes | DocumentFailure | Deferred | None
"""Result of a fetch: the document, its failure, DEFERRED if the byte budget is exhausted, or None if there is no
document."""


class _PostponedError(Exception):
    """Error that prevents a request, because the source gives no answer."""


class _DeferredError(Exception):
    """Error that prevents a request, because the byte budget is exhausted."""


class ByteBudget:
    """Budget of bytes for documents in memory. Requests that are already running may exceed the budget."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._used = 0
        self._available = asyncio.Event()
        self._available.set()

    @property
    def is_exhausted(self) -> bool:
        """True if no further document may be fetched now."""
        return self._used >= self._limit

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[Reservation]:
        """Wait until the budget is not exhausted; yield a reservation, and return its bytes to the budget at the end.

        A reservation waits only at its beginning. If the budget becomes exhausted later, the caller verifies the
        documents that it already has. It fetches the other documents under a new reservation.
        """
        await self._available.wait()
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.adjust(-reservation.size)

    def adjust(self, size: int) -> None:
        """Add `size` bytes to the used ones. A negative size returns bytes to the budget."""
        self._used += size
        if self.is_exhausted:
            self._available.clear()
        else:
            self._available.set()


class Reservation:
    """Part of a budget that one batch uses. `size` is in bytes."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    @property
    def is_budget_exhausted(self) -> bool:
        """True if the whole budget is exhausted."""
        return self._budget.is_exhausted

    def add(self, size: int) -> None:
        """Count `size` bytes of a fetched document against the budget."""
        self.size += size
        self._budget.adjust(size)


@dataclass(slots=True, kw_only=True)
class FetchContext:
    """State that all batches of one page share while their documents are fetched."""

    query: ProjectQuery
    fetch_slots: asyncio.Semaphore
    """Semaphore that limits the batches that fetch at the same time."""
    now: datetime
    """Time at which the collection began."""
    unanswered: list[UpstreamUnavailableError] = field(default_factory=list)
    """Errors of documents for which the source gave no answer."""
    has_answered: bool = False
    """True if the source has answered for a document."""

    @property
    def gives_no_answer(self) -> bool:
        """True if the source must not be asked for further documents of the page now."""
        return not self.has_answered and len(self.unanswered) >= _MAX_UNANSWERED


class DocumentFetcher:
    """Fetcher of one source's documents. It uses recorded copies if it can."""

    def __init__(
        self, source: EvidenceSource, documents: DocumentCache, budget: ByteBudget, failures: FailureMemory
    ) -> None:
        self._source = source
        self._failures = failures
        self._documents = documents
        self._budget = budget

    def reserve_bytes(self) -> AbstractAsyncContextManager[Reservation]:
        """Return a context manager that waits for the budget and reserves a part of it for one batch.

        The batch must record its documents before it leaves the context.
        """
        return self._budget.reserve()

    async def fetch_batch(
        self,
        fetch_context: FetchContext,
        reservation: Reservation,
        files: Sequence[File],
        *,
        recorded_evidence: Mapping[FileKey, FileEvidence],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> AsyncGenerator[list[tuple[File, FetchOutcome]], None]:
        """Load or fetch the document of each file; yield the files with their outcomes, in one or two groups.

        The second group has the documents that took longer than `_STRAGGLER_SECONDS`. A document without an answer
        therefore does not delay the others. The caller must close the iterator (`contextlib.aclosing`).

        Args:
            fetch_context: state of the page.
            reservation: counts the bytes of the documents.
            files: the files of the batch.
            recorded_evidence: recorded evidence by file. For a file of the batch, this can only be forged evidence, and
                the document is fetched again.
            pointers: the documents seen before, by file.
        """
        query, check = fetch_context.query, partial(_ensure_may_fetch, fetch_context, reservation)

        async def collect(file: File) -> FetchOutcome:
            key = file_key(file)
            forged = recorded_evidence.get(key)
            try:
                if forged is not None:
                    document = await self._refetch_forged(query, file, forged, check)
                else:
                    document = await self.load_or_fetch(query, file, pointers.get(key), check)
            except _DeferredError:
                return DEFERRED
            except _PostponedError:
                return self._failures.postpone(file, fetch_context.unanswered[-1], fetch_context.now)
            except UpstreamUnavailableError as error:
                fetch_context.unanswered.append(error)
                return self._failures.record(file, error, fetch_context.now)
            except AssayError as error:
                fetch_context.has_answered = True
                return self._failures.record(file, error, fetch_context.now)
            # Forged evidence is kept without an answer too, and a recorded document is no answer.
            fetch_context.has_answered |= forged is None and key not in pointers
            self._failures.forget(file)
            reservation.add(len(document or b""))
            return document

        tasks: dict[asyncio.Task[FetchOutcome], File] = {}
        try:
            async with fetch_context.fetch_slots:
                tasks = {asyncio.create_task(collect(file)): file for file in files}
                done, pending = await asyncio.wait(
                    tasks, timeout=_STRAGGLER_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
            yield [(file, task.result()) for task, file in tasks.items() if task in done]
            if pending:
                await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
                yield [(tasks[task], task.result()) for task in pending]
        finally:
            await cancel_and_wait(tasks)

    async def _refetch_forged(
        self, query: ProjectQuery, file: File, forged_evidence: FileEvidence, ensure_may_fetch: Callable[[], None]
    ) -> bytes | None:
        """Fetch a forged document again; return None if it is the same or cannot be fetched.

        The document may have been damaged in transit, or corrected by the source. Without a new try, the file would
        stay forged permanently.
        """
        try:
            async with asyncio.timeout(_RECHECK_TIMEOUT_SECONDS):
                document = await self._source.fetch(query, file, ensure_may_fetch)
        except (AssayError, TimeoutError, _PostponedError):
            return None
        return None if document is None or hash_document(document) == forged_evidence.document else document

    async def load_or_fetch(
        self,
        query: ProjectQuery,
        file: File,
        pointer: DocumentPointer | None,
        ensure_may_fetch: Callable[[], None] = lambda: None,
    ) -> bytes | None:
        """Return the recorded copy of a file's document, or else fetch the document; None if the source has none.

        Args:
            query: the project.
            file: the file.
            pointer: names the recorded document; None to fetch the document in any case.
            ensure_may_fetch: called right before a request is sent. It raises an exception to prevent the request.

        Raises:
            UpstreamError: the source cannot answer now, or its response is unusable.
        """
        if pointer is not None and (stored := await self._documents.load_document(pointer.document)) is not None:
            return stored
        return await self._source.fetch(query, file, ensure_may_fetch)


def _ensure_may_fetch(fetch_context: FetchContext, reservation: Reservation) -> None:
    """Raise `_PostponedError` if the source gives no answer, or `_DeferredError` if the byte budget is exhausted."""
    if fetch_context.gives_no_answer:
        raise _PostponedError
    if reservation.is_budget_exhausted:
        raise _DeferredError
