"""Row of small plots with logarithmic axes, as an SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 240, 190, 52, 40, 30
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#57606a}.title{font-weight:600}"
    "path,line{fill:none;stroke:#57606a}.curve{stroke:#0969da;stroke-width:2}.linear{stroke-dasharray:3 4}"
    "circle{fill:#0969da}@media(prefers-color-scheme:dark){text{fill:#9198a1}path,line{stroke:#9198a1}"
    ".curve{stroke:#4493f8}circle{fill:#4493f8}}"
)


@dataclass(frozen=True)
class Curve:
    """Measured values by size."""

    over: str
    what: str
    sizes: Sequence[float]
    values: Sequence[float]


def plot(path: Path, *curves: Curve) -> None:
    """Write an SVG with one plot for each curve; a dashed line shows linear growth up to the last point."""
    width = _WIDTH * len(curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" role="img">',
        f"<style>{_STYLE}</style>",
        *(f'<g transform="translate({_WIDTH * place})">{_one(curve)}</g>' for place, curve in enumerate(curves)),
        "</svg>",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n")


def _one(curve: Curve) -> str:
    values = [max(value, 1e-3) for value in curve.values]
    low, high = min(values) / 2, max(values) * 2

    def x(size: float) -> float:
        first, last = math.log(curve.sizes[0]), math.log(curve.sizes[-1])
        return _LEFT + (_WIDTH - _LEFT - 20) * (math.log(size) - first) / (last - first)

    def y(value: float) -> float:
        share = (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share

    base, last = _HEIGHT - _BOTTOM, curve.sizes[-1]
    line = " L ".join(f"{x(size):.1f} {y(value):.1f}" for size, value in zip(curve.sizes, values, strict=True))
    start = max(curve.sizes[0], last * low / values[-1])
    linear = f"M {x(start):.1f} {y(values[-1] * start / last):.1f} L {x(last):.1f} {y(values[-1]):.1f}"
    dots = "".join(
        f'<circle cx="{x(size):.1f}" cy="{y(value):.1f}" r="3"/>'
        f'<text x="{x(size):.1f}" y="{y(value) - 7:.1f}" text-anchor="middle">{value:.3g}</text>'
        f'<text x="{x(size):.1f}" y="{base + 14}" text-anchor="middle">{size:,}</text>'
        for size, value in zip(curve.sizes, values, strict=True)
    )
    return (
        f'<text class="title" x="{_LEFT - 30}" y="14">{escape(curve.what)}</text>'
        f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(curve.over)}</text>'
        f'<line x1="{_LEFT - 12}" y1="{base}" x2="{_WIDTH - 8}" y2="{base}"/>'
        f'<path class="linear" d="{linear}"/><path class="curve" d="M {line}"/>{dots}'
    )
