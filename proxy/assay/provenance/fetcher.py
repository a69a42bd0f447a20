"""Documents of one source: the recorded copy, else the source's, within a budget of bytes for all pages together.

Owns what a source is asked for and when: nothing new once something of a page could not be had, and no more than there
is memory for. Real documents have 10 kB and never come near the budget; if an index's documents are as large as its
limit allows, fewer are asked for at a time, and those that are here are verified before more is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, TypeAlias

from assay.caching.background import gather_or_cancel
from assay.errors import AssayError
from assay.provenance.documents import DocumentCache, DocumentPointer, FileEvidence, FileKey, file_key, hash_document
from assay.provenance.sources.base import EvidenceSource, ProjectQuery
from assay.simple.model import File

_RECHECK_TIMEOUT_SECONDS: Final = 5.0
"""Seconds for the question whether a forged document was replaced: there is an answer without it."""


class Deferred(Enum):
    """A document that is to be asked for once there is room."""

    DEFERRED = 0


DEFERRED: Final = Deferred.DEFERRED
FetchOutcome: TypeAlias = bytes | AssayError | Deferred | None
"""A document; why it could not be had; no room for it now; None if the source has none."""


class _DeferredError(Exception):
    """No room now."""


class ByteBudget:
    """A number of bytes. Documents that are being fetched when it is spent may exceed it."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._used = 0
        self._available = asyncio.Event()
        self._available.set()

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing more is to be fetched now."""
        return self._used >= self._limit

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[Reservation]:
        """Wait until something is left; give back at the end what the reservation has used.

        A holder never waits for the budget again: it goes on with what it has.
        """
        await self._available.wait()
        share = Reservation(self)
        try:
            yield share
        finally:
            self.adjust(-share.size)

    def adjust(self, size: int) -> None:
        """Add `size` bytes to what is used; a negative number gives bytes back."""
        self._used += size
        if self.is_exhausted:
            self._available.clear()
        else:
            self._available.set()


class Reservation:
    """One batch's part of a budget; `size` is in bytes."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    @property
    def is_budget_exhausted(self) -> bool:
        """Whether the whole budget is spent."""
        return self._budget.is_exhausted

    def add(self, size: int) -> None:
        """Add the bytes of a document that was fetched."""
        self.size += size
        self._budget.adjust(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchContext:
    """What all batches of one page have in common."""

    query: ProjectQuery
    fetch_slots: asyncio.Semaphore
    """How many batches fetch at a time."""
    errors: list[AssayError] = field(default_factory=list)
    """What could not be had; after the first nothing new is asked for."""


class DocumentFetcher:
    """The documents of one source, recorded or fetched."""

    def __init__(self, source: EvidenceSource, documents: DocumentCache, budget: ByteBudget) -> None:
        self._source = source
        self._documents = documents
        self._budget = budget

    def reserve_bytes(self) -> AbstractAsyncContextManager[Reservation]:
        """Return a batch's part of the budget, once something is left, until its documents are recorded."""
        return self._budget.reserve()

    async def fetch_batch(
        self,
        fetch_context: FetchContext,
        reservation: Reservation,
        files: Sequence[File],
        *,
        recorded_evidence: Mapping[FileKey, FileEvidence],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> list[tuple[File, FetchOutcome]]:
        """Fetch each file's document.

        Args:
            fetch_context: of which page.
            reservation: what the documents are added to.
            files: of a batch.
            recorded_evidence: what is recorded of those whose evidence is doubtful.
            pointers: which documents were seen before.
        """
        query, check = fetch_context.query, partial(_ensure_may_fetch, fetch_context, reservation)

        async def collect(file: File) -> FetchOutcome:
            doubted = recorded_evidence.get(file_key(file))
            try:
                if doubted is not None:
                    document = await self._refetch_forged(query, file, doubted, check)
                else:
                    document = await self.load_or_fetch(query, file, pointers.get(file_key(file)), check)
            except _DeferredError:
                return DEFERRED
            except AssayError as error:
                fetch_context.errors.append(error)
                return error
            reservation.add(len(document or b""))
            return document

        async with fetch_context.fetch_slots:
            return list(zip(files, await gather_or_cancel(collect(file) for file in files), strict=True))

    async def _refetch_forged(
        self, query: ProjectQuery, file: File, forged_evidence: FileEvidence, ensure_may_fetch: Callable[[], None]
    ) -> bytes | None:
        """Fetch what the source offers in place of a forged document; None if that is the same, or cannot be had.

        A document that was spoilt on its way, or that its source has replaced, must not condemn its file for ever.
        """
        try:
            async with asyncio.timeout(_RECHECK_TIMEOUT_SECONDS):
                document = await self._source.fetch(query, file, ensure_may_fetch)
        except (AssayError, TimeoutError):
            return None
        return None if document is None or hash_document(document) == forged_evidence.document else document

    async def load_or_fetch(
        self,
        query: ProjectQuery,
        file: File,
        pointer: DocumentPointer | None,
        ensure_may_fetch: Callable[[], None] = lambda: None,
    ) -> bytes | None:
        """Return the recorded copy, else the source's document; None if the source has none.

        Args:
            query: of which project.
            file: of which file.
            pointer: which documents were seen before; None: the source is asked.
            ensure_may_fetch: called right before the source is asked; what it raises is raised.

        Raises:
            UpstreamError: the document cannot be had now.
        """
        if pointer is not None and (stored := await self._documents.load_document(pointer.document)) is not None:
            return stored
        return await self._source.fetch(query, file, ensure_may_fetch)


def _ensure_may_fetch(fetch_context: FetchContext, reservation: Reservation) -> None:
    """Raise what ends the page's questions, or puts them off."""
    if fetch_context.errors:
        raise fetch_context.errors[0]
    if reservation.is_budget_exhausted:
        raise _DeferredError
