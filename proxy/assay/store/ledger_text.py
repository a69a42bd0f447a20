"""The ledger as text that a person can review and `diff`: one JSON object a line, in a stable order.

The first line names the format. Then, project by project, a line for the project with its serial, one for each file,
one for each establishment, one for each evidence digest. Refuses, when reading, every line that is not exactly so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

from assay.errors import LedgerError
from assay.evidence import Identity
from assay.ports import Changes, Established, History, Seen
from assay.simple.model import Sha256

HEADER = '{"assay-ledger": 1}'
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_LINE = 16_384
_LARGEST_SERIAL = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import found."""

    projects: int
    conflicts: int
    """Filenames that the ledger already knew with another digest; it keeps its own."""


def lines(index: str, project: NormalizedName, history: History) -> Iterator[str]:
    """One project's history."""
    yield _line("project", index, project, serial=history.serial)
    for filename, seen in sorted(history.files.items()):
        yield _line(
            "file",
            index,
            project,
            filename=filename,
            sha256=seen.sha256,
            **{"first-seen": seen.first_seen.isoformat()},
            late=seen.late,
        )
    for one in sorted(history.established, key=lambda one: (one.filename, one.sha256, one.identity)):
        yield _line(
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
        yield _line("evidence", index, project, sha256=sha256, document=document)


def _line(kind: str, index: str, project: str, **facts: object) -> str:
    return json.dumps({"kind": kind, "index": index, "project": project, **facts})


def read(text: Iterable[str]) -> Iterator[tuple[str, NormalizedName, Changes]]:
    """Each project's changes, in the order of the text; a project whose lines are apart comes more than once.

    Raises:
        LedgerError: a line is not of the form that `lines` writes; says which.
    """
    numbered = ((number, line.rstrip("\r\n")) for number, line in enumerate(text, start=1))
    first = next(numbered, (1, ""))
    if first[1] != HEADER:
        raise LedgerError(f"line 1: expected {HEADER}, found {first[1][:80]!r}")
    facts = (_read_line(number, line) for number, line in numbered if line)
    for (index, project), group in groupby(facts, key=lambda fact: fact[0]):
        yield index, project, _changes(tuple(found for _, found in group))


def _changes(facts: tuple[_Fact, ...]) -> Changes:
    return Changes(
        serial=max((fact.serial for fact in facts if fact.serial is not None), default=None),
        files={name: seen for fact in reversed(facts) for name, seen in fact.files.items()},
        established=tuple(one for fact in facts for one in fact.established),
        evidence={sha256: document for fact in facts for sha256, document in fact.evidence.items()},
    )


_Fact = Changes
"""One line is the smallest change."""


def _read_line(number: int, line: str) -> tuple[tuple[str, NormalizedName], _Fact]:
    if len(line) > _LONGEST_LINE:
        raise LedgerError(f"line {number}: longer than {_LONGEST_LINE} characters")
    try:
        found = _Fields(json.loads(line))
        index = found.take("index", _string)
        project = found.take("project", _project)
        fact = _READERS[found.take("kind", _kind)](found)
        found.end()
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"line {number}: {error}") from error
    return (index, project), fact


class _Fields:
    """The keys of one line, each taken once."""

    def __init__(self, found: object) -> None:
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")  # noqa: TRY004 - one kind of error for a bad line
        self._left: dict[str, Any] = dict(found)

    def take(self, key: str, check: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - the type is that of `check`
        """The checked value of a key that must be there."""
        if key not in self._left:
            raise ValueError(f"{key!r} is missing")
        value = self._left.pop(key)
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{key!r}: expected {error}, found {value!r:.80}") from error

    def end(self) -> None:
        """Refuse what nobody took."""
        if self._left:
            raise ValueError(f"unknown keys {', '.join(sorted(map(repr, self._left)))}")


def _read_project(found: _Fields) -> _Fact:
    return Changes(serial=found.take("serial", _serial))


def _read_file(found: _Fields) -> _Fact:
    seen = Seen(
        sha256=found.take("sha256", _sha256), first_seen=found.take("first-seen", _time), late=found.take("late", _flag)
    )
    return Changes(files={found.take("filename", _string): seen})


def _read_established(found: _Fields) -> _Fact:
    identity = Identity(
        trust_root=found.take("trust-root", _string),
        issuer=found.take("issuer", _string),
        subject=found.take("subject", _string),
    )
    one = Established(
        identity=identity,
        filename=found.take("filename", _string),
        sha256=found.take("sha256", _sha256),
        logged=found.take("logged", _time),
    )
    return Changes(established=(one,))


def _read_evidence(found: _Fields) -> _Fact:
    return Changes(evidence={found.take("sha256", _sha256): found.take("document", _string)})


_READERS: dict[str, Callable[[_Fields], _Fact]] = {
    "project": _read_project,
    "file": _read_file,
    "established": _read_established,
    "evidence": _read_evidence,
}


def _string(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a string that is not empty")
    return value


def _kind(value: object) -> str:
    if value not in _READERS:
        raise ValueError(f"one of {', '.join(_READERS)}")
    return str(value)


def _project(value: object) -> NormalizedName:
    name = _string(value)
    if canonicalize_name(name) != name:
        raise ValueError("a normalised project name")
    return canonicalize_name(name)


def _sha256(value: object) -> Sha256:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("64 lower-case hexadecimal digits")
    return Sha256(value)


def _serial(value: object) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value <= _LARGEST_SERIAL):
        raise ValueError("a whole number or null")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - as above
    return value


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(_string(value))
    except ValueError as error:
        raise ValueError("a time with its offset from UTC") from error
    if time.tzinfo is None:
        raise ValueError("a time with its offset from UTC")
    return time.astimezone(UTC)
