"""Table of results: each row has a measurement, its ratio, its bar, and whether the bar is met. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """Row of the table: a figure, its range over the rounds, and its bar."""

    what: str
    figure: float
    spread: tuple[float, float]
    unit: str = ""
    bar: float | None = None
    at_least: bool = True
    """True if the bar is a minimum, False if it is a maximum."""
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """True if the figure meets its bar; None if it has no bar."""
        if self.bar is None:
            return None
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Cells of the row as text."""
        bar = "" if self.bar is None else f"{'≥' if self.at_least else '≤'} {number(self.bar)}{self.unit}"
        met = {None: "", True: "met", False: "MISSED"}[self.passed]
        low, high = self.spread
        spread = "" if low == high else f"{number(low)} to {number(high)}"
        return self.what, f"{number(self.figure)}{self.unit}", spread, bar, f"{met} {self.note}".strip()


@dataclass
class Table:
    """Table of all rows of a run; each row is printed when it is added."""

    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        what: str,
        values: Sequence[float],
        *,
        unit: str = "",
        least: float | None = None,
        most: float | None = None,
        note: str = "",
    ) -> None:
        """Add a row with the median and the range of `values`."""
        row = Row(
            what,
            statistics.median(values),
            (min(values), max(values)),
            unit,
            least if least is not None else most,
            at_least=least is not None,
            note=note,
        )
        self.rows.append(row)
        print(f"  {row.what:<90} {row.cells[1]:>10}  {row.cells[2]:<18} {row.cells[3]:<12} {row.cells[4]}", flush=True)

    def markdown(self) -> str:
        """Return the table in Markdown, for docs/performance.md."""
        lines = ["| measurement | median | range | bar | |", "|---|---|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row.cells)} |" for row in self.rows)]) + "\n"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round; both values of a round were measured one after the other."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` to which at least `share` of them (0 < share ≤ 1) are equal or less."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


def number(value: float) -> str:
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.4f}"
