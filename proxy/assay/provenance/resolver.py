"""Resolver of evidence: collects evidence about files from the sources that the policy needs, and merges it.

Evidence is made in these steps:

- A source offers documents (`sources`).
- The fetcher fetches the documents, or loads their recorded copies (`fetcher`, `documents`).
- Verification turns documents into evidence (`evidence`).
- A collector does these steps for one source and the files of a page (`collector`).
- The resolver merges the evidence of all collectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from assay.caching.background import gather_or_cancel
from assay.caching.lru import Lru
from assay.evidence import INDEX_SOURCE, Evidence, Unattested, merge_sources, split_question
from assay.indexes import IndexSettings
from assay.policy.candidate import SourceFacts
from assay.ports import IndexPage, ProjectHistory, RecordStore, Verifier
from assay.provenance.collector import CollectedEvidence, CollectionProgress, EvidenceCollector
from assay.provenance.documents import FileKey
from assay.provenance.failures import DocumentFailure
from assay.provenance.fetcher import ByteBudget
from assay.provenance.known_bundles import (
    MAX_KNOWN_DOCUMENT_BYTES,
    KnownBundle,
    KnownBundles,
    SourceDocument,
)
from assay.provenance.local_collector import LocalCollector, LocalSource
from assay.provenance.sources.base import EvidenceSource, ProjectQuery, SourceFamily
from assay.simple.model import File, NormalizedName, Sha256

MAX_UNRECORDED_BYTES: Final = 32 * 2**20
"""Default budget in bytes for fetched documents that are not recorded yet."""


_MAX_QUESTIONS: Final = 10_000
"""Maximum number of collectors for subjects of source families. A collector that is evicted loses its failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Evidence about the files of a page, from the sources that have been asked so far."""

    by_source: Mapping[str, CollectedEvidence] = field(default_factory=dict)
    """Evidence by the source's name."""

    is_complete: bool = True
    """False if a source was still being asked when the caller stopped waiting."""

    @property
    def failures(self) -> dict[FileKey, DocumentFailure]:
        """Failures by file, for the files about which a source gave no answer."""
        return {key: failure for found in self.by_source.values() for key, failure in found.failures.items()}

    @property
    def next_try(self) -> datetime | None:
        """Earliest time at which a failed or unusable document is requested again; None without such a document."""
        instants = (found.next_try for found in self.by_source.values())
        return min((instant for instant in instants if instant is not None), default=None)

    def join(self, later: Resolution) -> Resolution:
        """Return both resolutions combined. For the same source and file, the evidence of `later` is used."""
        joined = dict(self.by_source)
        for name, found in later.by_source.items():
            before = joined.get(name, CollectedEvidence())
            joined[name] = CollectedEvidence(
                by_file={**before.by_file, **found.by_file},
                failures={
                    **{key: each for key, each in before.failures.items() if key not in found.by_file},
                    **found.failures,
                },
                next_try=min((each for each in (before.next_try, found.next_try) if each is not None), default=None),
            )
        return Resolution(by_source=joined, is_complete=self.is_complete and later.is_complete)

    def merge(self) -> dict[FileKey, Evidence]:
        """Return the evidence by file, merged from all sources.

        A file counts as forged only if the provenance from its own index is forged. Forged documents and rejected
        bundles from other sources do not count.
        """
        own = self.by_source.get(INDEX_SOURCE, CollectedEvidence()).by_file
        merged = {key: found.evidence for key, found in own.items()}
        others: dict[FileKey, dict[str, Evidence]] = {}
        for name, found in self.by_source.items():
            if name != INDEX_SOURCE:
                for key, each in found.by_file.items():
                    others.setdefault(key, {})[name] = each.evidence
        for key, evidence in others.items():
            evidence_of_all = merge_sources(merged.get(key, Unattested()), list(evidence.values()))
            if isinstance(evidence_of_all, Unattested):
                evidence_of_all = replace(evidence_of_all, asked=tuple(sorted(evidence)))
            merged[key] = evidence_of_all
        return merged

    def list_answered(self, *, with_failures: bool = False) -> dict[FileKey, frozenset[str]]:
        """Return the names of the sources beside the index that have answered, by file.

        `with_failures` adds the sources whose last try has failed.
        """
        answered: dict[FileKey, set[str]] = {}
        for name, found in self.by_source.items():
            if name != INDEX_SOURCE:
                for key in (*found.by_file, *(found.failures if with_failures else ())):
                    answered.setdefault(key, set()).add(name)
        return {key: frozenset(names) for key, names in answered.items()}

    def index_documents(self) -> dict[FileKey, Sha256]:
        """Return the digests of the documents from the index's own source, by file, for the ledger."""
        own = self.by_source.get(INDEX_SOURCE, CollectedEvidence()).by_file
        return {key: found.document for key, found in own.items() if found.document is not None}


class ProvenanceResolver:
    """Resolver of the evidence about files, from all sources.

    Args:
        sources: sources of documents. One of them is the index's own provenance.
        families: sources that are asked about one subject at a time.
        local: sources on this machine.
        records: storage of documents and evidence.
        verifier: verifies the documents of all sources in the same way.
        clock: returns the current time in UTC.
        max_unrecorded_bytes: limit in bytes on documents that are fetched and not recorded yet, for all pages and
            sources together.
    """

    def __init__(
        self,
        *,
        sources: Sequence[EvidenceSource],
        records: RecordStore,
        verifier: Verifier,
        clock: Callable[[], datetime],
        families: Sequence[SourceFamily] = (),
        local: Sequence[LocalSource] = (),
        max_unrecorded_bytes: int = MAX_UNRECORDED_BYTES,
    ) -> None:
        self._verifier = verifier
        budget = ByteBudget(max_unrecorded_bytes)
        self._make_collector = partial(
            EvidenceCollector, records=records, verifier=verifier, budget=budget, clock=clock
        )
        self._collectors = {source.name: self._make_collector(source) for source in sources}
        self._families = {family.name: family for family in families}
        self._local = tuple(local)
        self._local_collectors = {
            source.name: LocalCollector(source, records=records, verifier=verifier, clock=clock) for source in local
        }
        self._by_question = Lru[str, EvidenceCollector](max_items=_MAX_QUESTIONS)
        self._known_bundles = KnownBundles(verifier)
        names = {*self._collectors, *self._families, *self._local_collectors}
        if len(names) != len(sources) + len(families) + len(local) or INDEX_SOURCE not in self._collectors:
            raise ValueError(
                "evidence sources must have different names, and one of them must be the index's own source"
            )

    @property
    def roots_digest(self) -> str:
        """Digest of the active trust roots. Evidence depends on the trust roots and on the document."""
        return self._verifier.roots_digest

    @property
    def source_facts(self) -> tuple[SourceFacts, ...]:
        """Facts about all sources beside the index, for the policy."""
        return (*(family.facts for family in self._families.values()), *(source.facts for source in self._local))

    @property
    def local_version(self) -> str:
        """Version of the contents of all local sources. Judged pages depend on it."""
        return " ".join([source.version for source in self._local]) if self._local else ""

    @property
    def collectors(self) -> tuple[EvidenceCollector, ...]:
        """The collectors, one for each source."""
        return tuple(self._collectors.values())

    def _get_collector(self, name: str) -> EvidenceCollector | LocalCollector:
        """Return the collector of a source, or of a source and the subject that it is asked about."""
        if (local := self._local_collectors.get(name)) is not None:
            return local
        collector = self._collectors.get(name) or self._by_question.get(name)
        if collector is None:
            family, subject = split_question(name)
            collector = self._make_collector(self._families[family].get_source(subject))
            self._by_question.put(name, collector)
        return collector

    def begin(
        self, page: IndexPage, wanted: Mapping[str, Sequence[File]], history: ProjectHistory
    ) -> dict[str, CollectionProgress]:
        """Return the progress of a new collection by source, with everything that is known at once."""
        return {name: self._get_collector(name).begin(page, files, history) for name, files in wanted.items()}

    async def resolve(
        self,
        page: IndexPage,
        wanted: Mapping[str, Sequence[File]],
        history: ProjectHistory,
        progress: Mapping[str, CollectionProgress] | None = None,
    ) -> Resolution:
        """Return the evidence of several sources about files of a page.

        The sources are asked concurrently. A failure of one source does not affect the others, and is part of the
        result. The caller must not judge a file as if a failed source had no document for it. The caller must also make
        only one call at a time for each project, so that a later call reuses the records of an earlier one.

        Args:
            page: the page of the index that owns the project.
            wanted: files to ask about, by the name of the source; each file has a digest.
            history: the ledger's history of the project.
            progress: the result of `begin`. The method adds the evidence while it collects. If `progress` is None, the
                method calls `begin` itself.

        Raises:
            VerificationUnavailableError: verification could not run.
        """
        collected = self.begin(page, wanted, history) if progress is None else progress
        await gather_or_cancel(
            self._get_collector(name).collect(page, files, history, collected[name]) for name, files in wanted.items()
        )
        return Resolution(by_source={name: found.snapshot() for name, found in collected.items()})

    async def load_recorded(
        self,
        page: IndexPage,
        wanted: Mapping[str, Sequence[File]],
        history: ProjectHistory,
        progress: Mapping[str, CollectionProgress],
    ) -> None:
        """Add the recorded evidence to `progress`, which is the result of `begin`. Request nothing.

        The arguments are those of `resolve`.
        """
        for name, files in wanted.items():
            await self._get_collector(name).load_recorded(page, files, history, progress[name])

    async def find_bundles(
        self,
        index: IndexSettings,
        file: File,
        asked: Sequence[str],
        history: ProjectHistory,
    ) -> tuple[KnownBundle, ...]:
        """Return all verified bundles about a file from recorded documents and local sources. Request nothing.

        Args:
            index: index of the file.
            file: the file; it has a digest.
            asked: names of the sources that were asked about files of the page, with subjects.
            history: the ledger's history of the project.

        Raises:
            UpstreamUnavailableError: a local source cannot be read.
            VerificationUnavailableError: verification could not run.
        """
        documents: list[SourceDocument] = []
        size = 0
        for name in dict.fromkeys((INDEX_SOURCE, *self._local_collectors, *asked)):
            for each in await self._get_collector(name).load_documents(file, history):
                size += len(each.content)
                if size <= MAX_KNOWN_DOCUMENT_BYTES:
                    documents.append(each)
        return await self._known_bundles.verify(file, documents, index.trust)

    async def get_document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """Return the provenance document of a file from the records, or else fetch it.

        The recorded document is the last one that the index offered. Return None if the index has no document.

        Raises:
            UpstreamError: the index cannot answer now, or its response is unusable.
        """
        query = ProjectQuery(index=index, project=project)
        return await self._collectors[INDEX_SOURCE].load_or_fetch_document(query, file)
