"""Documents fetched again on the rhythm of their page, in the background (PEP 740: provenance may change).

Owns which documents are due: at most so many of a source for each renewal of a page, the longest unchecked first, one
request at a time, so that a project of a thousand attested files is no burden on its index. A replaced document's
evidence stays beside the new one's. That a source has no document any more changes nothing, since evidence once
recorded counts.
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
"""Documents of one source fetched again after one renewal of a page."""


class ProvenanceRevalidator:
    """Background revalidation: one task for a project at a time."""

    def __init__(
        self, *, provenance_resolver: ProvenanceResolver, notices: Notices, clock: Callable[[], datetime]
    ) -> None:
        self._collectors = provenance_resolver.collectors
        self._notices = notices
        self._clock = clock
        self._running = SingleFlight[ProjectKey, None]("revalidate")

    def start(self, index: IndexSettings, project: NormalizedName, files: Sequence[File]) -> None:
        """Look in the background whether documents of `files` were replaced, unless another view's look runs."""
        wanted = [
            (collector, chosen)
            for collector in self._collectors
            if (chosen := [file for file in files if collector.source.revalidates(file)])
        ]
        if wanted:
            query = ProjectQuery(index=index, project=project)
            self._running.start((index.name, project), partial(self._revalidate, query, wanted))

    async def wait_until_idle(self) -> None:
        """Wait until nothing runs."""
        await self._running.wait_until_idle()

    async def close(self) -> None:
        """End the revalidations that are running."""
        await self._running.close()

    async def _revalidate(
        self, query: ProjectQuery, wanted: Sequence[tuple[EvidenceCollector, Sequence[File]]]
    ) -> None:
        changed = 0
        for collector, files in wanted:
            changed += await self._revalidate_source(query, collector, files)
        if changed:
            # Every view's gate must know.
            self._notices.publish(Notice(index=query.index.name, project=query.project))

    async def _revalidate_source(self, query: ProjectQuery, collector: EvidenceCollector, files: Sequence[File]) -> int:
        """Revalidate the documents of one source; return how many were replaced. Errors are logged, not raised."""
        changed = 0
        about = {"index": query.index.name, "project": query.project, **describe_source(collector.source.name)}
        try:
            pointers = await collector.load_pointers(files)
            now = self._clock().timestamp()
            age = query.index.freshness.page.total_seconds()
            due = [
                file
                for file in files
                if file_key(file) in pointers and now - pointers[file_key(file)].checked_at >= age
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
            telemetry.event("provenance-not-revalidated", **about, error=str(error))
        except Exception as error:  # noqa: BLE001 - a background task has no caller to tell
            telemetry.failure("provenance-not-revalidated", error, project=query.project)
        return changed
