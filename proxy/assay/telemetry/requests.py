"""How many requests, how long, how much: three metrics of what is counted most often, and so by plain numbers.

Owns those series. prometheus-client's own take a lock for each number, five to a request: 2 µs of the 20 that a warm
page may cost. Requests end on the event loop's thread alone, and a scrape that reads in another sees each number whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class _Series:
    """Of one route and outcome."""

    buckets: list[int]
    seconds: float = 0.0
    sent: int = 0


@dataclass(slots=True, eq=False)
class RequestsCollector(Collector):
    """``assay_requests``, ``assay_request_seconds`` and ``assay_sent_bytes``."""

    bounds: tuple[float, ...]
    """Upper bounds of the buckets, in seconds, without infinity."""
    _series: dict[tuple[str, str], _Series] = field(default_factory=dict)

    def count(self, route: str, outcome: str, seconds: float, sent_bytes: int) -> None:
        """One request that is over, and the bytes of its answer's body."""
        series = self._series.get((route, outcome))
        if series is None:
            series = self._series[route, outcome] = _Series([0] * (len(self.bounds) + 1))
        series.buckets[bisect_left(self.bounds, seconds)] += 1
        series.seconds += seconds
        series.sent += sent_bytes

    def collect(self) -> Iterator[Metric]:
        """For a scrape."""
        counted, durations, sizes = families = _build_families()
        routes: dict[str, _Series] = {}
        for (route, outcome), series in tuple(self._series.items()):
            counted.add_metric((route, outcome), sum(series.buckets))
            total = routes.setdefault(route, _Series([0] * len(series.buckets)))
            total.buckets = [mine + more for mine, more in zip(total.buckets, series.buckets, strict=True)]
            total.seconds += series.seconds
            total.sent += series.sent
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        for route, total in routes.items():
            reached = [sum(total.buckets[: place + 1]) for place in range(len(names))]
            durations.add_metric((route,), list(zip(names, reached, strict=True)), total.seconds)
            sizes.add_metric((route,), total.sent)
        yield from families

    def describe(self) -> Iterator[Metric]:
        """What there is before anything is counted, so that the registry knows its names."""
        yield from _build_families()


def _build_families() -> tuple[CounterMetricFamily, HistogramMetricFamily, CounterMetricFamily]:
    outcomes = "Requests by route and outcome: a class of status, 403, or aborted"
    durations = "From the request's head to the last byte of its answer"
    return (
        CounterMetricFamily("assay_requests", outcomes, labels=("route", "outcome")),
        HistogramMetricFamily("assay_request_seconds", durations, labels=("route",)),
        CounterMetricFamily("assay_sent_bytes", "Bytes of bodies of completed answers", labels=("route",)),
    )
