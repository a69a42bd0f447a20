"""Protocol of an evidence source. A source offers documents that may prove facts about files.

`sources.index` is the source for provenance from the file's own index. A source is asked only about files for which the
policy needs it. The documents of all sources are verified in the same way. Each source has its own records, and an
error of one source does not affect the others. docs/architecture.md explains how to add a source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from assay.evidence import Evidence
from assay.indexes import IndexSettings
from assay.policy.candidate import SourceFacts
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """Times for which the answers of a source are used before the source is asked again.

    Without them, missing documents are requested again after each renewal of the page, and existing ones only by
    revalidation. A source whose requests are few uses them instead.
    """

    absence: timedelta
    """Time for which a missing document counts as missing."""
    document: timedelta
    """Time for which a document is used without a request. Afterwards it is used if the request fails."""


class EvidenceSource(Protocol):
    """Source of documents about files.

    A source has at most one current document for a file. A document is a sequence of untrusted bytes, named by its
    digest.
    """

    @property
    def name(self) -> str:
        """Unique name of the source, in the keys of its records and, up to the first colon, in `Attestation.source`.

        The part after a colon is the subject that the source is asked about (`assay.evidence.make_question`). The name
        must never change, because existing records would then be lost.
        """

    @property
    def document_format(self) -> DocumentFormat:
        """Format of the source's documents, by which they are verified."""

    @property
    def lifetimes(self) -> Lifetimes | None:
        """Times for which answers are used; None if the renewals of pages and revalidation decide it."""

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


class SourceFamily(Protocol):
    """Source that is asked about one subject at a time, such as a repository.

    Each subject has a separate `EvidenceSource` with its own records and failures. The policy decides about which
    subjects a source is asked.
    """

    @property
    def name(self) -> str:
        """Name of the source, without a colon."""

    @property
    def facts(self) -> SourceFacts:
        """Facts by which the policy decides what the source is asked."""

    def get_source(self, subject: str) -> EvidenceSource:
        """Return the source for one subject. Its name is ``name:subject``."""
