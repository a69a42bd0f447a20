"""Two checkouts that are compared: the order of their measurements, and the rows with their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.checkout import Checkout
from benchmarks.report import Table, number, ratios

NEW, BASE = "assay", "base"
BAR = 0.97
"""Minimum ratio. It is less than 1, because rows vary between runs."""


@dataclass(frozen=True)
class Sides:
    """Comparison of two checkouts: the duration of the measurements and the table for the rows."""

    table: Table
    root: Path
    """Directory with the storage of both sides and the files of the index."""
    checkouts: Mapping[str, Checkout]
    """Checkouts by name: `NEW` and `BASE`."""
    rounds: int
    seconds: int
    """Seconds of load on each checkout in each round."""

    def turns(self) -> Iterator[tuple[int, str]]:
        """Yield the round and the checkout to measure next, in alternating order so that neither is always second."""
        for turn in range(self.rounds):
            for name in list(self.checkouts)[:: -1 if turn % 2 else 1]:
                yield turn, name

    def figures(self) -> dict[str, list[float]]:
        """Return an empty list of figures for each checkout."""
        return {name: [] for name in self.checkouts}

    def started(self, stack: ExitStack, upstream: servers.Server, *, settings: str = "") -> dict[str, servers.Server]:
        """Start both checkouts; one is idle while the other is measured."""
        return {
            name: stack.enter_context(
                servers.assay(
                    self.root / name, upstream, checkout=checkout, settings=settings.format(root=self.root / name)
                )
            )
            for name, checkout in self.checkouts.items()
        }

    def more(self, what: str, figures: Mapping[str, Sequence[float]], unit: str) -> None:
        """Add a row of figures for which more is better."""
        self._tell(what, figures, ratios(figures[NEW], figures[BASE]), unit)

    def less(self, what: str, figures: Mapping[str, Sequence[float]], unit: str) -> None:
        """Add a row of figures for which less is better, such as times and memory."""
        self._tell(what, figures, ratios(figures[BASE], figures[NEW]), unit)

    def _tell(self, what: str, figures: Mapping[str, Sequence[float]], found: Sequence[float], unit: str) -> None:
        new, base = (number(statistics.median(figures[name])) for name in (NEW, BASE))
        self.table.add(what, found, least=BAR, note=f"{new}{unit}, base {base}{unit}")
