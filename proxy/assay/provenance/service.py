"""What a gate needs of provenance: evidence when a page is judged, documents to serve, revalidation afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.indexes import IndexSettings
from assay.ports import IndexPage, ProjectHistory
from assay.provenance.resolver import ProvenanceResolver, Resolution
from assay.provenance.revalidation import ProvenanceRevalidator
from assay.simple.model import File, NormalizedName


class ProvenanceService:
    """Provenance of projects, for the gates of all views."""

    def __init__(self, *, resolver: ProvenanceResolver, revalidator: ProvenanceRevalidator) -> None:
        self.resolver = resolver
        self.revalidator = revalidator

    async def resolve(
        self, page: IndexPage, wanted: Mapping[str, Sequence[File]], history: ProjectHistory
    ) -> Resolution:
        """Ask evidence sources, by their names, about files of a page; see `ProvenanceResolver.resolve`.

        Raises:
            VerificationUnavailableError: verification itself failed.
        """
        return await self.resolver.resolve(page, wanted, history)

    async def get_document(self, index: IndexSettings, project: NormalizedName, file: File) -> bytes | None:
        """Return a file's provenance document; None where there is none.

        Raises:
            UpstreamError: it cannot be had now.
        """
        return await self.resolver.get_document(index, project, file)

    def start_revalidation(self, page: IndexPage, files: Sequence[File]) -> None:
        """Look, in the background, for documents that were replaced since the page was last renewed."""
        if not page.is_stale:
            self.revalidator.start(page.index, page.project.name, [file for file in files if file.sha256])
