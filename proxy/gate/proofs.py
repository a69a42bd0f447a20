"""Evidence for the files that need it: remembered, or fetched and verified, newest files first.

Owns provenance documents and evidence as records. A record only saves a request or a verification: the document is
named by its digest, and evidence is remembered under all that it depends on, so a lost or broken record is got again.

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
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from proxy import telemetry
from proxy.attestation.codec import evidence_key
from proxy.attestation.workers import Job, Verifier
from proxy.errors import AssayError
from proxy.evidence import OMITTED, Attested, Evidence, Forged, Unattested, Unverifiable
from proxy.gate.documents import (
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
from proxy.gate.doubts import Doubts
from proxy.gate.pages import Page
from proxy.gate.remembered import Remembered
from proxy.gate.turns import Turns
from proxy.indexes import IndexSettings
from proxy.ports import History, Records
from proxy.simple.model import File, NormalizedName
from proxy.telemetry import tracing
from proxy.telemetry.metrics import EVIDENCE, VERIFICATION_SECONDS
from proxy.upstream import PROVENANCE_ACCEPT, Fetched, Upstream

_AT_ONCE = 24
"""Provenance requests to one index at a time: below what PyPI's front counts as abuse, enough to hide its latency."""
_BATCHES = (25, 50, 100)
"""Documents fetched before their verification begins: a page's first ones are few, so that nobody waits long for work,
and the last of these numbers holds for all that follow."""
_FETCHING = 2
_MOST_BATCHES = 4
"""Batches of one page that are being fetched, and in all: others are verified and recorded while the next ones come."""

_PATIENCE = 60.0
"""Seconds that a document may be held back by the index's ``Retry-After``."""

_AGAIN = 5.0
"""Seconds that the question takes at most whether a forged document was replaced: there is an answer without it."""
_Settled = Attested | Unattested | Unverifiable
"""Evidence that is not asked for again while it is recorded."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What one page's batches have in common."""

    index: IndexSettings
    project: NormalizedName
    history: History
    fetching: asyncio.Semaphore
    trouble: list[AssayError] = field(default_factory=list)
    """What could not be had; after the first nothing new is asked for."""


class Proofs:
    """Provenance and evidence of files."""

    def __init__(
        self, *, upstream: Upstream, records: Records, verifier: Verifier, clock: Callable[[], datetime]
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._documents = Documents(records)
        self._clock = clock
        self._verifier = verifier
        self._remembered = Remembered(records, verifier)
        self._slots: dict[str, asyncio.Semaphore] = {}
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
        asked = [file for file in files if _address(index, project, file) or digest_of(file) in history.evidence]
        newest_first = sorted(asked, key=lambda file: file.upload_time or _LONG_AGO, reverse=True)
        batches = _batches(newest_first)
        question = _Question(index=index, project=project, history=history, fetching=asyncio.Semaphore(_FETCHING))
        in_flight = asyncio.Semaphore(_MOST_BATCHES)

        async def run(batch: Sequence[File]) -> dict[FileKey, Proof]:
            async with in_flight:
                # After a failure nothing new is begun: the index has enough of us, or is not there.
                return {} if question.trouble else await self._batch(question, batch)

        for found in await _all(run(batch) for batch in batches):
            proofs |= found
        if question.trouble:
            raise question.trouble[0]
        return proofs

    async def document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """A file's provenance document: the one last seen, else the index's; None where there is none.

        Raises:
            UpstreamError: it cannot be had now.
        """
        return await self._document(index, project, file, await self._documents.pointer(file))

    async def offered(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """The document that the index has now, whatever was seen before.

        Raises:
            UpstreamError: it cannot be asked now.
        """
        return await self._document(index, project, file, None)

    async def learn(
        self, index: IndexSettings, project: NormalizedName, file: File, document: bytes, before: Pointer
    ) -> None:
        """Verify a document that took the place of `before`'s, and record it beside that.

        Raises:
            VerificationUnavailableError: our own failure.
        """
        await self._verified(index, project, [(file, document)], {key_of(file): before})
        self._doubts.forget((index.name, project))

    async def _batch(self, question: _Question, files: Sequence[File]) -> dict[FileKey, Proof]:
        index, project, history = question.index, question.project, question.history
        pointers = await self._documents.pointers(files)
        proofs = await self._remembered.proofs(index, files, pointers)
        missing = [file for file in files if not isinstance(_evidence(proofs, file), _Settled)]

        async def fetch(file: File) -> bytes | AssayError | None:
            known = proofs.get(key_of(file))
            try:
                if known is not None:
                    return await self._document_again(index, project, file, known)
                return await self._document(index, project, file, pointers.get(key_of(file)), question.trouble)
            except AssayError as error:
                question.trouble.append(error)
                return error

        if missing:
            self._verifier.prepare()
        async with question.fetching:
            fetched = await _all(fetch(file) for file in missing)
        jobs: list[tuple[File, bytes]] = []
        for file, document in zip(missing, fetched, strict=True):
            if isinstance(document, AssayError) or (document is None and key_of(file) in proofs):
                continue
            if document is not None:
                jobs.append((file, document))
            elif file.provenance is None and digest_of(file) not in history.evidence:
                proofs[key_of(file)] = Proof(evidence=Unattested(), document=None)
            else:
                proofs[key_of(file)] = Proof(evidence=_omitted(file, history), document=None)
        fresh = await self._verified(index, project, jobs, pointers)
        return proofs | {
            key: await self._remembered.beside(index, key, proof, pointers) for key, proof in fresh.items()
        }

    async def _document_again(
        self, index: IndexSettings, project: NormalizedName, file: File, known: Proof
    ) -> bytes | None:
        """What the index offers in the place of a forged document; None where that is the same, or not to be had.

        A document that was spoilt on its way, or replaced by its index, must not condemn its file for ever.
        """
        try:
            async with asyncio.timeout(_AGAIN):
                document = await self._document(index, project, file, None)
        except (AssayError, TimeoutError):
            return None
        return None if document is None or sha256_of(document) == known.document else document

    async def _document(
        self,
        index: IndexSettings,
        project: NormalizedName,
        file: File,
        pointer: Pointer | None,
        trouble: Sequence[AssayError] = (),
    ) -> bytes | None:
        """Our copy, else the index's; None where the index says there is none. `trouble` of others ends it too."""
        if pointer is not None and (stored := await self._documents.stored(pointer.document)) is not None:
            return stored
        address = _address(index, project, file)
        if address is None:
            return None
        slots = self._slots.setdefault(index.name, asyncio.Semaphore(_AT_ONCE))
        async with slots:
            if trouble:
                raise trouble[0]
            answer = await self._upstream.document(
                index, address, accept=PROVENANCE_ACCEPT, limit=index.limits.provenance, patience=_PATIENCE
            )
        return answer.body if isinstance(answer, Fetched) else None

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
        # Else a root was renewed meanwhile, and which one spoke is not known: verified again next time.
        is_known, now = roots == self._verifier.digest_for(index.trust), self._clock().timestamp()
        for (file, document), (evidence, record) in zip(jobs, found, strict=True):
            digest = sha256_of(document)
            proofs[key_of(file)] = Proof(evidence=evidence, document=digest)
            if isinstance(evidence, Forged):
                _alarm(index, project, file, evidence)
            records[document_key(digest)] = document
            before = pointers.get(key_of(file)) or Pointer(document=digest)
            records[pointer_key(file)] = before.followed_by(digest, now).encoded()
            if is_known:
                records[evidence_key(digest_of(file), file.filename, digest, roots)] = record
        for kind, count in Counter(type(one.evidence) for one in found).items():
            EVIDENCE.labels(kind.__name__.lower()).inc(count)
        await self._records.put_soon(records)
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


def _address(index: IndexSettings, project: NormalizedName, file: File) -> str | None:
    """Where the file's provenance is: where the page says, else in the index's other Integrity API."""
    if file.provenance is not None or index.provenance_from is None or file.distribution is None:
        return file.provenance
    version, filename = quote(str(file.distribution.version)), quote(file.filename, safe="")
    return f"{index.provenance_from}integrity/{project}/{version}/{filename}/provenance"


async def _all(jobs: Iterable[Coroutine[None, None, _T]]) -> list[_T]:
    """All results in order; the first failure cancels the rest and is raised as itself, not in a group."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
