"""Report of malware advisories that name something that was already served: the event ``advisory-hit``.

Each pair of advisory and project is reported once, also across a restart. The check runs when new advisories are in
force. It compares them with the record of the versions that clients got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from assay import telemetry
from assay.advisory_feeds.hits import UsedHit, find_used_hits
from assay.caching.background import BackgroundTasks
from assay.indexes import Indexes
from assay.policy.reasons import escape_controls
from assay.ports import Advisories, ReportedHits, Usage

_MAX_EVENTS: Final = 100
"""Maximum number of hits that one check reports. The next check reports further ones."""
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AdvisoryHitReporter:
    """Reporter of hits. From `start` on, it checks each new snapshot.

    Args:
        advisories: holder of the advisories in force.
        usage: record of what clients got.
        reported: record of the hits that were reported.
        indexes: all indexes. Advisories apply to those of PyPI's ecosystem.
    """

    def __init__(self, *, advisories: Advisories, usage: Usage, reported: ReportedHits, indexes: Indexes) -> None:
        self._advisories = advisories
        self._usage = usage
        self._reported = reported
        self._indexes = {each.name for each in indexes if each.has_pypi_projects}
        self._is_due = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks = BackgroundTasks()

    def start(self) -> None:
        """Check the advisories in force now, and each time when they change."""
        self._advisories.subscribe(lambda _before, _now: self._request_check())
        self._request_check()
        self._tasks.spawn(self._run(), name="advisory hits")

    async def wait_until_idle(self) -> None:
        """Wait until the advisories in force have been checked."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop the checks."""
        await self._tasks.close()

    def _request_check(self) -> None:
        self._idle.clear()
        self._is_due.set()

    async def _run(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await self.check()
            except Exception as error:  # noqa: BLE001 - the next snapshot must be checked in any case
                telemetry.failure("advisory-check-failed", error)
            if not self._is_due.is_set():
                self._idle.set()

    async def check(self) -> None:
        """Report the hits of the advisories in force that were not reported yet."""
        snapshot = self._advisories.current()
        if not len(snapshot):
            return
        used = [each for each in await self._usage.list_used(_EVER) if each.index in self._indexes]
        hits = {hit.key: hit for hit in await asyncio.to_thread(find_used_hits, snapshot, used)}
        new = (await self._reported.select_new(list(hits)))[:_MAX_EVENTS]
        for key in new:
            telemetry.security("advisory-hit", **_describe(hits[key]))
        # Recorded afterwards, so that a crash may repeat a report but never loses one.
        await self._reported.add(new)


def _describe(hit: UsedHit) -> Mapping[str, object]:
    """Return the fields of the event."""
    return {
        "advisory": hit.advisory.id,
        "project": hit.used.project,
        "index": hit.used.index,
        "versions": sorted(hit.versions),
        "last_served": max(hit.used.versions[text] for text in hit.versions).isoformat(),
        "summary": escape_controls(hit.advisory.summary),
        "url": hit.advisory.link,
        "on_hold": hit.advisory.on_hold,
    }
