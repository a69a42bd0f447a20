"""Evidence of one source for the files of a page: remembered, or fetched and verified, newest files first.

Owns the batches. Errors of the source and of the network are returned beside what was found: nothing about them is
recorded. What was fetched and verified before an error is recorded, so that the next try goes on from there. A source
that answers 429 is left alone for as long as it asks, up to a minute: the work belongs to the proxy, and a request that
waits for it is told to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from assay.caching.background import gather_or_cancel
from assay.errors import AssayError
from assay.evidence import Attested, Unattested, Unverifiable
from assay.ports import IndexPage, ProjectHistory, RecordStore, Verifier
from assay.provenance.documents import (
    DocumentCache,
    DocumentPointer,
    FileEvidence,
    FileKey,
    file_key,
    hash_document,
)
from assay.provenance.evidence import EvidenceRecords
from assay.provenance.fetcher import (
    DEFERRED,
    ByteBudget,
    DocumentFetcher,
    FetchContext,
    FetchOutcome,
)
from assay.provenance.negative_cache import NegativeCache
from assay.provenance.sources.base import EvidenceSource, ProjectQuery
from assay.simple.model import File, Sha256

_BATCH_SIZES = (25, 50, 100)
"""Documents fetched before their verification begins: a page's first batches are small, so that verification begins
early, and the last of these numbers holds for all that follow."""
_MAX_FETCHING_BATCHES = 2
_MAX_ACTIVE_BATCHES = 4
"""Batches of one page that are being fetched, and in all: others are verified and recorded while the next ones come."""

_ReusableEvidence = Attested | Unattested | Unverifiable
"""Evidence whose document is not fetched again while it is recorded."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedEvidence:
    """What one source says about the files of a page."""

    by_file: Mapping[FileKey, FileEvidence] = field(default_factory=dict)
    """The evidence of every file; if there is an error, of those that were answered for."""
    error: AssayError | None = None
    """The first thing that could not be had."""


class EvidenceCollector:
    """The evidence of one source, collected page by page."""

    def __init__(
        self,
        source: EvidenceSource,
        *,
        records: RecordStore,
        verifier: Verifier,
        budget: ByteBudget,
        clock: Callable[[], datetime],
    ) -> None:
        self.source = source
        self._verifier = verifier
        self._clock = clock
        self._documents = DocumentCache(records, source.name)
        self._fetcher = DocumentFetcher(source, self._documents, budget)
        self._evidence = EvidenceRecords(source=source.name, records=records, verifier=verifier, clock=clock)
        self._negative_cache = NegativeCache()

    async def collect(self, page: IndexPage, files: Sequence[File], history: ProjectHistory) -> CollectedEvidence:
        """Return the evidence of `files` of a page, all of which have a digest.

        Raises:
            VerificationUnavailableError: verification itself failed.
        """
        query = ProjectQuery(index=page.index, project=page.project.name, history=history)
        roots = self._verifier.roots_digest
        answered = self._negative_cache.get(page, roots)
        uncovered: dict[FileKey, FileEvidence] = {}
        open_: list[File] = []
        for file in files:
            if file_key(file) in answered:
                continue
            if self.source.covers(query, file):
                open_.append(file)
            else:
                uncovered[file_key(file)] = FileEvidence(evidence=Unattested(), document=None)
        found = await self._collect_unanswered(query, open_)
        if found.error is None:
            self._negative_cache.put(page, roots, found.by_file)
        known = {file_key(file): answered[file_key(file)] for file in files if file_key(file) in answered}
        return CollectedEvidence(by_file={**uncovered, **known, **found.by_file}, error=found.error)

    async def _collect_unanswered(self, query: ProjectQuery, files: Sequence[File]) -> CollectedEvidence:
        """Return the evidence of files about which there is something to ask."""
        newest_first = sorted(files, key=lambda file: file.upload_time or _LONG_AGO, reverse=True)
        fetch_context = FetchContext(query=query, fetch_slots=asyncio.Semaphore(_MAX_FETCHING_BATCHES))
        active = asyncio.Semaphore(_MAX_ACTIVE_BATCHES)

        async def run(batch: Sequence[File]) -> dict[FileKey, FileEvidence]:
            async with active:
                # After an error nothing new is begun: the source has had enough requests, or is unreachable.
                return {} if fetch_context.errors else await self._collect_batch(fetch_context, batch)

        by_file: dict[FileKey, FileEvidence] = {}
        for found in await gather_or_cancel(run(batch) for batch in _split_into_batches(newest_first)):
            by_file |= found
        return CollectedEvidence(by_file=by_file, error=next(iter(fetch_context.errors), None))

    async def _collect_batch(self, fetch_context: FetchContext, files: Sequence[File]) -> dict[FileKey, FileEvidence]:
        pointers = await self._documents.load_pointers(files)
        by_file = await self._evidence.load(fetch_context.query.index, files, pointers)
        missing = [
            file
            for file in files
            if (known := by_file.get(file_key(file))) is None or not isinstance(known.evidence, _ReusableEvidence)
        ]
        if missing:
            self._verifier.preload_roots()
        while missing:
            async with self._fetcher.reserve_bytes() as share:
                outcomes = await self._fetcher.fetch_batch(
                    fetch_context, share, missing, recorded_evidence=by_file, pointers=pointers
                )
                missing = [file for file, document in outcomes if document is DEFERRED]
                by_file |= await self._evaluate_outcomes(fetch_context.query, outcomes, by_file, pointers)
        return by_file

    async def _evaluate_outcomes(
        self,
        query: ProjectQuery,
        outcomes: Sequence[tuple[File, FetchOutcome]],
        recorded_evidence: Mapping[FileKey, FileEvidence],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> dict[FileKey, FileEvidence]:
        """Return what documents prove, and what it proves that there is none."""
        by_file: dict[FileKey, FileEvidence] = {}
        jobs: list[tuple[File, bytes]] = []
        for file, document in outcomes:
            if isinstance(document, bytes):
                jobs.append((file, document))
            elif document is None and file_key(file) not in recorded_evidence:
                evidence = self.source.judge_absence(query, file)
                by_file[file_key(file)] = FileEvidence(evidence=evidence, document=None)
        return by_file | await self._evidence.verify(query, jobs, pointers)

    async def load_or_fetch_document(self, query: ProjectQuery, file: File) -> bytes | None:
        """Return the file's document: the one last seen, else the source's; None if there is none.

        Raises:
            UpstreamError: it cannot be had now.
        """
        return await self._fetcher.load_or_fetch(query, file, await self._documents.load_pointer(file))

    async def load_pointers(self, files: Sequence[File]) -> dict[FileKey, DocumentPointer]:
        """Return which documents were seen for those files that have any."""
        return await self._documents.load_pointers(files)

    async def revalidate(self, query: ProjectQuery, file: File, pointer: DocumentPointer) -> Sha256 | None:
        """Fetch a file's document again; verify and record it if it was replaced.

        Returns:
            The digest of the document that replaced `pointer`'s; None if it is the same, or nothing that could.

        Raises:
            UpstreamError: the document cannot be had now.
            VerificationUnavailableError: verification itself failed.
        """
        now = self._clock().timestamp()
        document = await self._fetcher.load_or_fetch(query, file, None)
        if (
            document is None
            or not self.source.can_replace(document)
            or (digest := hash_document(document)) == pointer.document
        ):
            await self._documents.save_pointer(file, pointer.advance(pointer.document, now))
            return None
        await self._evidence.verify(query, [(file, document)], {file_key(file): pointer})
        self._negative_cache.invalidate((query.index.name, query.project))
        return digest


def _split_into_batches(files: Sequence[File]) -> list[Sequence[File]]:
    batches: list[Sequence[File]] = []
    start = 0
    while start < len(files):
        size = _BATCH_SIZES[min(len(batches), len(_BATCH_SIZES) - 1)]
        batches.append(files[start : start + size])
        start += size
    return batches
