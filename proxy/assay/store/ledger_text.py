"""The ledger as text that a person can review and `diff`: one JSON object a line, in a stable order.

The first line names the format. Then, project by project, a line for the project with its serial, one for each file,
one for each establishment, one for each evidence digest. Refuses, when reading, every line that is not exactly so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

from assay.errors import LedgerError
from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity, HistoryChanges, ProjectHistory, SeenFile
from assay.simple.model import Sha256

HEADER_LINE = '{"assay-ledger": 1}'
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_LINE_CHARACTERS = 16_384
_MAX_SERIAL = 2**63 - 1


def encode_history(index: str, project: NormalizedName, history: ProjectHistory) -> Iterator[str]:
    """One project's history."""
    yield _encode_line("project", index, project, serial=history.serial)
    for filename, seen in sorted(history.files.items()):
        yield _encode_line(
            "file",
            index,
            project,
            filename=filename,
            sha256=seen.sha256,
            **{"first-seen": seen.first_seen.isoformat()},
            late=seen.late,
        )
    for one in sorted(history.established, key=lambda one: (one.filename, one.sha256, one.identity)):
        yield _encode_line(
            "established",
            index,
            project,
            filename=one.filename,
            sha256=one.sha256,
            **{"trust-root": one.identity.trust_root},
            issuer=one.identity.issuer,
            subject=one.identity.subject,
            logged=one.logged.isoformat(),
        )
    for sha256, document in sorted(history.evidence.items()):
        yield _encode_line("evidence", index, project, sha256=sha256, document=document)


def _encode_line(kind: str, index: str, project: str, **facts: object) -> str:
    return json.dumps({"kind": kind, "index": index, "project": project, **facts})


def read_changes(text: Iterable[str]) -> Iterator[tuple[str, NormalizedName, HistoryChanges]]:
    """Each project's changes, in the order of the text; a project whose lines are apart comes more than once.

    Raises:
        LedgerError: a line is not of the form that `encode_history` writes; says which.
    """
    numbered = ((number, line.rstrip("\r\n")) for number, line in enumerate(text, start=1))
    first = next(numbered, (1, ""))
    if first[1] != HEADER_LINE:
        raise LedgerError(f"line 1: expected {HEADER_LINE}, found {first[1][:80]!r}")
    facts = (_read_line(number, line) for number, line in numbered if line)
    for (index, project), group in groupby(facts, key=lambda fact: fact[0]):
        yield index, project, _merge_facts(tuple(found for _, found in group))


def _merge_facts(facts: tuple[_Fact, ...]) -> HistoryChanges:
    return HistoryChanges(
        serial=max((fact.serial for fact in facts if fact.serial is not None), default=None),
        files={name: seen for fact in reversed(facts) for name, seen in fact.files.items()},
        established=tuple(one for fact in facts for one in fact.established),
        evidence={sha256: document for fact in facts for sha256, document in fact.evidence.items()},
    )


_Fact = HistoryChanges
"""One line is the smallest change."""


def _read_line(number: int, line: str) -> tuple[tuple[str, NormalizedName], _Fact]:
    if len(line) > _MAX_LINE_CHARACTERS:
        raise LedgerError(f"line {number}: longer than {_MAX_LINE_CHARACTERS} characters")
    try:
        found = _LineFields(json.loads(line))
        index = found.take("index", _check_string)
        project = found.take("project", _check_project)
        fact = _READER_BY_KIND[found.take("kind", _check_kind)](found)
        found.reject_unread()
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"line {number}: {error}") from error
    return (index, project), fact


class _LineFields:
    """The keys of one line, each taken once."""

    def __init__(self, found: object) -> None:
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")  # noqa: TRY004 - one kind of error for a bad line
        self._unread: dict[str, Any] = dict(found)

    def take(self, key: str, check: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - the type is that of `check`
        """The checked value of a key that must be there."""
        if key not in self._unread:
            raise ValueError(f"{key!r} is missing")
        value = self._unread.pop(key)
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{key!r}: expected {error}, found {value!r:.80}") from error

    def reject_unread(self) -> None:
        """Refuse what nobody took."""
        if self._unread:
            raise ValueError(f"unknown keys {', '.join(sorted(map(repr, self._unread)))}")


def _read_project(line_fields: _LineFields) -> _Fact:
    return HistoryChanges(serial=line_fields.take("serial", _check_serial))


def _read_file(line_fields: _LineFields) -> _Fact:
    seen = SeenFile(
        sha256=line_fields.take("sha256", _check_sha256),
        first_seen=line_fields.take("first-seen", _check_time),
        late=line_fields.take("late", _check_bool),
    )
    return HistoryChanges(files={line_fields.take("filename", _check_string): seen})


def _read_established(line_fields: _LineFields) -> _Fact:
    identity = PublisherIdentity(
        trust_root=line_fields.take("trust-root", _check_string),
        issuer=line_fields.take("issuer", _check_string),
        subject=line_fields.take("subject", _check_string),
    )
    one = EstablishedIdentity(
        identity=identity,
        filename=line_fields.take("filename", _check_string),
        sha256=line_fields.take("sha256", _check_sha256),
        logged=line_fields.take("logged", _check_time),
    )
    return HistoryChanges(established=(one,))


def _read_evidence(line_fields: _LineFields) -> _Fact:
    return HistoryChanges(
        evidence={line_fields.take("sha256", _check_sha256): line_fields.take("document", _check_string)}
    )


_READER_BY_KIND: dict[str, Callable[[_LineFields], _Fact]] = {
    "project": _read_project,
    "file": _read_file,
    "established": _read_established,
    "evidence": _read_evidence,
}


def _check_string(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a string that is not empty")
    return value


def _check_kind(value: object) -> str:
    if value not in _READER_BY_KIND:
        raise ValueError(f"one of {', '.join(_READER_BY_KIND)}")
    return str(value)


def _check_project(value: object) -> NormalizedName:
    name = _check_string(value)
    if canonicalize_name(name) != name:
        raise ValueError("a normalised project name")
    return canonicalize_name(name)


def _check_sha256(value: object) -> Sha256:
    if not isinstance(value, str) or not _SHA256_HEX.fullmatch(value):
        raise ValueError("64 lower-case hexadecimal digits")
    return Sha256(value)


def _check_serial(value: object) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value <= _MAX_SERIAL):
        raise ValueError("a whole number or null")
    return value


def _check_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - as above
    return value


def _check_time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(_check_string(value))
    except ValueError as error:
        raise ValueError("a time with its offset from UTC") from error
    if time.tzinfo is None:
        raise ValueError("a time with its offset from UTC")
    return time.astimezone(UTC)
