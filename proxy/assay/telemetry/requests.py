"""Metrics of client requests: their number, duration and response bytes.

The counts are plain integers and floats. `prometheus_client` would take a lock five times for each request, which costs
2 µs. No lock is needed here: requests end only on the event loop's thread, and a scrape in another thread reads each
number atomically.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class _Series:
    """Number, total duration and bytes of the requests with one route, outcome and state of the cache."""

    buckets: list[int]
    """Number of requests in each interval of duration, not cumulative. The last interval has no upper bound."""
    seconds: float = 0.0
    sent: int = 0
    """Total bytes of the response bodies."""


@dataclass(slots=True, eq=False)
class RequestsCollector(Collector):
    """Collector of ``assay_requests``, ``assay_request_duration_seconds`` and ``assay_sent_bytes``."""

    bounds: tuple[float, ...]
    """Upper bounds of the intervals of duration, in seconds, without infinity."""
    _series: dict[tuple[str, str, str], _Series] = field(default_factory=dict)

    def count(self, route: str, outcome: str, seconds: float, sent_bytes: int, cache: str = "") -> None:
        """Count a finished request and the bytes of its response body.

        Args:
            route: label of the route.
            outcome: status class, or another outcome.
            seconds: time from the head of the request to the end of its response.
            sent_bytes: bytes of the response body.
            cache: for a page, "hit" if it was in memory, judged and fresh, else "miss"; empty for other routes.
        """
        series = self._series.get((route, outcome, cache))
        if series is None:
            series = self._series[route, outcome, cache] = _Series([0] * (len(self.bounds) + 1))
        series.buckets[bisect_left(self.bounds, seconds)] += 1
        series.seconds += seconds
        series.sent += sent_bytes

    def collect(self) -> Iterator[Metric]:
        """Return the current samples for a scrape."""
        counted, durations, sizes = families = _build_families()
        outcomes, sent = Counter[tuple[str, str]](), Counter[str]()
        timed: dict[tuple[str, str], _Series] = {}
        for (route, outcome, cache), series in tuple(self._series.items()):
            outcomes[route, outcome] += sum(series.buckets)
            sent[route] += series.sent
            total = timed.setdefault((route, cache), _Series([0] * len(series.buckets)))
            total.buckets = [mine + more for mine, more in zip(total.buckets, series.buckets, strict=True)]
            total.seconds += series.seconds
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        for labels, total in timed.items():
            reached = list(accumulate(total.buckets))
            durations.add_metric(labels, list(zip(names, reached, strict=True)), total.seconds)
        for outcome_labels, count in outcomes.items():
            counted.add_metric(outcome_labels, count)
        for route, size in sent.items():
            sizes.add_metric((route,), size)
        yield from families

    def describe(self) -> Iterator[Metric]:
        """Return the metric families without samples. The registry takes the names of the metrics from them."""
        yield from _build_families()


def _build_families() -> tuple[CounterMetricFamily, HistogramMetricFamily, CounterMetricFamily]:
    outcomes = "Requests by route and outcome: status class, 304, 403, aborted or left"
    durations = "Time from the head of a request to the last byte of its response; pages by cache hit or miss"
    return (
        CounterMetricFamily("assay_requests", outcomes, labels=("route", "outcome")),
        HistogramMetricFamily("assay_request_duration_seconds", durations, labels=("route", "cache")),
        CounterMetricFamily(
            "assay_sent_bytes", "Bytes of response bodies that were sent completely", labels=("route",)
        ),
    )
