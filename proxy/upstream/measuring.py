"""How long indexes take and how they answer, by host: hosts are those of the configuration alone, so they are few.

Owns the counting of one request, for metrics and for spans, and tells indexes nothing of a trace; what an answer means
is decided elsewhere.
"""

from __future__ import annotations

import time

from yarl import URL

from proxy.telemetry import tracing
from proxy.telemetry.metrics import UPSTREAM, UPSTREAM_SECONDS, status_class
from proxy.upstream.addresses import host_of


class Exchange:
    """A request from its beginning until the head of its answer, or its failure, is there. Ends once, by either."""

    __slots__ = ("_host", "_span", "_started")

    def __init__(self, method: str, target: URL) -> None:
        self._host = host_of(target)
        self._started = time.monotonic()
        self._span = tracing.begin("upstream", kind="client", method=method, host=self._host)

    def answered(self, status: int) -> None:
        """The head is there."""
        UPSTREAM_SECONDS.labels(self._host).observe(time.monotonic() - self._started)
        UPSTREAM.labels(self._host, status_class(status)).inc()
        self._span.note(status=status)
        self._span.end()

    def failed(self, error: BaseException) -> None:
        """There is none."""
        UPSTREAM.labels(self._host, "error").inc()
        self._span.end(type(error).__name__)
