"""Protocol of an evidence source. A source offers documents that may prove facts about files.

`sources.index` is the source for provenance from the file's own index. A source is asked only about files for which the
policy needs it. The documents of all sources are verified in the same way. Each source has its own records, and an
error of one source does not affect the others. docs/architecture.md explains how to add a source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from assay.evidence import Evidence
from assay.indexes import IndexSettings
from assay.ports import DocumentFormat, ProjectHistory
from assay.simple.model import File, NormalizedName


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectQuery:
    """Project with its index and history, as the context of a request for documents about its files."""

    index: IndexSettings
    project: NormalizedName
    history: ProjectHistory = field(default_factory=ProjectHistory)
    """The ledger's history of the project. It is empty if the caller needs only the current document."""
    states_provenance: bool = True
    """False if the index's page does not say which files have provenance."""


class EvidenceSource(Protocol):
    """Source of documents about files.

    A source has at most one current document for a file. A document is a sequence of untrusted bytes, named by its
    digest.
    """

    @property
    def name(self) -> str:
        """Unique name of the source, in `Attestation.source` and in the keys of its records.

        The name must never change, because existing records would then be lost.
        """

    @property
    def document_format(self) -> DocumentFormat:
        """Format of the source's documents, by which they are verified."""

    def covers(self, query: ProjectQuery, file: File) -> bool:
        """Return whether the source may have a document for `file`. If not, `fetch` is not called for the file."""

    async def fetch(self, query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        """Fetch the source's current document for `file`; return None if the source has none.

        The calls for the files of a batch run concurrently. A source that can answer for several files in one request
        may therefore combine them. The source itself limits the number and duration of its requests, and the size of a
        document.

        Args:
            query: the project.
            file: the file; it has a digest.
            ensure_may_fetch: call it right before each request is sent, after any wait. Do not catch its exceptions.

        Raises:
            UpstreamError: the source cannot answer now, or its response is unusable.
        """

    def judge_absence(self, query: ProjectQuery, file: File) -> Evidence:
        """Return the evidence about `file` if the source has no document for it."""

    def revalidates(self, file: File) -> bool:
        """Return whether the document of `file` must be fetched again after each renewal of the file's page."""

    def can_replace(self, document: bytes) -> bool:
        """Return whether the newly fetched `document` may replace the recorded one.

        An error page, for example, must not replace it.
        """
