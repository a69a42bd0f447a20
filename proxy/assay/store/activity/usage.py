"""Usage record of one storage directory (`assay.ports.Usage`).

Notes stay in memory for at most a minute, and are then written in the thread of the database. All notes of one minute
get the time of the write. A crash loses at most this minute.

Everything that is read back is checked, because another program may have written the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from packaging.utils import is_normalized_name
from packaging.version import Version

from assay.ports import MAX_USED_PROJECTS, MAX_USED_VERSIONS, DescribedProject, ProjectSummary, SummaryKey, UsedProject
from assay.simple.fields import parse_version
from assay.simple.model import NormalizedName
from assay.store.activity.database import ActivityDatabase
from assay.store.activity.summaries import read_summary, write_summaries
from assay.store.activity.values import is_text, make_time
from assay.store.activity.write_behind import FLUSH_DELAY_SECONDS, WriteBehindRecord

_MAX_PENDING: Final = 100_000
"""Maximum number of notes in memory. Further notes are lost."""
_MAX_VERSION_ROWS: Final = 500_000
"""Maximum number of versions of all projects together."""
_MAX_SUMMARIES: Final = 20_000
"""Maximum number of summaries. A summary has at most about 4 kB."""
_MAX_VIEWS: Final = 100
_UPSERT_PROJECT: Final = (
    'INSERT INTO used_projects ("index", project, last_used) VALUES (?, ?, ?)'
    ' ON CONFLICT ("index", project) DO UPDATE SET last_used = excluded.last_used RETURNING id'
)
_VERSIONS: Final = (
    "SELECT version, last_used FROM used_versions WHERE project = ? ORDER BY last_used DESC, version LIMIT ?"
)
_VIEWS: Final = "SELECT view, last_used FROM used_views WHERE project = ? ORDER BY last_used DESC, view LIMIT ?"
_TABLES: Final = ("used_versions", "used_views", "summaries")
"""Tables with rows about a project."""
_Note: TypeAlias = tuple[str, NormalizedName, str, Version | None]
"""Index, project, view and version."""
_Notes: TypeAlias = tuple[set[_Note], int]
"""Notes, and the time of the write in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLimits:
    """Limits of a usage record."""

    projects: int = MAX_USED_PROJECTS
    versions_per_project: int = MAX_USED_VERSIONS
    versions: int = _MAX_VERSION_ROWS
    pending: int = _MAX_PENDING
    summaries: int = _MAX_SUMMARIES
    flush_delay_seconds: float = FLUSH_DELAY_SECONDS
    """Maximum time in seconds for which a note is only in memory."""


class UsageRecord(WriteBehindRecord[_Notes]):
    """Usage record in the database of activity.

    Args:
        database: the database. The owner closes it after this record.
        clock: returns the current time in UTC.
        limits: limits of the record; None: the default ones.
    """

    def __init__(
        self, database: ActivityDatabase, clock: Callable[[], datetime], limits: UsageLimits | None = None
    ) -> None:
        self._limits = limits or UsageLimits()
        super().__init__(database, clock, self._limits.flush_delay_seconds)
        self._noted: set[_Note] = set()

    def note(self, index: str, project: NormalizedName, *, view: str, version: Version | None = None) -> None:
        """Note that a client got a page or a file now, as `assay.ports.Usage` describes."""
        note = (index, project, view, version)
        if note in self._noted:  # most requests repeat one of the last minute
            return
        if len(self._noted) < self._limits.pending:
            self._noted.add(note)
        self._write_behind.schedule()

    async def list_used(self, since: datetime, *, limit: int = MAX_USED_PROJECTS) -> list[UsedProject]:
        """Return the projects that were used at `since` or later, the last used first."""
        await self.flush()
        now = self._clock()
        return await self._database.run(partial(_read_used, since=since, now=now, limit=limit), [])

    async def keep_summaries(self, summaries: Sequence[ProjectSummary]) -> frozenset[SummaryKey]:
        """Store summaries of projects that clients have used; return the keys of those that were stored."""
        await self.flush()
        write = partial(write_summaries, summaries=summaries, limit=self._limits.summaries)
        return await self._database.run(write, frozenset[SummaryKey]())

    async def list_described(self, view: str, since: datetime, *, limit: int) -> list[DescribedProject]:
        """Return the projects that were used in a view at `since` or later, with their summaries."""
        await self.flush()
        now = self._clock()
        read = partial(_read_described, view=view, since=since, now=now, limit=limit)
        return await self._database.run(read, list[DescribedProject]())

    async def list_seen(self, view: str, *, limit: int) -> list[NormalizedName]:
        """Return the names of the projects that were used in a view, the last used first, each once."""
        await self.flush()
        return await self._database.run(partial(_read_seen, view=view, limit=limit), list[NormalizedName]())

    def _take_notes(self) -> _Notes | None:
        noted, self._noted = self._noted, set()
        return (noted, int(self._clock().timestamp())) if noted else None

    def _write_notes(self, database: sqlite3.Connection, notes: _Notes) -> None:
        noted, now = notes
        _write(database, noted=noted, now=now, limits=self._limits)

    def _put_back(self, notes: _Notes) -> None:
        noted, _ = notes
        room = self._limits.pending - len(self._noted)
        self._noted.update(list(noted)[: max(room, 0)])


def _write(database: sqlite3.Connection, *, noted: Collection[_Note], now: int, limits: UsageLimits) -> None:
    ids: dict[tuple[str, str], int] = {}
    for index, project, view, version in noted:
        key = (index, project)
        if key not in ids:
            ((ids[key],),) = database.execute(_UPSERT_PROJECT, (*key, now)).fetchall()
        database.execute("INSERT OR REPLACE INTO used_views VALUES (?, ?, ?)", (ids[key], view, now))
        if version is not None:
            database.execute("INSERT OR REPLACE INTO used_versions VALUES (?, ?, ?)", (ids[key], str(version), now))
    _remove_surplus(database, ids.values(), limits)


def _remove_surplus(database: sqlite3.Connection, written: Iterable[int], limits: UsageLimits) -> None:
    """Remove the projects and versions beyond the limits that were used longest ago."""
    for project in written:
        database.execute(
            "DELETE FROM used_versions WHERE project = :project AND version NOT IN (SELECT version FROM used_versions"
            " WHERE project = :project ORDER BY last_used DESC, version LIMIT :kept)",
            {"project": project, "kept": limits.versions_per_project},
        )
    (projects,) = database.execute("SELECT count(*) FROM used_projects").fetchone()
    if projects > limits.projects:
        surplus = "SELECT id FROM used_projects ORDER BY last_used, id LIMIT ?"
        doomed = database.execute(surplus, (projects - limits.projects,)).fetchall()
        for table, column in (*((each, "project") for each in _TABLES), ("used_projects", "id")):
            database.executemany(f"DELETE FROM {table} WHERE {column} = ?", doomed)  # noqa: S608 - constants
    (versions,) = database.execute("SELECT count(*) FROM used_versions").fetchone()
    if versions > limits.versions:
        surplus = "SELECT project, version FROM used_versions ORDER BY last_used, project LIMIT ?"
        doomed = database.execute(surplus, (versions - limits.versions,)).fetchall()
        database.executemany("DELETE FROM used_versions WHERE project = ? AND version = ?", doomed)


def _read_used(database: sqlite3.Connection, *, since: datetime, now: datetime, limit: int) -> list[UsedProject]:
    rows = database.execute(
        'SELECT id, "index", project, last_used FROM used_projects WHERE last_used >= ?'
        " ORDER BY last_used DESC, project, id LIMIT ?",
        (int(since.timestamp()), limit),
    ).fetchall()
    return [made for row in rows if (made := _make_used(database, row, now)) is not None]


def _make_used(database: sqlite3.Connection, row: tuple[object, ...], now: datetime) -> UsedProject | None:
    """Return the project of a row; None if the row is not one that this module writes."""
    key, index, project, last_used = row
    last = make_time(last_used, now)
    if not is_text(index) or not is_text(project) or not is_normalized_name(project) or last is None:
        return None
    versions = database.execute(_VERSIONS, (key, MAX_USED_VERSIONS)).fetchall()
    views = database.execute(_VIEWS, (key, _MAX_VIEWS)).fetchall()
    return UsedProject(
        index=index,
        project=NormalizedName(project),
        last_used=last,
        versions={
            text: time for text, time in _select_valid_rows(versions, now).items() if parse_version(text) is not None
        },
        views=_select_valid_rows(views, now),
    )


def _read_seen(database: sqlite3.Connection, *, view: str, limit: int) -> list[NormalizedName]:
    rows = database.execute(
        "SELECT p.project FROM used_views v JOIN used_projects p ON p.id = v.project WHERE v.view = ?"
        " ORDER BY v.last_used DESC, p.project LIMIT ?",
        (view, limit),
    ).fetchall()
    return list(dict.fromkeys(NormalizedName(name) for (name,) in rows if is_text(name) and is_normalized_name(name)))


def _read_described(
    database: sqlite3.Connection, *, view: str, since: datetime, now: datetime, limit: int
) -> list[DescribedProject]:
    rows = database.execute(
        'SELECT p.id, p."index", p.project, v.last_used FROM used_views v JOIN used_projects p ON p.id = v.project'
        " WHERE v.view = ? AND v.last_used >= ? ORDER BY v.last_used DESC, p.project, p.id LIMIT ?",
        (view, int(since.timestamp()), limit),
    ).fetchall()
    return [
        DescribedProject(used=used, summary=read_summary(database, row[0], used, view, now))
        for row in rows
        if (used := _make_used(database, row, now)) is not None
    ]


def _select_valid_rows(rows: Iterable[tuple[object, object]], now: datetime) -> dict[str, datetime]:
    times = ((text, make_time(last_used, now)) for text, last_used in rows)
    return {text: time for text, time in times if is_text(text) and time is not None}
