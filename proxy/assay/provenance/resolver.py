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
from assay.attestation.pool.pool import Job, Verifier
from assay.caching.keyed_lock import Turns
from assay.evidence import OMITTED, Attested, Evidence, Forged, Unattested, Unverifiable
from assay.indexes import IndexSettings
from assay.ports import History, Page, Records
from assay.provenance.documents import (
    Documents,
    FileKey,
    Pointer,
    Proof,
    digest_of,
    document_key,
    key_of,
    pointer_key,
    sha256_of,
)
from assay.provenance.evidence_cache import Remembered
from assay.provenance.fetcher import LATER, Collected, Collector, Question, address_of, all_of
from assay.provenance.negative_cache import Doubts
from assay.simple.model import File, NormalizedName
from assay.telemetry import tracing
from assay.telemetry.metrics import EVIDENCE, VERIFICATION_SECONDS
from assay.upstream.client import Upstream

_BATCHES = (25, 50, 100)
"""Documents fetched before their verification begins: a page's first ones are few, so that nobody waits long for work,
and the last of these numbers holds for all that follow."""
_FETCHING = 2
_MOST_BATCHES = 4
"""Batches of one page that are being fetched, and in all: others are verified and recorded while the next ones come."""

_SOON = 4 * 2**20
"""Bytes of a batch whose record nobody waits for."""

_Settled = Attested | Unattested | Unverifiable
"""Evidence that is not asked for again while it is recorded."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Proofs:
    """Provenance and evidence of files."""

    def __init__(
        self, *, upstream: Upstream, records: Records, verifier: Verifier, clock: Callable[[], datetime]
    ) -> None:
        self._records = records
        self._documents = Documents(records)
        self._collector = Collector(upstream, self._documents)
        self._clock = clock
        self._verifier = verifier
        self._remembered = Remembered(records, verifier)
        self._turns = Turns()
        self._doubts = Doubts()

    @property
    def roots_digest(self) -> str:
        """Changes whenever the trust roots do: what evidence depends on besides the document."""
        return self._verifier.roots_digest

    async def of(self, page: Page, files: Sequence[File], history: History) -> dict[FileKey, Proof]:
        """The proof of each of `files` of a page, all of which have a digest; one view's question at a time.

        Raises:
            UpstreamUnavailableError: a document cannot be had now.
            UpstreamError: the index answers nonsense for one.
            VerificationUnavailableError: our own failure.
        """
        async with self._turns.turn((page.index.name, page.project.name)):
            roots = self.roots_digest
            answered = self._doubts.of(page, roots)
            open_ = [file for file in files if key_of(file) not in answered]
            asked = await self._asked(page.index, page.project.name, open_, history)
            self._doubts.keep(page, roots, asked)
        proofs = {key_of(file): Proof(evidence=Unattested(), document=None) for file in files}
        return proofs | {key: answered[key] for key in proofs if key in answered} | asked

    async def _asked(
        self, index: IndexSettings, project: NormalizedName, files: Sequence[File], history: History
    ) -> dict[FileKey, Proof]:
        """The proofs of those files for which there is something to ask."""
        proofs: dict[FileKey, Proof] = {}
        asked = [file for file in files if address_of(index, project, file) or digest_of(file) in history.evidence]
        newest_first = sorted(asked, key=lambda file: file.upload_time or _LONG_AGO, reverse=True)
        batches = _batches(newest_first)
        question = Question(index=index, project=project, history=history, fetching=asyncio.Semaphore(_FETCHING))
        in_flight = asyncio.Semaphore(_MOST_BATCHES)

        async def run(batch: Sequence[File]) -> dict[FileKey, Proof]:
            async with in_flight:
                # After a failure nothing new is begun: the index has enough of us, or is not there.
                return {} if question.trouble else await self._batch(question, batch)

        for found in await all_of(run(batch) for batch in batches):
            proofs |= found
        if question.trouble:
            raise question.trouble[0]
        return proofs

    async def document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """A file's provenance document: the one last seen, else the index's; None where there is none.

        Raises:
            UpstreamError: it cannot be had now.
        """
        return await self._collector.document(index, project, file, await self._documents.pointer(file))

    async def offered(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """The document that the index has now, whatever was seen before.

        Raises:
            UpstreamError: it cannot be asked now.
        """
        return await self._collector.document(index, project, file, None)

    async def learn(
        self, index: IndexSettings, project: NormalizedName, file: File, document: bytes, before: Pointer
    ) -> None:
        """Verify a document that took the place of `before`'s, and record it beside that.

        Raises:
            VerificationUnavailableError: our own failure.
        """
        await self._verified(index, project, [(file, document)], {key_of(file): before})
        self._doubts.forget((index.name, project))

    async def _batch(self, question: Question, files: Sequence[File]) -> dict[FileKey, Proof]:
        pointers = await self._documents.pointers(files)
        proofs = await self._remembered.proofs(question.index, files, pointers)
        missing = [file for file in files if not isinstance(_evidence(proofs, file), _Settled)]
        if missing:
            self._verifier.prepare()
        while missing:
            async with self._collector.share() as share:
                found = await self._collector.collected(question, share, missing, known=proofs, pointers=pointers)
                missing = [file for file, document in found if document is LATER]
                proofs |= await self._proven(question, found, proofs, pointers)
        return proofs

    async def _proven(
        self,
        question: Question,
        found: Sequence[tuple[File, Collected]],
        known: Mapping[FileKey, Proof],
        pointers: Mapping[FileKey, Pointer],
    ) -> dict[FileKey, Proof]:
        """What documents prove, and what it proves that there is none."""
        index, project, history = question.index, question.project, question.history
        proofs: dict[FileKey, Proof] = {}
        jobs: list[tuple[File, bytes]] = []
        for file, document in found:
            match document:
                case bytes():
                    jobs.append((file, document))
                case None if key_of(file) in known:
                    pass
                case None if file.provenance is None and digest_of(file) not in history.evidence:
                    proofs[key_of(file)] = Proof(evidence=Unattested(), document=None)
                case None:
                    proofs[key_of(file)] = Proof(evidence=_omitted(file, history), document=None)
                case _:
                    pass  # it could not be had, or not yet
        for key, proof in (await self._verified(index, project, jobs, pointers)).items():
            proofs[key] = await self._remembered.beside(index, key, proof, pointers)
        return proofs

    async def _verified(
        self,
        index: IndexSettings,
        project: NormalizedName,
        jobs: Sequence[tuple[File, bytes]],
        pointers: Mapping[FileKey, Pointer],
    ) -> dict[FileKey, Proof]:
        """The proofs of documents just fetched, recorded; by themselves, without what was seen before."""
        if not jobs:
            return {}
        roots = self._verifier.digest_for(index.trust)
        with VERIFICATION_SECONDS.time(), tracing.span("verify", project=project, documents=len(jobs)):
            found = await self._verifier.verify(
                [
                    Job(filename=file.filename, sha256=digest_of(file), provenance=document, trust=index.trust)
                    for file, document in jobs
                ]
            )
        proofs: dict[FileKey, Proof] = {}
        records: dict[str, bytes] = {}
        # Where a root was renewed meanwhile, which one spoke is not known: verified again next time.
        is_sure, now = roots == self._verifier.digest_for(index.trust), self._clock().timestamp()
        for (file, document), (evidence, record) in zip(jobs, found, strict=True):
            digest = sha256_of(document)
            proofs[key_of(file)] = Proof(evidence=evidence, document=digest)
            if isinstance(evidence, Forged):
                _alarm(index, project, file, evidence)
            records[document_key(digest)] = document
            before = pointers.get(key_of(file)) or Pointer(document=digest)
            records[pointer_key(file)] = before.followed_by(digest, now).encoded()
            if is_sure:
                records[evidence_key(digest_of(file), file.filename, digest, roots)] = record
        for kind, count in Counter(type(one.evidence) for one in found).items():
            EVIDENCE.labels(kind.__name__.lower()).inc(count)
        size = sum(len(document) for _, document in jobs)
        await (self._records.put_soon if size < _SOON else self._records.put_many)(records)
        return proofs


def _batches(files: Sequence[File]) -> list[Sequence[File]]:
    batches: list[Sequence[File]] = []
    start = 0
    while start < len(files):
        size = _BATCHES[min(len(batches), len(_BATCHES) - 1)]
        batches.append(files[start : start + size])
        start += size
    return batches


def _evidence(proofs: Mapping[FileKey, Proof], file: File) -> Evidence | None:
    proof = proofs.get(key_of(file))
    return None if proof is None else proof.evidence


def _alarm(index: IndexSettings, project: NormalizedName, file: File, evidence: Forged) -> None:
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


def _omitted(file: File, history: History) -> Forged:
    seen = history.evidence.get(digest_of(file))
    expected = "the provenance that the page promises" if file.provenance else f"the provenance {seen}, seen before"
    return Forged(step=OMITTED, expected=expected, found="none: the index answers that there is none")
