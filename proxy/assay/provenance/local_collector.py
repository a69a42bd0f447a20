"""Collector of evidence from a source on this machine, whose answers are current at each judgement.

It remembers no documents: what the source no longer has does not count. The evidence of a document is recorded like
that of other sources, so an unchanged document is verified once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from assay.errors import UpstreamUnavailableError
from assay.evidence import Unattested
from assay.policy.candidate import SourceFacts
from assay.ports import DocumentFormat, IndexPage, ProjectHistory, RecordStore, Verifier
from assay.provenance.collector import CollectionProgress, make_query
from assay.provenance.documents import DocumentPointer, FileEvidence, FileKey, file_key, hash_document, require_sha256
from assay.provenance.evidence import EvidenceRecords
from assay.provenance.failures import DocumentFailure
from assay.provenance.known_bundles import SourceDocument
from assay.simple.model import File

_RETRY_DELAY: Final = timedelta(seconds=5)
_BATCH_SIZE: Final = 100
"""Number of documents that are in memory and verified together."""


class LocalSource(Protocol):
    """Source of Sigstore bundles that is read without requests over the network."""

    @property
    def name(self) -> str:
        """Name of the source, without a colon."""

    @property
    def version(self) -> str:
        """Text that changes whenever an answer may change."""

    @property
    def facts(self) -> SourceFacts:
        """Facts by which the policy decides what the source is asked."""

    def is_absent(self, sha256: str) -> bool:
        """Return whether the source certainly has no bundle about a digest."""

    async def load(self, sha256: str) -> bytes | None:
        """Return the bundles about a digest as a JSON list; None if the source has none.

        Raises:
            UpstreamUnavailableError: the source cannot be read.
        """


class LocalCollector:
    """Collector of one local source's evidence, for one page at a time."""

    def __init__(
        self, source: LocalSource, *, records: RecordStore, verifier: Verifier, clock: Callable[[], datetime]
    ) -> None:
        self._source = source
        self._clock = clock
        self._evidence = EvidenceRecords(
            source=source.name,
            document_format=DocumentFormat.BUNDLES,
            records=records,
            verifier=verifier,
            clock=clock,
        )

    def begin(self, _page: IndexPage, files: Sequence[File], _history: ProjectHistory) -> CollectionProgress:
        """Return the progress of a new collection. Files about which the source has no bundle are known at once."""

        def find_known(_key: FileKey, file: File) -> FileEvidence | None:
            is_absent = self._source.is_absent(require_sha256(file))
            return FileEvidence(evidence=Unattested(), document=None) if is_absent else None

        return CollectionProgress.begin(files, find_known)

    async def collect(
        self, page: IndexPage, files: Sequence[File], history: ProjectHistory, progress: CollectionProgress
    ) -> None:
        """Collect the source's evidence about files of a page; see `EvidenceCollector.collect`.

        Raises:
            VerificationUnavailableError: verification could not run. Errors of the source are part of the result.
        """
        wanted = [file for file in files if file_key(file) not in progress.by_file]
        for start in range(0, len(wanted), _BATCH_SIZE):
            await self._collect_batch(page, wanted[start : start + _BATCH_SIZE], history, progress)

    async def load_recorded(
        self, _page: IndexPage, _files: Sequence[File], _history: ProjectHistory, _progress: CollectionProgress
    ) -> None:
        """Do nothing: another replica reads other directories."""

    async def load_documents(self, file: File, _history: ProjectHistory) -> list[SourceDocument]:
        """Return the document that the source has now about a file.

        Raises:
            UpstreamUnavailableError: the source cannot be read.
        """
        document = await self._source.load(require_sha256(file))
        if document is None:
            return []
        name = self._source.name
        return [SourceDocument(source=name, document_format=DocumentFormat.BUNDLES, content=document)]

    async def _collect_batch(
        self, page: IndexPage, files: Sequence[File], history: ProjectHistory, progress: CollectionProgress
    ) -> None:
        documents: dict[FileKey, tuple[File, bytes]] = {}
        for file in files:
            try:
                document = await self._source.load(require_sha256(file))
            except UpstreamUnavailableError as error:
                progress.add_failures({file_key(file): self._make_failure(error)})
                continue
            if document is None:
                progress.add_evidence({file_key(file): FileEvidence(evidence=Unattested(), document=None)})
            else:
                documents[file_key(file)] = (file, document)
        pointers = {key: DocumentPointer(document=hash_document(document)) for key, (_, document) in documents.items()}
        known = await self._evidence.load(page.index, [file for file, _ in documents.values()], pointers)
        progress.add_evidence(known)
        jobs = [job for key, job in documents.items() if key not in known]
        progress.add_evidence(await self._evidence.verify(make_query(page, history), jobs, {}))

    def _make_failure(self, error: UpstreamUnavailableError) -> DocumentFailure:
        return DocumentFailure(
            problem=str(error),
            attempts=1,
            refused_since=None,
            retry_at=self._clock() + _RETRY_DELAY,
            is_unusable=False,
        )
