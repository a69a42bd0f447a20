"""Endpoint ``/metrics`` for Prometheus.

Other modules update counters when events happen. This module sets the gauges, such as sizes, ages and the active
policies. It reads their values anew for each scrape.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from assay.advisory_feeds.service import FeedStatus
from assay.assembly import Assembly
from assay.policy.language.model import Policy
from assay.ports import ENGINES
from assay.telemetry import metrics


class MetricsEndpoint:
    """Responder for scrapes of ``/metrics``.

    Args:
        assembly: parts of the proxy whose state the gauges show.
        unix_time: returns the current Unix time in seconds.
    """

    def __init__(self, assembly: Assembly, unix_time: Callable[[], float] = time.time) -> None:
        self._assembly = assembly
        self._unix_time = unix_time
        self._scrape_lock = asyncio.Lock()

    async def respond(self) -> web.Response:
        """Update the gauges and return all metrics in the Prometheus text format."""
        blobs, records = await self._assembly.store.blobs.stats(), await self._assembly.store.records.stats()
        for what, usage in (("blobs", blobs), ("records", records)):
            metrics.STORED_BYTES.labels(what).set(usage.size)
            metrics.STORED_LIMIT_BYTES.labels(what).set(usage.limit)
            metrics.STORED_ITEMS.labels(what).set(usage.count)
        async with self._scrape_lock:  # a scrape must not clear gauges while another one renders them
            self._update_gauges()
            body = await asyncio.to_thread(metrics.render_exposition)
        headers = {"Content-Type": metrics.CONTENT_TYPE, "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)

    def _update_gauges(self) -> None:
        verifier = self._assembly.verifier
        metrics.VERIFICATION_QUEUE.set(verifier.queued_batches)
        for what in ENGINES:
            metrics.DEGRADED.labels(what).set(what in self._assembly.store.degraded)
        metrics.TRUST_ROOT_AGE.clear()
        for root in verifier.roots.for_index():
            metrics.TRUST_ROOT_AGE.labels(root.name).set(self._unix_time() - root.obtained.timestamp())
        for feed in self._assembly.feeds.list_statuses():
            _set_feed_gauges(feed)
        # Cleared, so that no series of earlier policies and waivers remain.
        metrics.ACTIVE_POLICY.clear()
        metrics.WAIVER_EXPIRY.clear()
        for view in self._assembly.views:
            _set_policy_gauges(view.gate.view, view.gate.policy)
            pages = view.gate.list_cached_pages()
            for verdict, count in (
                ("approved", sum(len(page.listing.approved) for page in pages)),
                ("undecided", sum(len(page.listing.undecided) for page in pages)),
                ("withheld", sum(len(page.listing.withheld) for page in pages)),
            ):
                metrics.LISTED_FILES.labels(view.gate.view, verdict).set(count)


def _set_feed_gauges(feed: FeedStatus) -> None:
    metrics.ADVISORY_RECORDS.labels(feed.name, "malware").set(feed.malware)
    metrics.ADVISORY_RECORDS.labels(feed.name, "other").set(feed.records - feed.malware)
    if feed.age is not None:
        metrics.ADVISORY_AGE.labels(feed.name).set(feed.age.total_seconds())
    for problem, count in (
        ("skipped", feed.skipped),
        ("missing", feed.missing),
        ("refused", int(feed.is_refused)),
        ("on-hold", feed.on_hold),
        ("outdated", int(feed.is_outdated)),
    ):
        metrics.ADVISORY_PROBLEMS.labels(feed.name, problem).set(count)


def _set_policy_gauges(view: str, policy: Policy) -> None:
    metrics.ACTIVE_POLICY.labels(view, policy.digest[:12], policy.mode.value).set(1)
    for number, waiver in enumerate(policy.waivers):
        name = waiver.name or f"waivers[{number}]"
        metrics.WAIVER_EXPIRY.labels(view, name).set(waiver.expires.timestamp())
