"""``/metrics``: what is counted as it happens, and what is looked at when somebody asks.

Owns the looking: sizes, ages and the policies in force are read for each scrape, so that they are never older than it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from assay.assembly import Assembly
from assay.policy.language.model import Policy
from assay.telemetry import metrics


class Scrape:
    """Answers scrapes.

    Args:
        assembly: what is looked at.
        wall: Unix time.
    """

    def __init__(self, assembly: Assembly, wall: Callable[[], float] = time.time) -> None:
        self._assembly = assembly
        self._wall = wall
        self._alone = asyncio.Lock()

    async def response(self) -> web.Response:
        """All metrics, in Prometheus' text format."""
        blobs, records = await self._assembly.store.blobs.stats(), await self._assembly.store.records.stats()
        for what, usage in (("blobs", blobs), ("records", records)):
            metrics.STORED.labels(what).set(usage.size)
            metrics.STORED_LIMIT.labels(what).set(usage.limit)
            metrics.STORED_COUNT.labels(what).set(usage.count)
        async with self._alone:  # what one scrape clears, another must not be writing out
            self._look()
            body = await asyncio.to_thread(metrics.exposition)
        headers = {"Content-Type": metrics.CONTENT_TYPE, "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)

    def _look(self) -> None:
        verifier = self._assembly.verifier
        metrics.QUEUE.set(verifier.waiting)
        metrics.ROOT_AGE.clear()
        for root in verifier.roots.for_index():
            metrics.ROOT_AGE.labels(root.name).set(self._wall() - root.obtained.timestamp())
        # Cleared, so that policies and waivers of yesterday leave no series behind.
        metrics.POLICY.clear()
        metrics.WAIVER_EXPIRES.clear()
        for view in self._assembly.views:
            _show_policy(view.gate.view, view.gate.policy)
            pages = view.gate.in_memory()
            for verdict, count in (
                ("approved", sum(len(page.listed.approved) for page in pages)),
                ("withheld", sum(len(page.listed.withheld) for page in pages)),
            ):
                metrics.LISTED.labels(view.gate.view, verdict).set(count)


def _show_policy(view: str, policy: Policy) -> None:
    metrics.POLICY.labels(view, policy.digest[:12], policy.mode.value).set(1)
    for number, waiver in enumerate(policy.waivers):
        name = waiver.name or f"waivers[{number}]"
        metrics.WAIVER_EXPIRES.labels(view, name).set(waiver.expires.timestamp())
