"""Two checkouts side by side: whose turn it is, and what a row of their ratios says."""

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
"""The new one is at least as good as the base, but for what a row swings by."""


@dataclass(frozen=True)
class Sides:
    """Both checkouts, how long to measure them, and where the rows go."""

    table: Table
    root: Path
    """Where both have their storage, and the index its files."""
    checkouts: Mapping[str, Checkout]
    """`NEW` and `BASE`."""
    rounds: int
    seconds: int
    """Of load for either in each round."""

    def turns(self) -> Iterator[tuple[int, str]]:
        """Return the rounds and whose turn it is: forwards and backwards, so that neither side is always second."""
        for turn in range(self.rounds):
            for name in list(self.checkouts)[:: -1 if turn % 2 else 1]:
                yield turn, name

    def figures(self) -> dict[str, list[float]]:
        """Return where the figures of either go, one a round."""
        return {name: [] for name in self.checkouts}

    def started(self, stack: ExitStack, upstream: servers.Server, *, settings: str = "") -> dict[str, servers.Server]:
        """Start both; one of them is idle while the other is measured."""
        return {
            name: stack.enter_context(
                servers.assay(
                    self.root / name, upstream, checkout=checkout, settings=settings.format(root=self.root / name)
                )
            )
            for name, checkout in self.checkouts.items()
        }

    def more(self, what: str, figures: Mapping[str, Sequence[float]], unit: str) -> None:
        """Add a row of figures of which more is better."""
        self._tell(what, figures, ratios(figures[NEW], figures[BASE]), unit)

    def less(self, what: str, figures: Mapping[str, Sequence[float]], unit: str) -> None:
        """Add a row of figures of which less is better: times and memory."""
        self._tell(what, figures, ratios(figures[BASE], figures[NEW]), unit)

    def _tell(self, what: str, figures: Mapping[str, Sequence[float]], found: Sequence[float], unit: str) -> None:
        new, base = (number(statistics.median(figures[name])) for name in (NEW, BASE))
        self.table.add(what, found, least=BAR, note=f"{new}{unit}, base {base}{unit}")
