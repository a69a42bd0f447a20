"""How long indexes take and how they answer, by host: hosts are those of the configuration alone, so they are few.

Owns the counting of one request, for metrics and for spans, and tells indexes nothing of a trace; what an answer means
is decided elsewhere.
"""

from __future__ import annotations

import time
from functools import lru_cache

from prometheus_client import Counter, Histogram
from yarl import URL

from assay.telemetry import tracing
from assay.telemetry.metrics import UPSTREAM_RESPONSES, UPSTREAM_SECONDS, classify_status
from assay.upstream.addresses import format_host


@lru_cache(maxsize=1024)
def _get_series(host: str, outcome: str) -> tuple[Histogram, Counter]:
    return UPSTREAM_SECONDS.labels(host), UPSTREAM_RESPONSES.labels(host, outcome)


class RequestMetrics:
    """A request from its beginning until the head of its answer, or its failure, is there. Ends once, by either."""

    __slots__ = ("_host", "_span", "_started")

    def __init__(self, method: str, target: URL) -> None:
        self._host = format_host(target)
        self._started = time.monotonic()
        self._span = tracing.start_span("upstream", kind="client", method=method, host=self._host)

    def record_response(self, status: int) -> None:
        """The head is there."""
        seconds, count = _get_series(self._host, classify_status(status))
        seconds.observe(time.monotonic() - self._started)
        count.inc()
        self._span.set_attributes(status=status)
        self._span.end()

    def record_failure(self, error: BaseException) -> None:
        """There is none."""
        UPSTREAM_RESPONSES.labels(self._host, "error").inc()
        self._span.end(type(error).__name__)
