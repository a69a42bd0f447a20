"""Provenance documents: our copies, else the index's, so many at a time and so many bytes of them at once.

Owns what is asked of an index and when: slots for requests, a budget of bytes for all pages together, and that nothing
new is asked once something of a page could not be had. What documents prove is decided by `proofs`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, TypeAlias, TypeVar
from urllib.parse import quote

from assay.errors import AssayError
from assay.indexes import IndexSettings
from assay.ports import ProjectHistory
from assay.provenance.budget import ByteBudget, Reservation
from assay.provenance.documents import DocumentCache, DocumentPointer, FileEvidence, FileKey, file_key, hash_document
from assay.simple.model import File, NormalizedName
from assay.upstream.client import PROVENANCE_ACCEPT, FetchedDocument, UpstreamClient

_MAX_REQUESTS_PER_INDEX = 24
"""Provenance requests to one index at a time: below what PyPI's front counts as abuse, enough to hide its latency."""
_MAX_UNRECORDED_BYTES = 32 * 2**20
"""Bytes of documents that are not recorded yet, of all pages together."""
_MAX_RETRY_AFTER_SECONDS = 60.0
"""Seconds that a document may be held back by the index's ``Retry-After``."""
_RECHECK_TIMEOUT_SECONDS = 5.0
"""Seconds that the question takes at most whether a forged document was replaced: there is an answer without it."""

_T = TypeVar("_T")


class Deferred(Enum):
    """A document that is to be asked for once there is room."""

    DEFERRED = 0


DEFERRED: Final = Deferred.DEFERRED
FetchOutcome: TypeAlias = bytes | AssayError | Deferred | None
"""A document; why it could not be had; that there was no room; that there is none."""


class _DeferredError(Exception):
    """There is no room now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchContext:
    """What all batches of one page have in common."""

    index: IndexSettings
    project: NormalizedName
    history: ProjectHistory
    fetch_slots: asyncio.Semaphore
    """How many batches fetch at a time."""
    errors: list[AssayError] = field(default_factory=list)
    """What could not be had; after the first nothing new is asked for."""


class ProvenanceFetcher:
    """Gets documents."""

    def __init__(self, upstream: UpstreamClient, documents: DocumentCache) -> None:
        self._upstream = upstream
        self._documents = documents
        self._request_slots: dict[str, asyncio.Semaphore] = {}
        self._budget = ByteBudget(_MAX_UNRECORDED_BYTES)

    def reserve_bytes(self) -> AbstractAsyncContextManager[Reservation]:
        """A batch's share of the budget, once there is something left, until its documents are recorded."""
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
        """Each file's document.

        Args:
            fetch_context: of which page.
            reservation: what the documents are added to.
            files: of a batch.
            recorded_evidence: what is recorded of those whose evidence is doubtful.
            pointers: which documents were seen before.
        """
        check = partial(_ensure_may_fetch, fetch_context, reservation)

        async def collect(file: File) -> FetchOutcome:
            index, project, doubted = fetch_context.index, fetch_context.project, recorded_evidence.get(file_key(file))
            try:
                if doubted is not None:
                    document = await self._refetch_forged(index, project, file, doubted, check)
                else:
                    document = await self.load_or_fetch(index, project, file, pointers.get(file_key(file)), check)
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
        self,
        index: IndexSettings,
        project: NormalizedName,
        file: File,
        forged_evidence: FileEvidence,
        ensure_may_fetch: Callable[[], None],
    ) -> bytes | None:
        """What the index offers in the place of a forged document; None where that is the same, or not to be had.

        A document that was spoilt on its way, or replaced by its index, must not condemn its file for ever.
        """
        try:
            async with asyncio.timeout(_RECHECK_TIMEOUT_SECONDS):
                document = await self.load_or_fetch(index, project, file, None, ensure_may_fetch)
        except (AssayError, TimeoutError):
            return None
        return None if document is None or hash_document(document) == forged_evidence.document else document

    async def load_or_fetch(
        self,
        index: IndexSettings,
        project: NormalizedName,
        file: File,
        pointer: DocumentPointer | None,
        ensure_may_fetch: Callable[[], None] = lambda: None,
    ) -> bytes | None:
        """Our copy, else the index's; None where the index says there is none.

        Args:
            index: the file's.
            project: the file's.
            file: whose document.
            pointer: which documents were seen before; None: the index is asked.
            ensure_may_fetch: asked before the index is; what it raises is raised.

        Raises:
            UpstreamError: it cannot be had now.
        """
        if pointer is not None and (stored := await self._documents.load_document(pointer.document)) is not None:
            return stored
        address = find_provenance_url(index, project, file)
        if address is None:
            return None
        slots = self._request_slots.setdefault(index.name, asyncio.Semaphore(_MAX_REQUESTS_PER_INDEX))
        async with slots:
            ensure_may_fetch()
            answer = await self._upstream.fetch_document(
                index,
                address,
                accept=PROVENANCE_ACCEPT,
                max_bytes=index.limits.provenance,
                max_wait_seconds=_MAX_RETRY_AFTER_SECONDS,
            )
        return answer.body if isinstance(answer, FetchedDocument) else None


def _ensure_may_fetch(fetch_context: FetchContext, reservation: Reservation) -> None:
    """Raises what ends the asking, or puts it off."""
    if fetch_context.errors:
        raise fetch_context.errors[0]
    if reservation.is_budget_exhausted:
        raise _DeferredError


def find_provenance_url(index: IndexSettings, project: NormalizedName, file: File) -> str | None:
    """Where the file's provenance is: where the page says, else in the index's other Integrity API."""
    if file.provenance is not None or index.provenance_from is None or file.distribution is None:
        return file.provenance
    version, filename = quote(str(file.distribution.version)), quote(file.filename, safe="")
    return f"{index.provenance_from}integrity/{project}/{version}/{filename}/provenance"


async def gather_or_cancel(jobs: Iterable[Coroutine[None, None, _T]]) -> list[_T]:
    """All results in order; the first failure cancels the rest and is raised as itself, not in a group."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
