"""Summaries of judged pages for the usage record: provenance of the releases, publishers, numbers of files.

A summary lets the overview of a view describe projects whose page is no longer in memory, also after a restart, without
a request to an index. Pages that clients used are summarized about once a minute, in a thread, each judged page once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError
from assay.gate.gate import Gate
from assay.gate.judged_page import JudgedPage
from assay.gate.release_words import classify_page
from assay.ports import MAX_SUMMARY_PUBLISHERS, MAX_SUMMARY_RELEASES, ProjectSummary, Usage

_INTERVAL_SECONDS: Final = 60.0


class PageSummaries:
    """Writer of summaries for all views.

    Args:
        gates: gates of all views.
        usage: the usage record.
        clock: returns the current time in UTC.
    """

    def __init__(self, gates: Iterable[Gate], usage: Usage, clock: Callable[[], datetime]) -> None:
        self._gates = tuple(gates)
        self._usage = usage
        self._clock = clock
        self._tasks = BackgroundTasks()
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Start to summarize pages in the background. Call this at most once."""
        self._tasks.spawn(self._run(), name="page summaries")

    async def update(self) -> None:
        """Summarize the judged pages in memory that clients used and that were not summarized yet.

        Raises:
            StorageError: the storage is closed.
        """
        async with self._lock:
            pending = [
                (gate.view, page)
                for gate in self._gates
                for page in gate.list_cached_pages()
                if page.marks.is_used and not page.marks.is_summarized
            ]
            if not pending:
                return
            summaries = await asyncio.to_thread(_summarize, pending, self._clock())
            stored = await self._usage.keep_summaries(summaries)
            for summary, (_, page) in zip(summaries, pending, strict=True):
                page.marks.is_summarized = summary.key in stored

    async def close(self) -> None:
        """Stop, after a last update. Idempotent."""
        await self._tasks.close()
        try:
            await self.update()
        except AssayError as error:
            telemetry.warning("activity-unavailable", found=str(error))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                await self.update()
            except Exception as error:  # noqa: BLE001 - one page must not end the summaries of all others
                telemetry.failure("activity-failed", error)


def _summarize(pages: Sequence[tuple[str, JudgedPage]], now: datetime) -> list[ProjectSummary]:
    return [summarize_page(view, page, now) for view, page in pages]


def summarize_page(view: str, judged: JudgedPage, now: datetime) -> ProjectSummary:
    """Return the summary of a judged page.

    Args:
        view: name of the view.
        judged: the judged page.
        now: current time in UTC.
    """
    releases = classify_page(judged)
    newest = sorted(releases, reverse=True)[:MAX_SUMMARY_RELEASES]
    served = {each.file.distribution.version for each in judged.listing.approved if each.file.distribution is not None}
    attested = [each.publishers for version, each in releases.items() if each.attested and version in served]
    return ProjectSummary(
        index=judged.page.index.name,
        project=judged.page.project.name,
        view=view,
        judged_at=now,
        approved=len(judged.listing.approved),
        withheld=len(judged.listing.withheld),
        releases={str(version): tuple(word.value for word in releases[version].words) for version in newest},
        publishers=attested[-1][:MAX_SUMMARY_PUBLISHERS] if attested else (),
    )
