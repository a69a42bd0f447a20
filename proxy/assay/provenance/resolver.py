"""Evidence for the files that need it: remembered, or fetched and verified, newest files first.

Owns evidence and documents as records, and what a page's batches are; `collector` gets the documents. A record only
saves a request or a verification: the document is named by its digest, and evidence is remembered under all that it
depends on, so a lost or broken record is got again.

- A provenance that the page promises and the index does not have is forged by omission; so is one that was seen
  before and that the index offers no more, when our copy is gone too: evidence once recorded counts.
- Failures of ours, and of the network, are exceptions: nothing about them is recorded, nothing is judged without. What
  was fetched and verified before one is recorded, so that the next try goes on from there.
- An index that answers 429 is left alone for as long as it asks, up to a minute: the work belongs to the proxy, and a
  request that waits for it is told to come back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from assay import telemetry
from assay.attestation.codec import evidence_key
from assay.attestation.pool.pool import VerificationJob, Verifier
from assay.caching.keyed_lock import KeyedLock
from assay.evidence import PROVENANCE_OMITTED, Attested, Evidence, Forged, Unattested, Unverifiable
from assay.indexes import IndexSettings
from assay.ports import IndexPage, ProjectHistory, RecordStore
from assay.provenance.documents import (
    DocumentCache,
    DocumentPointer,
    FileEvidence,
    FileKey,
    document_key,
    file_key,
    hash_document,
    pointer_key,
    require_sha256,
)
from assay.provenance.evidence_cache import EvidenceCache
from assay.provenance.fetcher import (
    DEFERRED,
    FetchContext,
    FetchOutcome,
    ProvenanceFetcher,
    find_provenance_url,
    gather_or_cancel,
)
from assay.provenance.negative_cache import NegativeCache
from assay.simple.model import File, NormalizedName
from assay.telemetry import tracing
from assay.telemetry.metrics import EVIDENCE_OUTCOMES, VERIFICATION_SECONDS
from assay.upstream.client import UpstreamClient

_BATCH_SIZES = (25, 50, 100)
"""Documents fetched before their verification begins: a page's first ones are few, so that nobody waits long for work,
and the last of these numbers holds for all that follow."""
_MAX_FETCHING_BATCHES = 2
_MAX_ACTIVE_BATCHES = 4
"""Batches of one page that are being fetched, and in all: others are verified and recorded while the next ones come."""

_MAX_DEFERRED_WRITE_BYTES = 4 * 2**20
"""Bytes of a batch whose record nobody waits for."""

_ReusableEvidence = Attested | Unattested | Unverifiable
"""Evidence that is not asked for again while it is recorded."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ProvenanceResolver:
    """Provenance and evidence of files."""

    def __init__(
        self, *, upstream: UpstreamClient, records: RecordStore, verifier: Verifier, clock: Callable[[], datetime]
    ) -> None:
        self._records = records
        self._documents = DocumentCache(records)
        self._fetcher = ProvenanceFetcher(upstream, self._documents)
        self._clock = clock
        self._verifier = verifier
        self._evidence_cache = EvidenceCache(records, verifier)
        self._locks = KeyedLock()
        self._negative_cache = NegativeCache()

    @property
    def roots_digest(self) -> str:
        """Changes whenever the trust roots do: what evidence depends on besides the document."""
        return self._verifier.roots_digest

    async def resolve(
        self, page: IndexPage, files: Sequence[File], history: ProjectHistory
    ) -> dict[FileKey, FileEvidence]:
        """The proof of each of `files` of a page, all of which have a digest; one view's question at a time.

        Raises:
            UpstreamUnavailableError: a document cannot be had now.
            UpstreamError: the index answers nonsense for one.
            VerificationUnavailableError: our own failure.
        """
        async with self._locks.acquire((page.index.name, page.project.name)):
            roots = self.roots_digest
            answered = self._negative_cache.get(page, roots)
            open_ = [file for file in files if file_key(file) not in answered]
            asked = await self._resolve_uncached(page.index, page.project.name, open_, history)
            self._negative_cache.put(page, roots, asked)
        proofs = {file_key(file): FileEvidence(evidence=Unattested(), document=None) for file in files}
        return proofs | {key: answered[key] for key in proofs if key in answered} | asked

    async def _resolve_uncached(
        self, index: IndexSettings, project: NormalizedName, files: Sequence[File], history: ProjectHistory
    ) -> dict[FileKey, FileEvidence]:
        """The proofs of those files for which there is something to ask."""
        proofs: dict[FileKey, FileEvidence] = {}
        asked = [
            file
            for file in files
            if find_provenance_url(index, project, file) or require_sha256(file) in history.evidence
        ]
        newest_first = sorted(asked, key=lambda file: file.upload_time or _LONG_AGO, reverse=True)
        batches = _split_into_batches(newest_first)
        question = FetchContext(
            index=index, project=project, history=history, fetch_slots=asyncio.Semaphore(_MAX_FETCHING_BATCHES)
        )
        in_flight = asyncio.Semaphore(_MAX_ACTIVE_BATCHES)

        async def run(batch: Sequence[File]) -> dict[FileKey, FileEvidence]:
            async with in_flight:
                # After a failure nothing new is begun: the index has enough of us, or is not there.
                return {} if question.errors else await self._resolve_batch(question, batch)

        for found in await gather_or_cancel(run(batch) for batch in batches):
            proofs |= found
        if question.errors:
            raise question.errors[0]
        return proofs

    async def get_document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """A file's provenance document: the one last seen, else the index's; None where there is none.

        Raises:
            UpstreamError: it cannot be had now.
        """
        return await self._fetcher.load_or_fetch(index, project, file, await self._documents.load_pointer(file))

    async def fetch_current_document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """The document that the index has now, whatever was seen before.

        Raises:
            UpstreamError: it cannot be asked now.
        """
        return await self._fetcher.load_or_fetch(index, project, file, None)

    async def record_replacement(
        self,
        index: IndexSettings,
        project: NormalizedName,
        file: File,
        document: bytes,
        previous_pointer: DocumentPointer,
    ) -> None:
        """Verify a document that took the place of `previous_pointer`'s, and record it beside that.

        Raises:
            VerificationUnavailableError: our own failure.
        """
        await self._verify_and_record(index, project, [(file, document)], {file_key(file): previous_pointer})
        self._negative_cache.invalidate((index.name, project))

    async def _resolve_batch(self, fetch_context: FetchContext, files: Sequence[File]) -> dict[FileKey, FileEvidence]:
        pointers = await self._documents.load_pointers(files)
        proofs = await self._evidence_cache.load(fetch_context.index, files, pointers)
        missing = [file for file in files if not isinstance(_find_evidence(proofs, file), _ReusableEvidence)]
        if missing:
            self._verifier.preload_roots()
        while missing:
            async with self._fetcher.reserve_bytes() as share:
                found = await self._fetcher.fetch_batch(
                    fetch_context, share, missing, recorded_evidence=proofs, pointers=pointers
                )
                missing = [file for file, document in found if document is DEFERRED]
                proofs |= await self._evaluate_outcomes(fetch_context, found, proofs, pointers)
        return proofs

    async def _evaluate_outcomes(
        self,
        fetch_context: FetchContext,
        outcomes: Sequence[tuple[File, FetchOutcome]],
        recorded_evidence: Mapping[FileKey, FileEvidence],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> dict[FileKey, FileEvidence]:
        """What documents prove, and what it proves that there is none."""
        index, project, history = fetch_context.index, fetch_context.project, fetch_context.history
        proofs: dict[FileKey, FileEvidence] = {}
        jobs: list[tuple[File, bytes]] = []
        for file, document in outcomes:
            match document:
                case bytes():
                    jobs.append((file, document))
                case None if file_key(file) in recorded_evidence:
                    pass
                case None if file.provenance is None and require_sha256(file) not in history.evidence:
                    proofs[file_key(file)] = FileEvidence(evidence=Unattested(), document=None)
                case None:
                    proofs[file_key(file)] = FileEvidence(
                        evidence=_make_omission_evidence(file, history), document=None
                    )
                case _:
                    pass  # it could not be had, or not yet
        for key, proof in (await self._verify_and_record(index, project, jobs, pointers)).items():
            proofs[key] = await self._evidence_cache.merge_recorded(index, key, proof, pointers)
        return proofs

    async def _verify_and_record(
        self,
        index: IndexSettings,
        project: NormalizedName,
        jobs: Sequence[tuple[File, bytes]],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> dict[FileKey, FileEvidence]:
        """The proofs of documents just fetched, recorded; by themselves, without what was seen before."""
        if not jobs:
            return {}
        roots = self._verifier.trust_fingerprint_for(index.trust)
        with VERIFICATION_SECONDS.time(), tracing.span("verify", project=project, documents=len(jobs)):
            found = await self._verifier.verify(
                [
                    VerificationJob(
                        filename=file.filename, sha256=require_sha256(file), provenance=document, trust=index.trust
                    )
                    for file, document in jobs
                ]
            )
        proofs: dict[FileKey, FileEvidence] = {}
        records: dict[str, bytes] = {}
        # Where a root was renewed meanwhile, which one spoke is not known: verified again next time.
        is_sure, now = roots == self._verifier.trust_fingerprint_for(index.trust), self._clock().timestamp()
        for (file, document), (evidence, record) in zip(jobs, found, strict=True):
            digest = hash_document(document)
            proofs[file_key(file)] = FileEvidence(evidence=evidence, document=digest)
            if isinstance(evidence, Forged):
                _log_forgery(index, project, file, evidence)
            records[document_key(digest)] = document
            before = pointers.get(file_key(file)) or DocumentPointer(document=digest)
            records[pointer_key(file)] = before.advance(digest, now).encode()
            if is_sure:
                records[evidence_key(require_sha256(file), file.filename, digest, roots)] = record
        for kind, count in Counter(type(one.evidence) for one in found).items():
            EVIDENCE_OUTCOMES.labels(kind.__name__.lower()).inc(count)
        size = sum(len(document) for _, document in jobs)
        await (self._records.put_soon if size < _MAX_DEFERRED_WRITE_BYTES else self._records.put_many)(records)
        return proofs


def _split_into_batches(files: Sequence[File]) -> list[Sequence[File]]:
    batches: list[Sequence[File]] = []
    start = 0
    while start < len(files):
        size = _BATCH_SIZES[min(len(batches), len(_BATCH_SIZES) - 1)]
        batches.append(files[start : start + size])
        start += size
    return batches


def _find_evidence(file_evidence: Mapping[FileKey, FileEvidence], file: File) -> Evidence | None:
    proof = file_evidence.get(file_key(file))
    return None if proof is None else proof.evidence


def _log_forgery(index: IndexSettings, project: NormalizedName, file: File, evidence: Forged) -> None:
    telemetry.security(
        "forged",
        index=index.name,
        project=project,
        filename=file.filename,
        sha256=file.sha256,
        step=evidence.step,
        expected=evidence.expected,
        found=evidence.found,
    )


def _make_omission_evidence(file: File, history: ProjectHistory) -> Forged:
    seen = history.evidence.get(require_sha256(file))
    expected = "the provenance that the page promises" if file.provenance else f"the provenance {seen}, seen before"
    return Forged(step=PROVENANCE_OMITTED, expected=expected, found="none: the index answers that there is none")
