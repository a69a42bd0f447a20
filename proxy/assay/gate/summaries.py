"""Summaries of judged pages for the usage record: provenance of the releases, publishers, numbers of files.

A summary lets the overview of a view describe projects whose page is no longer in memory, also after a restart, without
a request to an index. A page that clients used waits in a queue, which keeps it in memory even if the cache of judged
pages evicts it. The queue is summarized in a thread about once a minute, or at once if its pages have many files. Each
judged page is summarized once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError
from assay.gate.judged_page import JudgedPage
from assay.gate.release_words import classify_page
from assay.ports import MAX_SUMMARY_PUBLISHERS, MAX_SUMMARY_RELEASES, ProjectSummary, SummaryKey, Usage

_INTERVAL_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0
"""Minimum time between two updates."""
_MAX_WAITING_FILES: Final = 20_000
"""Maximum number of files of the pages that wait for their summary. One page may have more."""
_MANY_FILES: Final = 3_000
"""Number of files of the waiting pages from which they are summarized at once."""


class PageSummaries:
    """Writer of summaries for all views.

    Args:
        usage: the usage record.
        clock: returns the current time in UTC.
        max_waiting_files: maximum number of files of the waiting pages. One page may have more.
        many_files: number of files of the waiting pages from which they are summarized at once.
    """

    def __init__(
        self,
        usage: Usage,
        clock: Callable[[], datetime],
        *,
        max_waiting_files: int = _MAX_WAITING_FILES,
        many_files: int = _MANY_FILES,
    ) -> None:
        self._usage = usage
        self._clock = clock
        self._max_waiting_files = max_waiting_files
        self._many_files = many_files
        self._waiting: dict[SummaryKey, JudgedPage] = {}
        self._waiting_files = 0
        self._is_due = asyncio.Event()
        self._tasks = BackgroundTasks()
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Start to summarize pages in the background. Call this at most once."""
        self._tasks.spawn(self._run(), name="page summaries")

    def note(self, view: str, judged: JudgedPage) -> None:
        """Have a judged page summarized soon, because a client got it or a file that it lists.

        The use must be in the usage record already. If the queue is full, only the next use counts.

        Args:
            view: name of the view.
            judged: the judged page.
        """
        if not judged.marks.is_summarized:  # most requests get a page that was noted before
            self._add((judged.page.index.name, judged.page.project.name, view), judged)

    async def update(self) -> bool:
        """Summarize the waiting pages. Return False if there were some and no summary could be stored.

        Raises:
            StorageError: the storage is closed.
        """
        async with self._lock:
            taken, self._waiting, self._waiting_files = self._waiting, {}, 0
            self._is_due.clear()
            if not taken:
                return True
            stored: frozenset[SummaryKey] = frozenset()
            try:
                stored = await self._usage.keep_summaries(await asyncio.to_thread(_summarize, taken, self._clock()))
            except BaseException:
                for key, page in taken.items():
                    if key not in self._waiting:
                        self._add(key, page)
                raise
            finally:
                for key, page in taken.items():
                    page.marks.is_summarized = key in stored or self._waiting.get(key) is page
            return bool(stored)

    async def close(self) -> None:
        """Stop, after a last update. Idempotent."""
        await self._tasks.close()
        try:
            await self.update()
        except AssayError as error:
            telemetry.warning("activity-unavailable", found=str(error))

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await self._is_due.wait()
            is_stored = False
            try:
                is_stored = await self.update()
            except Exception as error:  # noqa: BLE001 - one failure must not end the summaries of all later pages
                telemetry.failure("activity-failed", error)
            # If the disk fails, the same pages come back with their next use.
            await asyncio.sleep(_PAUSE_SECONDS if is_stored else _INTERVAL_SECONDS)

    def _add(self, key: SummaryKey, judged: JudgedPage) -> None:
        known = self._waiting.get(key)
        files = self._waiting_files + _weigh(judged) - (0 if known is None else _weigh(known))
        if self._waiting and files > self._max_waiting_files:
            return
        self._waiting[key] = judged
        self._waiting_files = files
        judged.marks.is_summarized = True
        if files >= self._many_files:
            self._is_due.set()


def _weigh(judged: JudgedPage) -> int:
    return 1 + len(judged.page.project.files)


def _summarize(pages: Mapping[SummaryKey, JudgedPage], now: datetime) -> list[ProjectSummary]:
    found = []
    for (_, project, view), page in pages.items():
        try:
            found.append(summarize_page(view, page, now))
        except Exception as error:  # noqa: BLE001 - one page must not end the summaries of all others
            telemetry.failure("activity-failed", error, project=project)
    return found


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
