"""Background revalidation of provenance documents after each renewal of their page (PEP 740: provenance may change).

After a renewal, a limited number of each source's documents is fetched again, one at a time. Documents whose last check
is the oldest come first. A project with a thousand attested files therefore does not burden its index. If a document
was replaced, the evidence of the old and of the new document counts. If a source no longer has a document, nothing
changes, because recorded evidence still counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from assay import telemetry
from assay.caching.single_flight import SingleFlight
from assay.errors import AssayError
from assay.indexes import IndexSettings
from assay.ports import Notice, Notices, ProjectKey
from assay.provenance.collector import EvidenceCollector
from assay.provenance.documents import file_key
from assay.provenance.evidence import describe_source
from assay.provenance.resolver import ProvenanceResolver
from assay.provenance.sources.base import ProjectQuery
from assay.simple.model import File, NormalizedName

_MAX_DOCUMENTS_PER_RENEWAL = 50
"""Maximum number of one source's documents that are fetched again after one renewal of a page."""


class ProvenanceRevalidator:
    """Background revalidation of documents, with at most one task for each project.

    Args:
        provenance_resolver: has the collector of each source.
        notices: receives a notice for each project of which a document was replaced.
        clock: returns the current time in UTC.
    """

    def __init__(
        self, *, provenance_resolver: ProvenanceResolver, notices: Notices, clock: Callable[[], datetime]
    ) -> None:
        self._collectors = provenance_resolver.collectors
        self._notices = notices
        self._clock = clock
        self._running = SingleFlight[ProjectKey, None]("revalidate")

    def start(self, index: IndexSettings, project: NormalizedName, files: Sequence[File]) -> None:
        """Start a background task that checks whether documents of `files` were replaced.

        Do nothing if such a task is already running for the project, no matter which view started it.
        """
        wanted = [
            (collector, chosen)
            for collector in self._collectors
            if (chosen := [file for file in files if collector.source.revalidates(file)])
        ]
        if wanted:
            query = ProjectQuery(index=index, project=project)
            self._running.start((index.name, project), partial(self._revalidate, query, wanted))

    async def wait_until_idle(self) -> None:
        """Wait until no revalidation is running."""
        await self._running.wait_until_idle()

    async def close(self) -> None:
        """Cancel the running revalidations."""
        await self._running.close()

    async def _revalidate(
        self, query: ProjectQuery, wanted: Sequence[tuple[EvidenceCollector, Sequence[File]]]
    ) -> None:
        changed = 0
        for collector, files in wanted:
            changed += await self._revalidate_source(query, collector, files)
        if changed:
            # The gates of all views must judge the project again.
            self._notices.publish(Notice(index=query.index.name, project=query.project))

    async def _revalidate_source(self, query: ProjectQuery, collector: EvidenceCollector, files: Sequence[File]) -> int:
        """Revalidate the documents of one source, and log errors; return the number of replaced documents."""
        changed = 0
        about = {"index": query.index.name, "project": query.project, **describe_source(collector.source.name)}
        try:
            last_check = self._clock().timestamp() - query.index.freshness.page.total_seconds()
            # After the first view of a page, all of its documents have just been fetched.
            files = collector.select_unchecked(files, last_check)
            if not files:
                return 0
            pointers = await collector.load_pointers(files)
            due = [
                file
                for file in files
                if file_key(file) in pointers and pointers[file_key(file)].checked_at <= last_check
            ]
            for file in sorted(due, key=lambda each: pointers[file_key(each)].checked_at)[:_MAX_DOCUMENTS_PER_RENEWAL]:
                before = pointers[file_key(file)]
                after = await collector.revalidate(query, file, before)
                if after is not None:
                    changed += 1
                    telemetry.warning(
                        "provenance-replaced", **about, filename=file.filename, before=before.document, after=after
                    )
        except AssayError as error:
            telemetry.event("provenance-revalidation-failed", **about, error=str(error))
        except Exception as error:  # noqa: BLE001 - a background task has no caller that could handle the error
            telemetry.failure("provenance-revalidation-failed", error, project=query.project)
        return changed
