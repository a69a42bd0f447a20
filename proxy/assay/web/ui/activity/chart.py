"""SVG chart of the refusals by rule and day. Pure.

Each rule has its own lane, so no colour carries information. The table below the chart has the same numbers as
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from assay.web.ui.activity.overview import RuleTotals
from assay.web.ui.markup import Markup, element

_MAX_LANES: Final = 6
_LANE_PIXELS: Final = 52
_BAR_PIXELS: Final = 30
_FOOT_PIXELS: Final = 20
_MAX_LABEL_CHARS: Final = 40
NO_RULE: Final = "no rule"


def render_refusal_chart(rules: Sequence[RuleTotals], first_day: date, days: int) -> Markup:
    """Return the chart, or empty markup if nothing was refused.

    Args:
        rules: refusals of each rule, the rule with the most refusals first. Further rules share the last lane.
        first_day: first day of the chart, in UTC.
        days: number of days.
    """
    if not rules:
        return Markup()
    lanes = _make_lanes(rules)
    highest = max(count for _, by_day in lanes for count in by_day.values())
    height = _LANE_PIXELS * len(lanes) + _FOOT_PIXELS
    last_day = date.fromordinal(first_day.toordinal() + days - 1)
    title = f"Refused requests by rule and day, {first_day.isoformat()} to {last_day.isoformat()}"
    summary = "; ".join(f"{name}: {sum(by_day.values())}" for name, by_day in lanes)
    return element(
        "div",
        element(
            "svg",
            element("title", title, id="refusals-title"),
            element("desc", f"{summary}. The highest bar is {highest} in a day.", id="refusals-desc"),
            *(
                piece
                for row, (name, by_day) in enumerate(lanes)
                for piece in _render_lane(row, name, by_day, first_day, days, highest)
            ),
            element("text", first_day.isoformat(), class_="soft", x="0", y=height - 4),
            element("text", last_day.isoformat(), class_="soft", x="100%", y=height - 4, text_anchor="end"),
            class_="timeline",
            role="img",
            aria_labelledby="refusals-title refusals-desc",
            height=height,
        ),
        class_="picture",
    )


def _make_lanes(rules: Sequence[RuleTotals]) -> list[tuple[str, dict[int, int]]]:
    count = _MAX_LANES if len(rules) <= _MAX_LANES else _MAX_LANES - 1
    lanes = [(rule.rule or NO_RULE, rule.by_day) for rule in rules[:count]]
    if rest := rules[count:]:
        together: dict[int, int] = {}
        for rule in rest:
            for day, number in rule.by_day.items():
                together[day] = together.get(day, 0) + number
        lanes.append((f"{len(rest)} other rules", together))
    return lanes


def _render_lane(  # noqa: PLR0917 - all of one lane
    row: int, name: str, by_day: dict[int, int], first_day: date, days: int, highest: int
) -> list[Markup]:
    bottom = _LANE_PIXELS * (row + 1)
    label = name if len(name) <= _MAX_LABEL_CHARS else f"{name[:_MAX_LABEL_CHARS]}…"
    width = 100 / days
    drawn = [
        element("line", class_="lane", x1="0", x2="100%", y1=bottom, y2=bottom),
        element("text", label, class_="soft", x="0", y=bottom - _BAR_PIXELS - 8),
    ]
    for day, count in sorted(by_day.items()):
        place = day - first_day.toordinal()
        if 0 <= place < days:
            bar = max(2, round(_BAR_PIXELS * count / highest))
            hint = element("title", f"{date.fromordinal(day).isoformat()}, {name}: {count}")
            drawn.append(
                element(
                    "rect",
                    hint,
                    x=f"{place * width:.2f}%",
                    y=bottom - bar,
                    width=f"{width * 0.8:.2f}%",
                    height=bar,
                    fill="currentColor",
                )
            )
    return drawn
