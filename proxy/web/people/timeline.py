"""A picture of a project's releases by who published them: one lane a publisher, time from left to right. Pure.

A release that leaves its publisher's lane is marked, so that a change of publisher and a loss of provenance are seen at
a glance. Shapes, words and lanes say what colours say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from packaging.version import Version

from proxy.evidence import Attested, Evidence, Forged, Unverifiable
from proxy.policy.verdict import Approved, Withheld
from proxy.web.people.markup import Markup, element, joined

NOBODY: Final = "no attestation"
FORGED: Final = "forged"
UNVERIFIABLE: Final = "not verifiable here"
UNEXAMINED: Final = "not examined"
_UNPROVEN: Final = frozenset({NOBODY, FORGED, UNVERIFIABLE})
_OTHERS: Final = "other publishers"
_MOST_LANES: Final = 8
_MOST_MARKS: Final = 600
_MOST_BREAKS: Final = 12
_WIDTH, _LEFT, _RIGHT, _TOP, _LANE = 960, 250, 20, 30, 38
_NAME = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The files of one version that one publisher made."""

    version: Version
    publisher: str
    time: datetime
    approved: bool
    """All of them."""


def publisher_of(evidence: Evidence | None) -> str:
    """Who is proven to have published, in few words."""
    match evidence:
        case Attested(attestations=attestations):
            claims = attestations[0].claims
            return claims.repository or claims.email or claims.project_id or claims.san
        case Forged():
            return FORGED
        case Unverifiable():
            return UNVERIFIABLE
        case None:
            return UNEXAMINED
        case _:
            return NOBODY


def marks_of(verdicts: Iterable[Approved | Withheld]) -> list[Mark]:
    """One mark for each version and publisher, oldest first; files that say nothing of their time have none."""
    found: dict[tuple[Version, str], Mark] = {}
    for verdict in verdicts:
        time = _time(verdict)
        if verdict.file.distribution is None or time is None:
            continue
        version, publisher = verdict.file.distribution.version, publisher_of(verdict.evidence)
        known = found.get((version, publisher))
        approved = isinstance(verdict, Approved)
        found[version, publisher] = Mark(
            version=version,
            publisher=publisher,
            time=time if known is None else min(time, known.time),
            approved=approved and (known is None or known.approved),
        )
    return sorted(found.values(), key=lambda mark: (mark.time, mark.version))[-_MOST_MARKS:]


def timeline(marks: Sequence[Mark]) -> Markup:
    """The picture; nothing where there is nothing to see."""
    if not marks:
        return Markup()
    lanes = _lanes(marks)
    height = _TOP + _LANE * len(lanes) + 34
    title = f"Releases by publisher, {marks[0].time:%Y-%m-%d} to {marks[-1].time:%Y-%m-%d}"
    return element(
        "div",
        element(
            "svg",
            element("title", title, id="timeline-title"),
            element("desc", _told(marks), id="timeline-desc"),
            *(_lane(name, row) for row, name in enumerate(lanes)),
            _thread(marks, lanes),
            *_breaks(marks, lanes),
            *(_mark(mark, marks, lanes) for mark in marks),
            element("text", f"{marks[0].time:%Y-%m-%d}", x=_LEFT, y=height - 10),
            element("text", f"{marks[-1].time:%Y-%m-%d}", x=_WIDTH - _RIGHT, y=height - 10, text_anchor="end"),
            role="img",
            aria_labelledby="timeline-title timeline-desc",
            viewBox=f"0 0 {_WIDTH} {height}",
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label="Timeline",
    )


def changes(marks: Sequence[Mark]) -> list[tuple[Mark, str]]:
    """Where, in order of time, a release is another's than the one before, in words."""
    found: list[tuple[Mark, str]] = []
    last: str | None = None
    """Who published last with an attestation."""
    before: str | None = None
    for mark in marks:
        if mark.publisher == UNEXAMINED:
            continue  # says nothing either way
        if said := _change(mark, last, before):
            found.append((mark, said))
        last = last if mark.publisher in _UNPROVEN else mark.publisher
        before = mark.publisher
    return found


def _change(mark: Mark, last: str | None, before: str | None) -> str | None:
    version, publisher = mark.version, mark.publisher
    if publisher in _UNPROVEN:
        return f"provenance lost with {version}: {publisher}" if last is not None and before == last else None
    if last is None:
        return None if before is None else f"attested from {version} on, by {publisher}"
    if last != publisher:
        return f"another publisher from {version} on: {publisher}"
    return f"attested again from {version} on, by {publisher}" if before != last else None


def legend(marks: Sequence[Mark]) -> Markup:
    """What the picture's shapes mean, and its numbered changes in words."""
    listed = changes(marks)[-_MOST_BREAKS:]
    shapes = "A dot is a release whose files are all approved, a cross one of which some are withheld."
    items = (element("li", f"{mark.time:%Y-%m-%d}: {said}") for mark, said in listed)
    return joined((element("p", shapes, class_="soft"), element("ol", *items) if listed else None))


def _told(marks: Sequence[Mark]) -> str:
    told = "; ".join(said for _, said in changes(marks)[-_MOST_BREAKS:])
    return f"{len(marks)} releases. {told or 'No change of publisher.'}"


def _time(verdict: Approved | Withheld) -> datetime | None:
    if isinstance(verdict.evidence, Attested):
        return min(one.integrated_time for one in verdict.evidence.attestations)
    return verdict.file.upload_time


def _lanes(marks: Sequence[Mark]) -> list[str]:
    names = list(dict.fromkeys(mark.publisher for mark in marks))
    if len(names) <= _MOST_LANES:
        return names
    # The newest stay apart: that is where somebody new stands.
    return [*names[-_MOST_LANES + 1 :], _OTHERS]


def _x(mark: Mark, marks: Sequence[Mark]) -> float:
    span = (marks[-1].time - marks[0].time).total_seconds()
    part = (mark.time - marks[0].time).total_seconds() / span if span else 0.5
    return round(_LEFT + 12 + part * (_WIDTH - _LEFT - _RIGHT - 24), 1)


def _y(mark: Mark, lanes: Sequence[str]) -> float:
    row = lanes.index(mark.publisher) if mark.publisher in lanes else len(lanes) - 1
    return _TOP + _LANE * row + _LANE / 2


def _lane(name: str, row: int) -> Markup:
    y = _TOP + _LANE * row + _LANE / 2
    short = name if len(name) <= _NAME else f"{name[:_NAME]}…"
    return joined(
        (
            element("line", class_="lane", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=str(y), y2=str(y)),
            element("text", short, x=8, y=str(y + 4)),
        )
    )


def _thread(marks: Sequence[Mark], lanes: Sequence[str]) -> Markup:
    points = " ".join(f"{_x(mark, marks)},{_y(mark, lanes)}" for mark in marks)
    return element("polyline", class_="thread", points=points)


def _breaks(marks: Sequence[Mark], lanes: Sequence[str]) -> list[Markup]:
    bottom = _TOP + _LANE * len(lanes)
    drawn = []
    for number, (mark, _) in enumerate(changes(marks)[-_MOST_BREAKS:], start=1):
        x = _x(mark, marks)
        y = 11 if number % 2 else 23
        drawn.append(element("line", class_="break", x1=str(x), x2=str(x), y1=_TOP - 4, y2=bottom))
        drawn.append(element("text", str(number), class_="said", x=str(x), y=y, text_anchor="middle"))
    return drawn


def _mark(mark: Mark, marks: Sequence[Mark], lanes: Sequence[str]) -> Markup:
    x, y = _x(mark, marks), _y(mark, lanes)
    verdict = "approved" if mark.approved else "withheld"
    title = element("title", f"{mark.version}, {mark.time:%Y-%m-%d}, {mark.publisher}: {verdict}")
    if mark.approved:
        return element("circle", title, class_="mark approved", cx=str(x), cy=str(y), r=5)
    cross = f"M{x - 6} {y - 6}L{x + 6} {y + 6}M{x - 6} {y + 6}L{x + 6} {y - 6}"
    return element("path", title, class_="mark withheld", d=cross)
