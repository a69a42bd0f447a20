"""Recent refusals and hidden versions of a view, for its home page. Pure.

The refusals come from the record of refused requests, and the hidden versions from the judged pages in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from assay.gate.hidden_versions import HiddenReport, HiddenVersion, Hiding
from assay.policy.reasons import reasons_to_json
from assay.ports import RefusedRequest
from assay.simple.model import NormalizedName

MAX_SEARCHED: Final = 100
"""Maximum number of recorded refusals among which the recent ones are searched. Installers repeat a refused request."""
_MAX_RECENT: Final = 8
"""Maximum number of entries, so that the home page is short on a phone. ``/refusals`` has all recorded refusals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRefusal:
    """Refused request for a withheld file, or requested page that hides a version."""

    time: datetime
    event: str
    """Words for the event."""
    project: NormalizedName | None
    """Project of the file; None if its filename is invalid."""
    filename: str
    """Filename as the index lists it. It may contain any characters."""
    rule: str | None
    code: str
    message: str
    """Message of the first reason."""


def list_recent(refused: Iterable[RefusedRequest], reports: Iterable[HiddenReport]) -> tuple[RecentRefusal, ...]:
    """Return the recent refusals and the hidden versions of requested pages, the latest first.

    Args:
        refused: recorded refusals, the latest first. Of each file, only the latest is used.
        reports: hidden versions of judged pages. Those of a page that was not requested are left out.
    """
    latest: dict[tuple[object, ...], RefusedRequest] = {}
    for each in refused:
        latest.setdefault((each.project, each.filename, each.sha256), each)
    hidden = [
        _describe_hidden(version, report.logged_at)
        for report in reports
        if report.logged_at is not None
        for version in report.versions
    ]
    recent = sorted([*map(_describe_refused, latest.values()), *hidden], key=lambda each: each.time, reverse=True)
    return tuple(recent[:_MAX_RECENT])


def _describe_refused(refused: RefusedRequest) -> RecentRefusal:
    return RecentRefusal(
        time=refused.time,
        event="request refused",
        project=refused.project,
        filename=refused.filename,
        rule=refused.rule,
        code=refused.codes[0],
        message=refused.message,
    )


def _describe_hidden(hidden: HiddenVersion, time: datetime) -> RecentRefusal:
    if hidden.hiding is Hiding.NEWEST:
        event = f"newest version {hidden.version} withheld"
    else:
        event = f"wheels of {hidden.version} withheld, only an sdist is left"
    file, reason = hidden.withheld.file, reasons_to_json(hidden.withheld)[0]
    return RecentRefusal(
        time=time,
        event=event,
        project=None if file.distribution is None else file.distribution.project,
        filename=file.filename,
        rule=hidden.withheld.rule,
        code=reason["code"],
        message=reason["message"],
    )
