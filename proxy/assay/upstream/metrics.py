"""Metrics and trace spans of requests to indexes: response time and outcome for each host.

The label `host` has few values, because Assay contacts only configured hosts. The trace context is not sent to indexes.
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
    """Measurement of one request, from its start to the head of the response or to the failure.

    Call either `record_response` or `record_failure`, and call it once.
    """

    __slots__ = ("_host", "_span", "_started")

    def __init__(self, method: str, target: URL) -> None:
        self._host = format_host(target)
        self._started = time.monotonic()
        self._span = tracing.start_span("upstream", kind="client", method=method, host=self._host)

    def record_response(self, status: int) -> None:
        """Record the arrival of a response's head, its status and the time since the start."""
        seconds, count = _get_series(self._host, classify_status(status))
        seconds.observe(time.monotonic() - self._started)
        count.inc()
        self._span.set_attributes(status=status)
        self._span.end()

    def record_failure(self, error: BaseException) -> None:
        """Record that the request failed before the head of a response arrived."""
        UPSTREAM_RESPONSES.labels(self._host, "error").inc()
        self._span.end(type(error).__name__)
