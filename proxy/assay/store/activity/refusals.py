"""Record of refused requests in one storage directory (`assay.ports.Refusals`).

A refusal stays in memory for at most a minute, and is then written in the thread of the database. Daily numbers by rule
and reason are kept longer than the refusals themselves. Everything that is read back is checked.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Final, TypeAlias

from packaging.utils import is_normalized_name

from assay.ports import MAX_REFUSALS, RefusalCount, RefusalFilter, RefusedRequest
from assay.simple.fields import parse_sha256
from assay.simple.model import NormalizedName
from assay.store.activity.database import ActivityDatabase
from assay.store.activity.values import MAX_TEXT_CHARS, is_text, make_time
from assay.store.activity.write_behind import FLUSH_DELAY_SECONDS, WriteBehindRecord

_MAX_PENDING: Final = 5000
_MAX_COUNT_ROWS: Final = 50_000
_MAX_MESSAGE_CHARS: Final = 1000
_MAX_CODES: Final = 40
_MAX_COUNT: Final = 10**12
_CODE: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_COLUMNS: Final = "id, time, view, route, project, filename, sha256, rule, codes, message, user"
_INSERT: Final = (
    "INSERT INTO refusals (time, view, route, project, filename, sha256, rule, codes, message, user)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_COUNT: Final = (
    "INSERT INTO refusal_counts VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (day, view, rule, code) DO UPDATE SET count = count + excluded.count"
)
_CountKey: TypeAlias = tuple[int, str, str, str]
"""Ordinal of the day, view, rule and code."""
_Notes: TypeAlias = tuple[list[RefusedRequest], Counter[_CountKey]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalLimits:
    """Limits of a record of refusals."""

    refusals: int = MAX_REFUSALS
    pending: int = _MAX_PENDING
    """Maximum number of refusals in memory. If there are more in a minute, only the latest are kept."""
    count_rows: int = _MAX_COUNT_ROWS
    flush_delay_seconds: float = FLUSH_DELAY_SECONDS
    """Maximum time in seconds for which a refusal is only in memory."""


class RefusalRecord(WriteBehindRecord[_Notes]):
    """Record of refused requests in the database of activity.

    Args:
        database: the database. The owner closes it after this record.
        clock: returns the current time in UTC.
        limits: limits of the record; None: the default ones.
    """

    def __init__(
        self, database: ActivityDatabase, clock: Callable[[], datetime], limits: RefusalLimits | None = None
    ) -> None:
        self._limits = limits or RefusalLimits()
        super().__init__(database, clock, self._limits.flush_delay_seconds)
        self._noted = deque[RefusedRequest](maxlen=self._limits.pending)
        self._counts = Counter[_CountKey]()

    def note(self, refused: RefusedRequest) -> None:
        """Note a refusal, as `assay.ports.Refusals` describes."""
        self._noted.append(refused)
        key = (refused.time.date().toordinal(), refused.view, refused.rule or "", refused.codes[0])
        if key in self._counts or len(self._counts) < self._limits.pending:
            self._counts[key] += 1
        self._write_behind.schedule()

    async def find(self, wanted: RefusalFilter, *, limit: int, before: int | None = None) -> tuple[RefusedRequest, ...]:
        """Return the latest refusals that match a filter, the latest first."""
        await self.flush()
        read = partial(_read, wanted=wanted, limit=limit, before=before, now=self._clock())
        return await self._database.run(read, ())

    async def count_by_day(self, view: str, since: date) -> tuple[RefusalCount, ...]:
        """Return the numbers of refusals in a view since a day in UTC, in the order of days."""
        await self.flush()
        read = partial(_read_counts, view=view, since=since, until=self._clock().date())
        return await self._database.run(read, ())

    def _take_notes(self) -> _Notes | None:
        noted, counts = list(self._noted), self._counts
        self._noted.clear()
        self._counts = Counter()
        return (noted, counts) if noted else None

    def _write_notes(self, database: sqlite3.Connection, notes: _Notes) -> None:
        noted, counts = notes
        _write(database, noted=noted, counts=counts, limits=self._limits)

    def _put_back(self, notes: _Notes) -> None:
        noted, counts = notes
        later = list(self._noted)
        self._noted.clear()
        self._noted.extend((*noted, *later))
        self._counts.update(counts)


def _write(
    database: sqlite3.Connection,
    *,
    noted: Sequence[RefusedRequest],
    counts: Mapping[_CountKey, int],
    limits: RefusalLimits,
) -> None:
    database.executemany(_INSERT, [_make_row(each) for each in noted])
    database.executemany(
        _ADD_COUNT, [(day, view, _clean(rule), code, n) for (day, view, rule, code), n in counts.items()]
    )
    database.execute(
        "DELETE FROM refusals WHERE id <= (SELECT id FROM refusals ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (limits.refusals,),
    )
    database.execute(
        "DELETE FROM refusal_counts WHERE day <= (SELECT day FROM refusal_counts ORDER BY day DESC LIMIT 1 OFFSET ?)",
        (limits.count_rows,),
    )


def _make_row(refused: RefusedRequest) -> tuple[object, ...]:
    return (
        int(refused.time.timestamp()),
        refused.view,
        refused.route,
        refused.project,
        _clean(refused.filename),
        refused.sha256,
        None if refused.rule is None else _clean(refused.rule),
        f" {' '.join(refused.codes[:_MAX_CODES])} ",
        _clean(refused.message, _MAX_MESSAGE_CHARS),
        None if refused.user is None else _clean(refused.user),
    )


def _clean(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Return the text, shortened, without lone surrogates and NUL, which SQLite cannot store in a text."""
    return text[:max_chars].encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")[:max_chars]


def _read(
    database: sqlite3.Connection, *, wanted: RefusalFilter, limit: int, before: int | None, now: datetime
) -> tuple[RefusedRequest, ...]:
    views = list(wanted.views)
    conditions = [f"view IN ({', '.join('?' * len(views))})"]
    values: list[object] = [*views]
    code = None if wanted.code is None else f" {wanted.code} "
    for condition, value in (
        ("project = ?", wanted.project),
        ("rule = ?", wanted.rule),
        ("instr(codes, ?) > 0", code),
        ("user = ?", wanted.user),
        ("id < ?", before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(_clean(value) if isinstance(value, str) else value)
    query = f"SELECT {_COLUMNS} FROM refusals WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - constants
    rows = database.execute(query, (*values, limit)).fetchall()
    return tuple(made for row in rows if (made := _make_refused(row, now)) is not None)


def _make_refused(row: tuple[object, ...], now: datetime) -> RefusedRequest | None:
    """Return the refusal of a row; None if the row is not one that this module writes."""
    number, at, view, route, project, filename, sha256, rule, codes, message, user = row
    time = make_time(at, now)
    if (
        not isinstance(number, int)
        or time is None
        or not is_text(view)
        or not is_text(route)
        or not is_text(filename)
        or not isinstance(codes, str)
        or not isinstance(message, str)
    ):
        return None
    found = tuple(each for each in codes.split()[:_MAX_CODES] if _CODE.fullmatch(each))
    return (
        RefusedRequest(
            number=number,
            time=time,
            view=view,
            route=route,
            project=NormalizedName(project) if is_text(project) and is_normalized_name(project) else None,
            filename=filename,
            sha256=parse_sha256(sha256) if isinstance(sha256, str) else None,
            rule=rule if is_text(rule) else None,
            codes=found,
            message=message[:_MAX_MESSAGE_CHARS],
            user=user if is_text(user) else None,
        )
        if found
        else None
    )


def _read_counts(database: sqlite3.Connection, *, view: str, since: date, until: date) -> tuple[RefusalCount, ...]:
    rows = database.execute(
        "SELECT day, rule, code, count FROM refusal_counts WHERE view = ? AND day BETWEEN ? AND ?"
        " ORDER BY day, rule, code LIMIT ?",
        (view, since.toordinal(), until.toordinal(), _MAX_COUNT_ROWS),
    )
    return tuple(
        RefusalCount(date.fromordinal(day), rule, code, count)
        for day, rule, code, count in rows
        if isinstance(rule, str)
        and len(rule) <= MAX_TEXT_CHARS
        and isinstance(code, str)
        and _CODE.fullmatch(code)
        and isinstance(day, int)
        and isinstance(count, int)
        and 0 < count <= _MAX_COUNT
    )
