"""The protocol of an evidence source: a place that may have documents which prove something about files.

The provenance that a file's own index offers is one (`sources.index`). The resolver asks a source only for files that
policy wants it for. Documents of all sources are verified by the same steps. Each source has records of its own, and an
error of one source is no error of another. docs/architecture.md says how to add a source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from assay.evidence import Evidence
from assay.indexes import IndexSettings
from assay.ports import ProjectHistory
from assay.simple.model import File, NormalizedName


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectQuery:
    """The project whose files a source is asked about."""

    index: IndexSettings
    project: NormalizedName
    history: ProjectHistory = field(default_factory=ProjectHistory)
    """The ledger's history of the project; empty if only the current document is wanted."""


class EvidenceSource(Protocol):
    """A place that documents about files come from.

    A document is one sequence of bytes for each file, so that it has a digest. All its bytes are untrusted.
    """

    @property
    def name(self) -> str:
        """The name that attestations of this source carry (`Attestation.source`), and that its records are kept under.

        It never changes, and no two sources share one.
        """

    def covers(self, query: ProjectQuery, file: File) -> bool:
        """Return whether the source may know something about `file`; it is never asked about other files."""

    async def fetch(self, query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        """Fetch the document that the source has for `file` now; None if it has none.

        The files of a batch are asked for at the same time, so a source that can answer for several files by one
        request may join these calls. The source itself limits the number of its requests, their time, and the size of
        a document.

        Args:
            query: of which project.
            file: about which file; it has a digest.
            ensure_may_fetch: called after any wait, right before a request is sent. What it raises must be raised.

        Raises:
            UpstreamError: the source cannot answer now, or its answer is unusable.
        """

    def judge_absence(self, query: ProjectQuery, file: File) -> Evidence:
        """Return what it proves that the source has no document for `file`."""

    def revalidates(self, file: File) -> bool:
        """Return whether the document of `file` is fetched again when the file's page is renewed."""

    def can_replace(self, document: bytes) -> bool:
        """Return whether a revalidated `document` may replace the recorded one: an error page, for example, may not."""
