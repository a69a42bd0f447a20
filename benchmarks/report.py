"""Rows of one table: what was measured in turns, its ratio, the bar, and whether it is met. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line: a figure, its spread over the rounds, and the bar it has to meet."""

    what: str
    figure: float
    spread: tuple[float, float]
    unit: str = ""
    bar: float | None = None
    at_least: bool = True
    """Whether the bar is a least; else it is a most."""
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """None: there is no bar."""
        if self.bar is None:
            return None
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """As text."""
        bar = "" if self.bar is None else f"{'≥' if self.at_least else '≤'} {number(self.bar)}{self.unit}"
        met = {None: "", True: "met", False: "MISSED"}[self.passed]
        low, high = self.spread
        spread = "" if low == high else f"{number(low)} to {number(high)}"
        return self.what, f"{number(self.figure)}{self.unit}", spread, bar, f"{met} {self.note}".strip()


@dataclass
class Table:
    """All rows of a run, printed as they come."""

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
        """The median of `values`, with their range."""
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
        print(f"  {row.what:<64} {row.cells[1]:>10}  {row.cells[2]:<18} {row.cells[3]:<12} {row.cells[4]}", flush=True)

    def markdown(self) -> str:
        """For docs/performance.md."""
        lines = ["| what | median | range | bar | |", "|---|---|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row.cells)} |" for row in self.rows)]) + "\n"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: what was measured side by side is compared side by side."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
