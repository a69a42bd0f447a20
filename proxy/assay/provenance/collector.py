"""Collector of one source's evidence about the files of a page.

If evidence about a file is recorded, the collector uses it. Otherwise it fetches, verifies and records the file's
document. Documents are processed in batches, those of the newest files first. Documents that have failed before come
last. If a document cannot be fetched, the failure is kept in memory and is never recorded (`failures`). The collection
continues if the request that waits for it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from assay.caching.background import gather_or_cancel
from assay.caching.lru import Lru
from assay.evidence import Attested, Unattested, Unstated, Unverifiable
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
from assay.provenance.failures import DocumentFailure, FailureMemory
from assay.provenance.fetcher import (
    DEFERRED,
    ByteBudget,
    DocumentFetcher,
    FetchContext,
    FetchOutcome,
)
from assay.provenance.known_bundles import SourceDocument
from assay.provenance.negative_cache import NegativeCache
from assay.provenance.sources.base import EvidenceSource, ProjectQuery
from assay.simple.model import File, Sha256

_BATCH_SIZES = (25, 50, 100)
"""Numbers of files in the first batch, in the second, and in each later one. A batch is fetched before it is verified.
The first batches are small, so that verification begins early."""
_MAX_FETCHING_BATCHES = 2
"""Maximum number of batches of one page that are fetched at the same time."""
_MAX_ACTIVE_BATCHES = 4
"""Maximum number of batches of one page that are fetched, verified or recorded at the same time."""

_ReusableEvidence = Attested | Unattested | Unverifiable | Unstated
"""Kinds of recorded evidence that are used without fetching the document again."""

_MAX_RECHECKS = 50_000
"""Maximum number of files of one source whose next request is remembered, for all projects together."""

_MAX_CHECKS = 50_000
"""Maximum number of files of one source whose last request is remembered, for all projects together."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedEvidence:
    """Evidence of one source about the files of a page, and the failed requests for documents."""

    by_file: Mapping[FileKey, FileEvidence] = field(default_factory=dict)
    """Evidence by file, for the files whose evidence was obtained."""
    failures: Mapping[FileKey, DocumentFailure] = field(default_factory=dict)
    """For each file whose document the source did not send, the failure. An unusable response counts as evidence, so it
    is in `by_file` instead."""
    next_try: datetime | None = None
    """Earliest time at which a failed, unusable or missing document is requested again; None without such a
    document."""


@dataclass(slots=True)
class CollectionProgress:
    """Evidence that a running collection has obtained so far, for callers that do not wait for the end."""

    by_file: dict[FileKey, FileEvidence] = field(default_factory=dict)
    failures: dict[FileKey, DocumentFailure] = field(default_factory=dict)
    """For each document, the last failure. If a later try succeeds, the failure is removed."""
    rechecks: dict[FileKey, datetime] = field(default_factory=dict)
    """Times at which missing documents are requested again, for sources with `Lifetimes`."""
    first_tries: set[FileKey] = field(default_factory=set)
    """Files about which nothing is known yet: neither evidence nor a failure."""
    is_settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Event that is set when `first_tries` is empty. From then on, only documents that failed before are being
    fetched."""

    @classmethod
    def begin(
        cls, files: Iterable[File], find_known: Callable[[FileKey, File], FileEvidence | DocumentFailure | None]
    ) -> Self:
        """Return the progress of a new collection.

        Args:
            files: the files. Each has a digest.
            find_known: returns what is known at once about a file; None if that is nothing.
        """
        progress = cls()
        for file in files:
            key = file_key(file)
            match find_known(key, file):
                case None:
                    progress.first_tries.add(key)
                case DocumentFailure() as failure:
                    progress.failures[key] = failure
                case FileEvidence() as evidence:
                    progress.by_file[key] = evidence
        progress._settle()
        return progress

    def add_failures(self, failures: Mapping[FileKey, DocumentFailure]) -> None:
        """Add failed documents."""
        self.failures.update(failures)
        self._settle(failures)

    def add_evidence(self, by_file: Mapping[FileKey, FileEvidence]) -> None:
        """Add evidence, and remove the failures of the same files."""
        self.by_file.update(by_file)
        for key in by_file:
            self.failures.pop(key, None)
        self._settle(by_file)

    def _settle(self, keys: Iterable[FileKey] = ()) -> None:
        self.first_tries.difference_update(keys)
        if not self.first_tries:
            self.is_settled.set()

    def snapshot(self) -> CollectedEvidence:
        """Return the evidence and failures so far. An unusable response is evidence."""
        unusable = {
            key: FileEvidence(evidence=failure.to_evidence(), document=None)
            for key, failure in self.failures.items()
            if failure.is_unusable
        }
        return CollectedEvidence(
            by_file={**self.by_file, **unusable},
            failures={key: failure for key, failure in self.failures.items() if not failure.is_unusable},
            next_try=min(
                (*(failure.retry_at for failure in self.failures.values()), *self.rechecks.values()), default=None
            ),
        )


class EvidenceCollector:
    """Collector of one source's evidence, for one page at a time.

    Args:
        source: the source of the documents.
        records: storage of documents and evidence.
        verifier: verifies the documents.
        budget: limits the bytes of documents that are fetched and not recorded yet.
        clock: returns the current time in UTC.
    """

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
        self._failures = FailureMemory(source.name)
        self._fetcher = DocumentFetcher(source, self._documents, budget, self._failures)
        self._evidence = EvidenceRecords(
            source=source.name,
            document_format=source.document_format,
            records=records,
            verifier=verifier,
            clock=clock,
        )
        self._negative_cache = NegativeCache()
        self._rechecks = Lru[FileKey, datetime](max_items=_MAX_RECHECKS)
        self._rechecked = Lru[FileKey, datetime](max_items=_MAX_RECHECKS)
        self._checked_at = Lru[FileKey, float](max_items=_MAX_CHECKS)

    def begin(self, page: IndexPage, files: Sequence[File], history: ProjectHistory) -> CollectionProgress:
        """Return the progress of a new collection, with everything that is known at once.

        Evidence is known at once in two cases: the negative cache has it, or the source does not cover the file, and
        has no document for it. The failures of earlier tries are also known. A failure counts until a try succeeds.
        """
        query = make_query(page, history)
        cached = self._negative_cache.get(page, self._verifier.roots_digest, ledger_version=history.version)
        rechecks: dict[FileKey, datetime] = {}

        def find_known(key: FileKey, file: File) -> FileEvidence | DocumentFailure | None:
            if (known := cached.get(key)) is not None:
                return known
            if (recheck := self._get_recheck(file)) is not None and self._failures.get(file) is None:
                rechecks[key] = recheck
            elif self.source.covers(query, file):
                return self._failures.get(file)
            return FileEvidence(evidence=self.source.judge_absence(query, file), document=None)

        progress = CollectionProgress.begin(files, find_known)
        progress.rechecks |= rechecks
        return progress

    async def collect(
        self, page: IndexPage, files: Sequence[File], history: ProjectHistory, progress: CollectionProgress
    ) -> None:
        """Collect the source's evidence about files of a page.

        Args:
            page: the page of the index that owns the project.
            files: files of the page; each has a digest.
            history: the ledger's history of the project.
            progress: the result of `begin`; it receives the evidence and the failures, batch by batch.

        Raises:
            VerificationUnavailableError: verification could not run. Errors of the source are part of the result.
        """
        query = make_query(page, history)
        roots = self._verifier.roots_digest
        to_collect = [file for file in files if file_key(file) not in progress.by_file]
        await self._collect_unanswered(query, to_collect, progress)
        if self.source.lifetimes is not None:
            rechecks = {file_key(file): self._get_recheck(file) for file in to_collect}
            progress.rechecks |= {key: recheck for key, recheck in rechecks.items() if recheck is not None}
            return
        self._negative_cache.put(
            page,
            roots,
            {
                key: progress.by_file[key]
                for key, file in ((file_key(file), file) for file in to_collect)
                if key in progress.by_file and self._failures.get(file) is None
            },
            ledger_version=history.version,
        )

    async def _collect_unanswered(
        self, query: ProjectQuery, files: Sequence[File], progress: CollectionProgress
    ) -> None:
        """Collect the evidence about files for which `begin` has found no evidence."""
        newest_first = sorted(files, key=lambda file: file.upload_time or _LONG_AGO, reverse=True)
        # Requested documents that failed come last: they must not keep a source from being asked for the others.
        newest_first.sort(key=lambda file: (failure := self._failures.get(file)) is not None and failure.attempts > 0)
        fetch_context = FetchContext(
            query=query, fetch_slots=asyncio.Semaphore(_MAX_FETCHING_BATCHES), now=self._clock()
        )
        active = asyncio.Semaphore(_MAX_ACTIVE_BATCHES)

        async def run(batch: Sequence[File]) -> None:
            async with active:
                await self._collect_batch(fetch_context, batch, progress)

        await gather_or_cancel(run(batch) for batch in _split_into_batches(newest_first))

    async def _collect_batch(
        self, fetch_context: FetchContext, files: Sequence[File], progress: CollectionProgress
    ) -> None:
        pointers = drop_forgotten(await self._documents.load_pointers(files), fetch_context.query.history)
        by_file = await self._evidence.load(fetch_context.query.index, files, pointers)
        progress.add_evidence(by_file)
        missing = [file for file in files if self._must_fetch(file, by_file, pointers, fetch_context.now)]
        if missing:
            self._verifier.preload_roots()
        while missing:
            deferred: list[File] = []
            async with (
                self._fetcher.reserve_bytes() as share,
                aclosing(
                    self._fetcher.fetch_batch(
                        fetch_context, share, missing, recorded_evidence=by_file, pointers=pointers
                    )
                ) as groups,
            ):
                async for outcomes in groups:
                    progress.add_failures(
                        {file_key(file): each for file, each in outcomes if isinstance(each, DocumentFailure)}
                    )
                    deferred += [file for file, outcome in outcomes if outcome is DEFERRED]
                    progress.add_evidence(
                        await self._evaluate_outcomes(fetch_context.query, outcomes, by_file, pointers)
                    )
            missing = deferred

    async def load_recorded(
        self, page: IndexPage, files: Sequence[File], history: ProjectHistory, progress: CollectionProgress
    ) -> None:
        """Add the recorded evidence about files to `progress`. Request nothing from the source."""
        unknown = [file for file in files if file_key(file) not in progress.by_file]
        for batch in _split_into_batches(unknown):
            pointers = drop_forgotten(await self._documents.load_pointers(batch), history)
            progress.add_evidence(await self._evidence.load(page.index, batch, pointers))

    def _get_recheck(self, file: File) -> datetime | None:
        """Return the time at which a missing document is requested again; None if it must be requested now."""
        recheck = self._rechecks.get(file_key(file))
        return recheck if recheck is not None and self._clock() < recheck else None

    def _must_fetch(
        self,
        file: File,
        recorded: Mapping[FileKey, FileEvidence],
        pointers: Mapping[FileKey, DocumentPointer],
        now: datetime,
    ) -> bool:
        """Return whether the document of a file must be fetched.

        If evidence is recorded, the document is fetched again only if the evidence is forged, or if its lifetime is
        over. If no evidence is recorded, the document is fetched, unless an earlier try failed and the next try is not
        due yet.
        """
        known = recorded.get(file_key(file))
        if known is not None:
            return not isinstance(known.evidence, _ReusableEvidence) or self._is_outdated(file, pointers, now)
        return self._failures.get_current(file, now) is None

    def _is_outdated(self, file: File, pointers: Mapping[FileKey, DocumentPointer], now: datetime) -> bool:
        """Return whether the lifetime of a recorded document is over. If so, begin a new one."""
        lifetimes, pointer = self.source.lifetimes, pointers.get(file_key(file))
        if lifetimes is None or pointer is None:
            return False
        checked = datetime.fromtimestamp(pointer.checked_at, UTC)
        due = max(checked + lifetimes.document, self._rechecked.get(file_key(file)) or checked)
        if now < due:
            return False
        self._rechecked.put(file_key(file), now + lifetimes.document)
        return True

    async def _evaluate_outcomes(
        self,
        query: ProjectQuery,
        outcomes: Sequence[tuple[File, FetchOutcome]],
        recorded_evidence: Mapping[FileKey, FileEvidence],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> dict[FileKey, FileEvidence]:
        """Verify the fetched documents; return their evidence, and the evidence about files without a document.

        A file without a document keeps its recorded evidence, if it has any.
        """
        by_file: dict[FileKey, FileEvidence] = {}
        jobs: list[tuple[File, bytes]] = []
        for file, document in outcomes:
            if isinstance(document, bytes):
                jobs.append((file, document))
            elif document is None and file_key(file) not in recorded_evidence:
                evidence = self.source.judge_absence(query, file)
                by_file[file_key(file)] = FileEvidence(evidence=evidence, document=None)
                if self.source.lifetimes is not None:
                    self._rechecks.put(file_key(file), self._clock() + self.source.lifetimes.absence)
        verified = await self._evidence.verify(query, jobs, pointers)
        checked_at = self._clock().timestamp()
        for file, _ in jobs:
            self._checked_at.put(file_key(file), checked_at)
        return by_file | verified

    async def load_or_fetch_document(self, query: ProjectQuery, file: File) -> bytes | None:
        """Return the document of a file from the records, or else fetch it.

        The recorded document is the last one that the source offered. Return None if the source has no document.

        Raises:
            UpstreamError: the source cannot answer now, or its response is unusable.
        """
        return await self._fetcher.load_or_fetch(query, file, await self._documents.load_pointer(file))

    async def load_documents(self, file: File, history: ProjectHistory) -> list[SourceDocument]:
        """Return the recorded documents about a file, the latest first. Nothing is requested from the source."""
        pointers = drop_forgotten(await self._documents.load_pointers([file]), history)
        if (pointer := pointers.get(file_key(file))) is None:
            return []
        loaded = [await self._documents.load_document(each) for each in (pointer.document, *pointer.earlier)]
        name, document_format = self.source.name, self.source.document_format
        return [
            SourceDocument(source=name, document_format=document_format, content=each)
            for each in loaded
            if each is not None
        ]

    def select_unchecked(self, files: Iterable[File], since: float) -> list[File]:
        """Return the files without those whose document was certainly fetched after `since`, in seconds since 1970.

        The records say the same of further files (`load_pointers`).
        """
        return [file for file in files if (self._checked_at.get(file_key(file)) or 0.0) <= since]

    async def load_pointers(self, files: Sequence[File]) -> dict[FileKey, DocumentPointer]:
        """Return the pointers to recorded documents, by file. Files without a pointer are left out."""
        return await self._documents.load_pointers(files)

    async def revalidate(self, query: ProjectQuery, file: File, pointer: DocumentPointer) -> Sha256 | None:
        """Fetch a file's document again; verify and record it if the source has replaced it.

        Args:
            query: the project.
            file: the file; it has a digest.
            pointer: names the document that was last seen.

        Returns:
            The digest of the new document. None if the source has no document, the same document, or one that must not
            replace another (`EvidenceSource.can_replace`).

        Raises:
            UpstreamError: the source cannot answer now, or its response is unusable.
            VerificationUnavailableError: verification could not run.
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


def drop_forgotten(
    pointers: Mapping[FileKey, DocumentPointer], history: ProjectHistory
) -> dict[FileKey, DocumentPointer]:
    """Return the pointers without the documents that an operator declared wrong (`assay ledger forget`).

    A pointer whose latest document was forgotten is left out, so that the document is fetched again.
    """
    if not history.forgotten.rows:
        return dict(pointers)
    found = {}
    for (filename, sha256), pointer in pointers.items():
        if not history.forgotten.has_document(sha256, pointer.document):
            earlier = tuple(each for each in pointer.earlier if not history.forgotten.has_document(sha256, each))
            found[filename, sha256] = replace(pointer, earlier=earlier)
    return found


def make_query(page: IndexPage, history: ProjectHistory) -> ProjectQuery:
    """Return the context of requests for documents about the files of a page."""
    project = page.project
    return ProjectQuery(
        index=page.index, project=project.name, history=history, states_provenance=project.states_provenance
    )


def _split_into_batches(files: Sequence[File]) -> list[Sequence[File]]:
    batches: list[Sequence[File]] = []
    start = 0
    while start < len(files):
        size = _BATCH_SIZES[min(len(batches), len(_BATCH_SIZES) - 1)]
        batches.append(files[start : start + size])
        start += size
    return batches
