"""Rows with the summaries of judged pages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from packaging.version import Version

from assay.ports import MAX_SUMMARY_PUBLISHERS, MAX_SUMMARY_RELEASES, ProjectSummary, SummaryKey, UsedProject
from assay.store.activity.values import MAX_TEXT_CHARS, is_text, make_time

_MAX_BODY_CHARS: Final = 64 * 1024
_MAX_WORDS: Final = 6
_MAX_COUNT: Final = 10**9


def write_summaries(
    database: sqlite3.Connection, *, summaries: Iterable[ProjectSummary], limit: int
) -> frozenset[SummaryKey]:
    """Write the summaries of projects that are in the usage record; return their keys.

    Remove the summaries beyond `limit` that were made longest ago.
    """
    stored = set[SummaryKey]()
    for summary in summaries:
        query = 'SELECT id FROM used_projects WHERE "index" = ? AND project = ?'
        found = database.execute(query, (summary.index, summary.project)).fetchone()
        if found is not None:
            row = (found[0], summary.view, int(summary.judged_at.timestamp()), _encode_body(summary))
            database.execute("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?, ?)", row)
            stored.add(summary.key)
    (count,) = database.execute("SELECT count(*) FROM summaries").fetchone()
    if count > limit:
        surplus = "SELECT project, view FROM summaries ORDER BY judged, project, view LIMIT ?"
        doomed = database.execute(surplus, (count - limit,)).fetchall()
        database.executemany("DELETE FROM summaries WHERE project = ? AND view = ?", doomed)
    return frozenset(stored)


def read_summary(
    database: sqlite3.Connection, key: object, used: UsedProject, view: str, now: datetime
) -> ProjectSummary | None:
    """Return the summary of a project in a view; None if it has none or an invalid one."""
    query = "SELECT judged, body FROM summaries WHERE project = ? AND view = ?"
    found = database.execute(query, (key, view)).fetchone()
    if found is None:
        return None
    judged_at, body = make_time(found[0], now), _decode_body(found[1])
    if judged_at is None or body is None:
        return None
    return ProjectSummary(
        index=used.index,
        project=used.project,
        view=view,
        judged_at=judged_at,
        approved=_read_count(body.get("approved")),
        withheld=_read_count(body.get("withheld")),
        releases=_read_releases(body.get("releases")),
        publishers=tuple(_read_texts(body.get("publishers"), MAX_SUMMARY_PUBLISHERS)),
    )


def _encode_body(summary: ProjectSummary) -> str:
    versions = sorted(summary.releases, key=Version, reverse=True)[:MAX_SUMMARY_RELEASES]
    return json.dumps(
        {
            "approved": summary.approved,
            "withheld": summary.withheld,
            "releases": {each: summary.releases[each] for each in versions},
            "publishers": [name[:MAX_TEXT_CHARS] for name in summary.publishers[:MAX_SUMMARY_PUBLISHERS]],
        },
        separators=(",", ":"),
    )


def _decode_body(value: object) -> dict[str, Any] | None:
    if not is_text(value, _MAX_BODY_CHARS):
        return None
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _read_count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= _MAX_COUNT else 0


def _read_releases(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        return {}
    return {
        version: tuple(_read_texts(words, _MAX_WORDS))
        for version, words in list(value.items())[:MAX_SUMMARY_RELEASES]
        if is_text(version)
    }


def _read_texts(value: object, limit: int) -> list[str]:
    return [each for each in value[:limit] if is_text(each)] if isinstance(value, list) else []
