"""Metrics: what Prometheus may count of this proxy. All of them are declared here, so that all can be read here.

Owns one registry. Every label comes from a set that the operator or this source bounds: routes, views, hosts of the
configuration, rules of the policies, stable codes, names of events. Never a project, filename, path or client: those
are for the log and the audit trail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from assay.caching.background import BackgroundTasks
from assay.telemetry.requests import RequestsCollector

REGISTRY: Final = CollectorRegistry()
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_DURATION_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DELAY_BUCKETS_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LOOP_DELAY_INTERVAL_SECONDS: Final = 0.25
"""Seconds between two measurements of the loop's delay."""


def _counter(name: str, summary: str, *labels: str) -> Counter:
    return Counter(f"assay_{name}", summary, labels, registry=REGISTRY)


def _gauge(name: str, summary: str, *labels: str) -> Gauge:
    return Gauge(f"assay_{name}", summary, labels, registry=REGISTRY)


def _histogram(
    name: str, summary: str, *labels: str, buckets: tuple[float, ...] = _DURATION_BUCKETS_SECONDS
) -> Histogram:
    return Histogram(f"assay_{name}", summary, labels, registry=REGISTRY, buckets=buckets)


class _EventCounter(Counter):
    """A counter of events that counts those named ``request`` without a lock.

    They are as many as all requests, and end on the event loop's thread alone. Taking the lock for each costs 0.6 µs of
    the 12 that answering a warm page takes.
    """

    _requests = 0
    _collected_requests = 0

    def count_request(self) -> None:
        """Count an event named ``request``, on the event loop's thread."""
        self._requests += 1

    def collect(self) -> Iterable[Metric]:
        """Return the samples, with the requests so far; one scrape at a time."""
        requests = self._requests
        self.labels("request", "info").inc(requests - self._collected_requests)
        self._collected_requests = requests
        return super().collect()


REQUESTS: Final = RequestsCollector(_DURATION_BUCKETS_SECONDS)
REGISTRY.register(REQUESTS)
CONNECTIONS = _gauge("connections", "Connections of clients that are open")
CONNECTIONS_REFUSED = _counter(
    "connections_refused", "Connections beyond server.max-connections: answered 503 (busy), or cut", "how"
)
FILE_REQUESTS = _counter("files", "Files asked for that are here (hit) or on their way in (miss)", "cache")
PAGE_LOOKUPS = _counter(
    "pages", "Project pages by where they came from: fresh (remembered), not-modified, changed, absent, stale", "result"
)

UPSTREAM_SECONDS = _histogram("upstream_seconds", "Until an index's answer begins", "host")
UPSTREAM_RESPONSES = _counter("upstream_answers", "Answers of indexes: a class of status, or error", "host", "outcome")

VERIFICATION_SECONDS = _histogram("verification_seconds", "From documents in hand to evidence, a batch at a time")
EVIDENCE_OUTCOMES = _counter("evidence", "Verified provenance documents by what they proved", "evidence")
VERDICTS = _counter("verdicts", "Files judged, whenever a page is judged anew", "view", "verdict", "rule", "reason")
REFUSALS = _counter("refusals", "Requests refused because the file is withheld", "view", "route", "rule", "reason")
LISTED_FILES = _gauge("files_listed", "Files on the project pages in memory by verdict", "view", "verdict")

EVENTS = _EventCounter("assay_events", "Events of the log by name", ("event", "level"), registry=REGISTRY)
SECURITY_EVENTS = _counter("security_events", "What contradicts what was proven or decided", "event")

STORED_BYTES = _gauge("stored_bytes", "Bytes kept", "what")
STORED_LIMIT_BYTES = _gauge("stored_limit_bytes", "Bytes that may be kept", "what")
STORED_COUNT = _gauge("stored_count", "Blobs and records kept", "what")
TRUST_ROOT_AGE = _gauge("trust_root_age_seconds", "Since a trust root was known to be current", "root")
POLICY_SINCE = _gauge("policy_since_timestamp_seconds", "When the policy in force came into force, Unix time", "view")
POLICY_REFUSED = _gauge("policy_refused", "1 while the policy file is not obeyed because it cannot be a policy", "view")
ACTIVE_POLICY = _gauge("policy", "The policy in force, by the head of its digest: 1", "view", "digest", "mode")
WAIVER_EXPIRY = _gauge("waiver_expires_timestamp_seconds", "When a waiver ends, Unix time", "view", "waiver")
VERIFICATION_QUEUE = _gauge("verification_queue", "Batches of documents that wait for a worker")

AUDIT_ENTRIES = _gauge("audit_entries", "Sequence number of the audit trail's last entry")
AUDIT_HEAD = _gauge("audit_head", "The first 48 bits of the audit trail's last hash, as a number (exact)")
AUDIT_LOST = _counter("audit_lost", "Entries that the audit trail could not take")

ProcessCollector(registry=REGISTRY)
"""Memory, processor time and open files of this process, by Prometheus' own names."""
LOOP_DELAY = _histogram(
    "loop_delay_seconds", "How late the event loop wakes who asked for it", buckets=_DELAY_BUCKETS_SECONDS
)


def render_exposition() -> bytes:
    """Everything, in Prometheus' text format. Blocking: it reads ``/proc``."""
    return bytes(generate_latest(REGISTRY))


@asynccontextmanager
async def measure_loop_delay() -> AsyncIterator[None]:
    """Measure the event loop's delay meanwhile."""
    async with BackgroundTasks() as tasks:
        tasks.spawn(_measure_loop_delay(), name="loop delay")
        yield


async def _measure_loop_delay() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LOOP_DELAY_INTERVAL_SECONDS
        await asyncio.sleep(_LOOP_DELAY_INTERVAL_SECONDS)
        LOOP_DELAY.observe(max(0.0, loop.time() - due))


@lru_cache(maxsize=1000)
def classify_status(status: int) -> str:
    """Return the label of a status: ``2xx`` and so on; 403 and 304 as themselves, which have a meaning of their own."""
    return str(status) if status in {304, 403} else f"{status // 100}xx"
