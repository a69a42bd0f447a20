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
from assay.telemetry.metrics import UPSTREAM, UPSTREAM_SECONDS, status_class
from assay.upstream.addresses import host_of


@lru_cache(maxsize=1024)
def _series(host: str, outcome: str) -> tuple[Histogram, Counter]:
    return UPSTREAM_SECONDS.labels(host), UPSTREAM.labels(host, outcome)


class Exchange:
    """A request from its beginning until the head of its answer, or its failure, is there. Ends once, by either."""

    __slots__ = ("_host", "_span", "_started")

    def __init__(self, method: str, target: URL) -> None:
        self._host = host_of(target)
        self._started = time.monotonic()
        self._span = tracing.begin("upstream", kind="client", method=method, host=self._host)

    def answered(self, status: int) -> None:
        """The head is there."""
        seconds, count = _series(self._host, status_class(status))
        seconds.observe(time.monotonic() - self._started)
        count.inc()
        self._span.note(status=status)
        self._span.end()

    def failed(self, error: BaseException) -> None:
        """There is none."""
        UPSTREAM.labels(self._host, "error").inc()
        self._span.end(type(error).__name__)
