"""Prometheus metrics of this proxy. All of them are declared in this module, in one registry.

Every label has a bounded set of values, such as routes, views, configured hosts, policy rules, reason codes and event
names. Projects, filenames, paths and clients are not labels. The log and the audit trail record them.
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
from assay.telemetry.build import get_revision, get_version
from assay.telemetry.requests import RequestsCollector

REGISTRY: Final = CollectorRegistry()
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_DURATION_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STORAGE_BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DELAY_BUCKETS_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LOOP_DELAY_INTERVAL_SECONDS: Final = 0.25
"""Time between two measurements of the event-loop lag, in seconds."""


def _counter(name: str, summary: str, *labels: str) -> Counter:
    return Counter(f"assay_{name}", summary, labels, registry=REGISTRY)


def _gauge(name: str, summary: str, *labels: str) -> Gauge:
    return Gauge(f"assay_{name}", summary, labels, registry=REGISTRY)


def _histogram(
    name: str, summary: str, *labels: str, buckets: tuple[float, ...] = _DURATION_BUCKETS_SECONDS
) -> Histogram:
    return Histogram(f"assay_{name}", summary, labels, registry=REGISTRY, buckets=buckets)


class _EventCounter(Counter):
    """Counter of log events, which counts the event ``request`` without a lock.

    Each request emits this event once, always on the event loop's thread. The lock of `prometheus_client` would cost
    0.6 µs for each request.
    """

    _requests = 0
    _collected_requests = 0

    def count_request(self) -> None:
        """Count one event ``request``. Call this only on the event loop's thread."""
        self._requests += 1

    def collect(self) -> Iterable[Metric]:
        """Return the current samples, including those of the event ``request``.

        Two scrapes must not run at the same time.
        """
        requests = self._requests
        self.labels("request", "info").inc(requests - self._collected_requests)
        self._collected_requests = requests
        return super().collect()


BUILD_INFO = _gauge("build_info", "Always 1, for the version and the revision of this build", "version", "revision")
BUILD_INFO.labels(get_version(), get_revision() or "unknown").set(1)
REQUESTS: Final = RequestsCollector(_DURATION_BUCKETS_SECONDS)
REGISTRY.register(REQUESTS)
CONNECTIONS = _gauge("connections", "Open client connections")
CONNECTIONS_REFUSED = _counter(
    "connections_refused", "Connections over server.max-connections, answered 503 or closed", "action"
)
FILE_REQUESTS = _counter("file_requests", "Requests for files, by cache hit or miss", "cache")
PAGE_LOOKUPS = _counter(
    "page_lookups", "Lookups of project pages: fresh, not-modified, changed, absent or stale", "result"
)

UPSTREAM_SECONDS = _histogram(
    "upstream_response_duration_seconds", "Time until the head of an index's response", "host"
)
UPSTREAM_RESPONSES = _counter("upstream_responses", "Responses of indexes, by status class or error", "host", "outcome")

VERIFICATION_SECONDS = _histogram(
    "verification_duration_seconds", "Verification time of a batch of provenance documents"
)
EVIDENCE_OUTCOMES = _counter("verified_documents", "Verified provenance documents by result", "evidence")
VERDICTS = _counter(
    "verdicts", "Verdicts on files, counted each time a page is judged", "view", "verdict", "rule", "reason"
)
REFUSALS = _counter("refusals", "Requests for withheld files", "view", "route", "rule", "reason")
HIDDEN_PAGES = _counter(
    "hidden_pages",
    "Requests for pages whose newest version is withheld, or of which a version keeps only an sdist",
    "view",
    "hiding",
    "rule",
    "reason",
)
LISTED_FILES = _gauge("files_listed", "Files on the judged pages in memory, by verdict", "view", "verdict")

EVENTS = _EventCounter("assay_events", "Log events by name", ("event", "level"), registry=REGISTRY)
SECURITY_EVENTS = _counter("security_events", "Security events by name", "event")

STORED_BYTES = _gauge("stored_bytes", "Bytes in the cache", "kind")
STORED_LIMIT_BYTES = _gauge("stored_limit_bytes", "Size limit of the cache", "kind")
SCRUBBED_BLOBS = _counter("scrubbed_blobs", "Blobs read by the background verification, by result", "result")
STORED_ITEMS = _gauge("stored_items", "Blobs and records in the cache", "kind")
TRUST_ROOT_AGE = _gauge("trust_root_age_seconds", "Time since a trust root was last confirmed to be current", "root")
POLICY_SINCE = _gauge("policy_loaded_timestamp_seconds", "Unix time at which the active policy was loaded", "view")
POLICY_REFUSED = _gauge(
    "policy_invalid", "1 while the policy file is invalid and the previous policy is active", "view"
)
ACTIVE_POLICY = _gauge(
    "policy", "Active policy: 1 for its mode and the first digits of its digest", "view", "digest", "mode"
)
WAIVER_EXPIRY = _gauge("waiver_expires_timestamp_seconds", "Unix time at which a waiver expires", "view", "waiver")
ADVISORY_RECORDS = _gauge("advisories", "Advisories in force, by feed and kind: malware or other", "feed", "kind")
ADVISORY_AGE = _gauge("advisories_age_seconds", "Time since a feed was last known to be current", "feed")
ADVISORY_PROBLEMS = _gauge(
    "advisories_problems",
    "Problems of a feed: records skipped or missing, snapshot refused or outdated, hits on hold",
    "feed",
    "problem",
)
ADVISORY_REFRESHES = _counter(
    "advisory_refreshes", "Refreshes of feeds: changed, unchanged, refused or failed", "feed", "result"
)
VERIFICATION_QUEUE = _gauge("verification_queue", "Batches of provenance documents waiting for a worker")

# Storage that replicas share ([storage.shared]). Without it, only SOURCES and FLIGHTS count, with the sources tier and
# index and the roles first and follower.
LEDGER_SECONDS = _histogram(
    "ledger_seconds", "Duration of operations on the shared ledger", "operation", buckets=_STORAGE_BUCKETS_SECONDS
)
LEDGER_CONFLICTS = _counter(
    "ledger_conflicts", "Changes of the ledger that were judged again because another replica had changed the project"
)
OBJECTS_SECONDS = _histogram(
    "objects_seconds",
    "Duration of operations on the object storage; of reads, until the first byte",
    "operation",
    buckets=_STORAGE_BUCKETS_SECONDS,
)
SOURCES = _counter("sources", "Files by the source of their bytes: tier, objects, peer or index", "source")
FLIGHTS = _counter(
    "flights",
    "Work that replicas do once: first (does it), follower (waits for another) or alone (could not coordinate)",
    "role",
)
DEGRADED = _gauge("degraded", "1 while an engine of the shared storage is away: ledger or objects", "what")

AUDIT_ENTRIES = _gauge("audit_entries", "Sequence number of the last audit entry")
AUDIT_HEAD = _gauge("audit_head", "First 48 bits of the hash of the last audit entry, as an integer")
AUDIT_LOST = _counter("audit_lost_entries", "Audit entries that could not be written")

# Memory, CPU time and open files of this process, under the standard names of Prometheus clients.
ProcessCollector(registry=REGISTRY)
LOOP_DELAY = _histogram("loop_delay_seconds", "Event-loop lag", buckets=_DELAY_BUCKETS_SECONDS)


def render_exposition() -> bytes:
    """Return all metrics in the Prometheus text format. Blocking: reads ``/proc``."""
    return bytes(generate_latest(REGISTRY))


@asynccontextmanager
async def measure_loop_delay() -> AsyncIterator[None]:
    """Measure the event-loop lag (how late the loop runs a timer) while the context is open."""
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
    """Return the metric label of an HTTP status: the code itself for 304, 403 and 424, else the class (``2xx``)."""
    return str(status) if status in {304, 403, 424} else f"{status // 100}xx"
