"""SVG timeline of a project's releases: one lane for each publisher, time from left to right. Pure.

Changes of publisher and losses of provenance are marked and numbered. Colour is never the only sign: shapes, lanes and
text say the same. Horizontal positions are percentages of the available width, and the picture is not scaled. Its text
therefore has the same size on every screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from packaging.version import Version

from assay.evidence import Attested, Evidence, Forged, Unstated, Unverifiable
from assay.policy.verdict import Approved, Withheld
from assay.publishers.release_provenance import get_publication_time
from assay.publishers.signers import get_signer_name
from assay.web.ui.markup import Markup, element, join_markup

NO_ATTESTATION: Final = "no attestation"
FORGED: Final = "forged"
UNVERIFIABLE: Final = "not verifiable"
UNSTATED: Final = "unknown"
UNEXAMINED: Final = "not examined"
_UNPROVEN: Final = frozenset({NO_ATTESTATION, FORGED, UNVERIFIABLE})
LABELS_WITHOUT_PUBLISHER: Final = _UNPROVEN | {UNSTATED, UNEXAMINED}
"""Labels that `get_publisher_label` returns if no publisher is proven."""
_OTHER_PUBLISHERS: Final = "other publishers"
_MAX_LANES: Final = 8
_MAX_MARKS: Final = 300
_MAX_CHANGES: Final = 12
_TOP_PIXELS, _LANE_PIXELS, _LANE_LINE_OFFSET_PIXELS, _BOTTOM_PIXELS = 26, 50, 26, 26
"""Heights in pixels: space above the lanes, one lane, part of a lane above its line, space below the lanes."""
_LEFT_PERCENT, _RIGHT_PERCENT = 2.5, 97.5
"""Horizontal positions of the first release and of the last release, in per cent of the width."""
_CHARACTER_WIDTH_PERCENT, _LABEL_GAP_PERCENT = 0.75, 1.0
"""In per cent of the width: the estimated width of one character of a version label, and the minimum gap between two
labels."""
_MAX_PUBLISHER_CHARS = 40
_MAX_VERSION_CHARS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseMark:
    """Mark on the timeline. It stands for all files of one version that have the same publisher."""

    version: Version
    publisher: str
    """Name of the publisher, or a label such as `NO_ATTESTATION` (see `get_publisher_label`)."""
    time: datetime
    """Publication time of the earliest file for which the mark stands."""
    approved: bool
    """True if all files for which the mark stands are approved."""


def get_publisher_label(evidence: Evidence | None) -> str:
    """Return the name of the publisher that the evidence proves, or a label such as "no attestation"."""
    match evidence:
        case Attested(provenance=(first, *_)):
            return get_signer_name(first.claims)
        case Forged():
            return FORGED
        case Unverifiable():
            return UNVERIFIABLE
        case Unstated():
            return UNSTATED
        case None:
            return UNEXAMINED
        case _:
            return NO_ATTESTATION


def collect_marks(verdicts: Iterable[Approved | Withheld]) -> list[ReleaseMark]:
    """Return the marks of the timeline, one for each version and publisher: at most the newest 300, oldest first.

    Files without a version or a publication time are skipped. The publication time of an attested file is the earliest
    log time of its attestations. For any other file it is the upload time that the index states.
    """
    found: dict[tuple[Version, str], ReleaseMark] = {}
    for verdict in verdicts:
        time = get_publication_time(verdict.evidence, verdict.file.upload_time)
        if verdict.file.distribution is None or time is None:
            continue
        version, publisher = verdict.file.distribution.version, get_publisher_label(verdict.evidence)
        known = found.get((version, publisher))
        approved = isinstance(verdict, Approved)
        found[version, publisher] = ReleaseMark(
            version=version,
            publisher=publisher,
            time=time if known is None else min(time, known.time),
            approved=approved and (known is None or known.approved),
        )
    return sorted(found.values(), key=lambda mark: (mark.time, mark.version))[-_MAX_MARKS:]


def render_timeline(marks: Sequence[ReleaseMark]) -> Markup:
    """Return the timeline as SVG, or empty markup if there are no marks."""
    if not marks:
        return Markup()
    lanes = _assign_lanes(marks)
    height = _TOP_PIXELS + _LANE_PIXELS * len(lanes) + _BOTTOM_PIXELS
    title = f"Releases by publisher, {marks[0].time:%Y-%m-%d} to {marks[-1].time:%Y-%m-%d}"
    return element(
        "div",
        element(
            "svg",
            element("title", title, id="timeline-title"),
            element("desc", _summarize_marks(marks), id="timeline-desc"),
            *(_render_lane(name, row) for row, name in enumerate(lanes)),
            *_render_thread(marks, lanes),
            *_render_changes(marks, lanes),
            *(_render_mark(mark, marks, lanes) for mark in marks),
            *_render_version_labels(marks, lanes),
            element("text", f"{marks[0].time:%Y-%m-%d}", class_="soft", x="0", y=height - 4),
            element("text", f"{marks[-1].time:%Y-%m-%d}", class_="soft", x="100%", y=height - 4, text_anchor="end"),
            class_="timeline",
            role="img",
            aria_labelledby="timeline-title timeline-desc",
            height=height,
        ),
        class_="picture",
    )


def find_publisher_changes(marks: Sequence[ReleaseMark]) -> list[tuple[ReleaseMark, str]]:
    """Return the marks at which the publisher changes or provenance is lost, each with a caption.

    Args:
        marks: marks in order of time. Marks of files that were not examined, and of files about which the
            index says nothing, are skipped, because they prove no change.
    """
    changes: list[tuple[ReleaseMark, str]] = []
    proven: dict[str, None] = {}
    """Publishers proven so far. The last key is the most recent one."""
    previous: str | None = None
    for mark in marks:
        if mark.publisher in {UNEXAMINED, UNSTATED}:
            continue
        if caption := _describe_change(mark, list(proven), previous):
            changes.append((mark, caption))
        if mark.publisher not in _UNPROVEN:
            proven.pop(mark.publisher, None)
            proven[mark.publisher] = None
        previous = mark.publisher
    return changes


def _describe_change(
    mark: ReleaseMark, earlier_publishers: Sequence[str], previous_publisher: str | None
) -> str | None:
    version, publisher, last = mark.version, mark.publisher, earlier_publishers[-1] if earlier_publishers else None
    if publisher in _UNPROVEN:
        return f"provenance lost in {version}: {publisher}" if last is not None and previous_publisher == last else None
    if last is None:
        return None if previous_publisher is None else f"attested from {version} on, by {publisher}"
    if last != publisher and publisher in earlier_publishers:
        return f"back to an earlier publisher from {version} on: {publisher}"
    if last != publisher:
        return f"another publisher from {version} on: {publisher}"
    return f"attested again from {version} on, by {publisher}" if previous_publisher != last else None


def render_legend(marks: Sequence[ReleaseMark]) -> Markup:
    """Return an explanation of the shapes, followed by the numbered list of the changes marked on the timeline."""
    listed = find_publisher_changes(marks)[-_MAX_CHANGES:]
    shapes = "A dot is a release whose files are all approved. A cross is a release with withheld files."
    items = (element("li", f"{mark.time:%Y-%m-%d}: {caption}") for mark, caption in listed)
    return join_markup((element("p", shapes, class_="soft"), element("ol", *items) if listed else None))


def _summarize_marks(marks: Sequence[ReleaseMark]) -> str:
    captions = "; ".join(caption for _, caption in find_publisher_changes(marks)[-_MAX_CHANGES:])
    return f"{len(marks)} releases. {captions or 'No change of publisher.'}"


def _assign_lanes(marks: Sequence[ReleaseMark]) -> list[str]:
    names = list(dict.fromkeys(mark.publisher for mark in marks))
    if len(names) <= _MAX_LANES:
        return names
    # The publishers that appeared last keep their own lanes, so that a new publisher is visible.
    return [*names[-_MAX_LANES + 1 :], _OTHER_PUBLISHERS]


def _compute_x_percent(mark: ReleaseMark, marks: Sequence[ReleaseMark]) -> float:
    span = (marks[-1].time - marks[0].time).total_seconds()
    part = (mark.time - marks[0].time).total_seconds() / span if span else 0.5
    return round(_LEFT_PERCENT + part * (_RIGHT_PERCENT - _LEFT_PERCENT), 2)


def _find_lane_row(mark: ReleaseMark, lanes: Sequence[str]) -> int:
    return lanes.index(mark.publisher) if mark.publisher in lanes else len(lanes) - 1


def _compute_y_pixels(row: int) -> int:
    return _TOP_PIXELS + _LANE_PIXELS * row + _LANE_LINE_OFFSET_PIXELS


def _render_lane(name: str, row: int) -> Markup:
    y = _compute_y_pixels(row)
    short = name if len(name) <= _MAX_PUBLISHER_CHARS else f"{name[:_MAX_PUBLISHER_CHARS]}…"
    return join_markup(
        (
            element("line", class_="lane", x1="0", x2="100%", y1=y, y2=y),
            element("text", short, class_="soft", x="0", y=y - 12),
        )
    )


def _render_thread(marks: Sequence[ReleaseMark], lanes: Sequence[str]) -> list[Markup]:
    places = [(f"{_compute_x_percent(mark, marks)}%", _compute_y_pixels(_find_lane_row(mark, lanes))) for mark in marks]
    return [element("line", class_="thread", x1=x1, y1=y1, x2=x2, y2=y2) for (x1, y1), (x2, y2) in pairwise(places)]


def _render_changes(marks: Sequence[ReleaseMark], lanes: Sequence[str]) -> list[Markup]:
    drawn = []
    for number, (mark, _) in enumerate(find_publisher_changes(marks)[-_MAX_CHANGES:], start=1):
        x = f"{_compute_x_percent(mark, marks)}%"
        y = 10 if number % 2 else 22
        drawn.append(
            element("line", class_="break", x1=x, x2=x, y1=y + 4, y2=_compute_y_pixels(_find_lane_row(mark, lanes)) - 8)
        )
        drawn.append(element("text", str(number), class_="change", x=x, y=y, text_anchor="middle"))
    return drawn


def _render_mark(mark: ReleaseMark, marks: Sequence[ReleaseMark], lanes: Sequence[str]) -> Markup:
    x, y = f"{_compute_x_percent(mark, marks)}%", _compute_y_pixels(_find_lane_row(mark, lanes))
    verdict = "approved" if mark.approved else "withheld"
    title = element("title", f"{mark.version}, {mark.time:%Y-%m-%d}, {mark.publisher}: {verdict}")
    if mark.approved:
        return element("circle", title, class_="mark approved", cx=x, cy=y, r=5)
    cross = element("path", title, class_="mark withheld", d="M-6 -6L6 6M-6 6L6 -6")
    # The coordinates of a path cannot be percentages, but the position of a nested svg element can.
    return element("svg", cross, x=x, y=y, overflow="visible")


def _render_version_labels(marks: Sequence[ReleaseMark], lanes: Sequence[str]) -> list[Markup]:
    """Return the version labels below the marks, without labels that would overlap the label of a newer version."""
    taken: dict[int, float] = {}
    drawn = []
    for mark in reversed(marks):
        x, row, label = (
            _compute_x_percent(mark, marks),
            _find_lane_row(mark, lanes),
            _shorten_version(str(mark.version)),
        )
        half = len(label) * _CHARACTER_WIDTH_PERCENT / 2
        if x + half + _LABEL_GAP_PERCENT <= taken.get(row, 200.0):
            taken[row] = x - half
            y = _compute_y_pixels(row) + 19
            drawn.append(element("text", label, class_="version", x=f"{x}%", y=y, text_anchor="middle"))
    return drawn


def _shorten_version(version: str) -> str:
    return version if len(version) <= _MAX_VERSION_CHARS else f"{version[:_MAX_VERSION_CHARS]}…"
