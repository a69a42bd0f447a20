"""Evidence for files: what the sources that policy wants say about them, merged.

Owns the sources and what they prove together. Evidence flows one way: a source offers documents (`sources`), the
fetcher gets them or their recorded copies (`fetcher`, `documents`), verification makes them evidence (`evidence`), the
collector does so for a page (`collector`), and the resolver merges what its collectors found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from assay.caching.background import gather_or_cancel
from assay.errors import AssayError
from assay.evidence import INDEX_SOURCE, Evidence, Unattested, merge_evidence
from assay.indexes import IndexSettings
from assay.ports import IndexPage, ProjectHistory, RecordStore, Verifier
from assay.provenance.collector import CollectedEvidence, EvidenceCollector
from assay.provenance.documents import FileKey
from assay.provenance.fetcher import ByteBudget
from assay.provenance.sources.base import EvidenceSource, ProjectQuery
from assay.simple.model import File, NormalizedName, Sha256

MAX_UNRECORDED_BYTES: Final = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the sources asked so far say about the files of a page."""

    by_source: Mapping[str, CollectedEvidence] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, AssayError]:
        """Why sources could not answer for all files, by their names: the error of one is no other's."""
        return {name: found.error for name, found in self.by_source.items() if found.error is not None}

    def join(self, later: Resolution) -> Resolution:
        """Return both; of two answers of one source for one file the later one."""
        joined = dict(self.by_source)
        for name, found in later.by_source.items():
            before = joined.get(name, CollectedEvidence())
            joined[name] = CollectedEvidence(by_file={**before.by_file, **found.by_file}, error=found.error)
        return Resolution(by_source=joined)

    def merge(self) -> dict[FileKey, Evidence]:
        """Return what the sources prove together about each file.

        Only the index's own evidence makes a file forged. What is forged elsewhere counts for nothing.
        """
        own = self.by_source.get(INDEX_SOURCE, CollectedEvidence()).by_file
        merged = {key: found.evidence for key, found in own.items()}
        others: dict[FileKey, list[Evidence]] = {}
        for name, found in self.by_source.items():
            if name != INDEX_SOURCE:
                for key, each in found.by_file.items():
                    others.setdefault(key, []).append(each.evidence)
        for key, evidence in others.items():
            merged[key] = merge_evidence(merged.get(key, Unattested()), evidence)
        return merged

    def index_documents(self) -> dict[FileKey, Sha256]:
        """Return the digests of the index's own documents, which the ledger remembers."""
        own = self.by_source.get(INDEX_SOURCE, CollectedEvidence()).by_file
        return {key: found.document for key, found in own.items() if found.document is not None}


class ProvenanceResolver:
    """Evidence of files from all sources.

    Args:
        sources: where documents come from; one of them is the index's own provenance.
        records: where documents and evidence are recorded.
        verifier: verifies documents of all sources by the same steps.
        clock: UTC.
        max_unrecorded_bytes: bytes of fetched documents that are not recorded yet, of all pages and sources together.
    """

    def __init__(
        self,
        *,
        sources: Sequence[EvidenceSource],
        records: RecordStore,
        verifier: Verifier,
        clock: Callable[[], datetime],
        max_unrecorded_bytes: int = MAX_UNRECORDED_BYTES,
    ) -> None:
        self._verifier = verifier
        budget = ByteBudget(max_unrecorded_bytes)
        self._collectors = {
            source.name: EvidenceCollector(source, records=records, verifier=verifier, budget=budget, clock=clock)
            for source in sources
        }
        if len(self._collectors) != len(sources) or INDEX_SOURCE not in self._collectors:
            raise ValueError("expected evidence sources of different names, the index's own among them")

    @property
    def roots_digest(self) -> str:
        """Changes whenever the trust roots do: what evidence depends on besides the document."""
        return self._verifier.roots_digest

    @property
    def collectors(self) -> tuple[EvidenceCollector, ...]:
        """One for each source."""
        return tuple(self._collectors.values())

    async def resolve(
        self, page: IndexPage, wanted: Mapping[str, Sequence[File]], history: ProjectHistory
    ) -> Resolution:
        """Ask sources for the evidence of files of a page.

        For each project there is one caller at a time: what it has found, the next one finds at hand.
        The sources are asked at the same time. An error of one does not disturb the others; it is part of the result,
        and nothing must be judged as if that source had said nothing.

        Args:
            page: of the index that owns the files.
            wanted: by the name of a source, the files that it is asked for, all of which have a digest.
            history: of the project.

        Raises:
            VerificationUnavailableError: verification itself failed.
        """
        found = await gather_or_cancel(
            self._collectors[name].collect(page, files, history) for name, files in wanted.items()
        )
        return Resolution(by_source=dict(zip(wanted, found, strict=True)))

    async def get_document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """Return a file's provenance document: the one last seen, else the index's; None if there is none.

        Raises:
            UpstreamError: it cannot be had now.
        """
        query = ProjectQuery(index=index, project=project)
        return await self._collectors[INDEX_SOURCE].load_or_fetch_document(query, file)
