"""Text format of the ledger for review and `diff`: one JSON object per line, in a stable order.

The first line names the format. Each project has a line with its serial, then one for each statement that facts no
longer count, each file, each signer of a file, each established publisher and each evidence digest. Facts that no
longer count have no line; the statements name them. The reader rejects every line that does not have exactly this form.

The reader also accepts earlier formats. Format 2 has no statements. In format 1, moreover, the line of a signer has the
kind ``established``, and publishers have no lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeAlias

from packaging.utils import NormalizedName, canonicalize_name

from assay.errors import LedgerTextError
from assay.evidence import PublisherIdentity
from assay.ports import (
    EstablishedPublisher,
    FileSigner,
    ForgottenFact,
    ForgottenKind,
    HistoryChanges,
    ProjectHistory,
    SeenFile,
)
from assay.simple.model import Sha256

HEADER_LINE = '{"assay-ledger": 3}'
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_LINE_CHARACTERS = 16_384
_MAX_SERIAL = 2**63 - 1


def encode_history(index: str, project: NormalizedName, history: ProjectHistory) -> Iterator[str]:
    """Yield the lines of one project's history."""
    since = history.rollback_since
    yield _encode_line(
        "project",
        index,
        project,
        serial=history.serial,
        **({} if history.serial_url is None else {"serial-url": history.serial_url}),
        **({} if since is None else {"rollback-since": since.isoformat()}),
    )
    for row in history.forgotten.rows:
        yield _encode_line(
            "forgotten",
            index,
            project,
            version=row.version,
            what=row.what.value,
            **({} if row.filename is None else {"filename": row.filename}),
            **({} if row.sha256 is None else {"sha256": row.sha256}),
            found=row.found,
            at=row.at.isoformat(),
            reason=row.reason,
        )
    for filename, seen in sorted(history.files.items()):
        yield _encode_line(
            "file",
            index,
            project,
            filename=filename,
            sha256=seen.sha256,
            **{"first-seen": seen.first_seen.isoformat()},
            late=seen.late,
            **({"corrected": True} if seen.corrected else {}),
        )
    for one in sorted(history.signers, key=lambda one: (one.filename, one.sha256, one.identity)):
        yield _encode_line(
            "signer",
            index,
            project,
            filename=one.filename,
            sha256=one.sha256,
            **{"trust-root": one.identity.trust_root},
            issuer=one.identity.issuer,
            subject=one.identity.subject,
            logged=one.logged.isoformat(),
        )
    for publisher in sorted(history.publishers, key=lambda one: one.identity):
        yield _encode_line(
            "publisher",
            index,
            project,
            **{"trust-root": publisher.identity.trust_root},
            issuer=publisher.identity.issuer,
            subject=publisher.identity.subject,
            logged=publisher.logged.isoformat(),
            existed=publisher.existed.isoformat(),
        )
    for sha256, document in sorted(history.evidence.items()):
        yield _encode_line("evidence", index, project, sha256=sha256, document=document)


def _encode_line(kind: str, index: str, project: str, **facts: object) -> str:
    return json.dumps({"kind": kind, "index": index, "project": project, **facts})


def read_changes(text: Iterable[str]) -> Iterator[tuple[str, NormalizedName, HistoryChanges]]:
    """Yield the changes of each project in the order of the text.

    `replaces_serial` is true if the lines contain the serial of the project, which may be null.

    The lines of a project must be consecutive. With ``--replace``, the facts of a later part would otherwise replace
    those of an earlier part, and the project would lose its publishers.

    Raises:
        LedgerTextError: a line does not have the form that `encode_history` writes, or the lines of a project are not
            consecutive.
    """
    numbered = ((number, line.rstrip("\r\n")) for number, line in enumerate(text, start=1))
    first = next(numbered, (1, ""))
    readers = _READERS_BY_HEADER.get(first[1])
    if readers is None:
        raise LedgerTextError(f"line 1: expected {HEADER_LINE}, found {first[1][:80]!r}")
    facts = (_read_line(number, line, readers) for number, line in numbered if line)
    read = set[tuple[str, NormalizedName]]()
    for (index, project), group in groupby(facts, key=lambda fact: fact.key):
        lines = tuple(group)
        if (index, project) in read:
            raise LedgerTextError(
                f"line {lines[0].number}: the lines of project {project:.100} on the index {index!r:.80} are not"
                " consecutive; do not sort an export"
            )
        read.add((index, project))
        yield index, project, _merge_facts(tuple(line.fact for line in lines))


def _merge_facts(facts: tuple[_Fact, ...]) -> HistoryChanges:
    highest = max(
        (fact for fact in facts if fact.serial is not None), key=lambda fact: fact.serial or 0, default=_Fact()
    )
    return HistoryChanges(
        serial=highest.serial,
        serial_url=highest.serial_url,
        replaces_serial=any(fact.replaces_serial for fact in facts),
        rollback_since=highest.rollback_since,
        files={name: seen for fact in reversed(facts) for name, seen in fact.files.items()},
        signers=tuple(one for fact in facts for one in fact.signers),
        publishers=tuple(one for fact in facts for one in fact.publishers),
        evidence={sha256: document for fact in facts for sha256, document in fact.evidence.items()},
        forgotten=tuple(row for fact in facts for row in fact.forgotten),
    )


_Fact = HistoryChanges
"""Fact of one line, in the form of changes to a history."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Fact of one line with its project."""

    number: int
    key: tuple[str, NormalizedName]
    fact: _Fact


def _read_line(number: int, line: str, readers: _Readers) -> _Line:
    if len(line) > _MAX_LINE_CHARACTERS:
        raise LedgerTextError(f"line {number}: longer than {_MAX_LINE_CHARACTERS} characters")
    try:
        found = _LineFields(json.loads(line))
        index = found.take("index", _check_string)
        project = found.take("project", _check_project)
        fact = readers[found.take("kind", partial(_check_kind, readers=readers))](found)
        found.reject_unread()
    except (ValueError, RecursionError) as error:
        raise LedgerTextError(f"line {number}: {error}") from error
    return _Line(number, (index, project), fact)


class _LineFields:
    """Keys and values of one line. Each key must be read exactly once; a key that was not read is an error."""

    def __init__(self, found: object) -> None:
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")  # noqa: TRY004 - all errors of a line are ValueError
        self._unread: dict[str, Any] = dict(found)

    def take(self, key: str, check: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - the type is that of `check`
        """Return the value of a required key after `check`.

        Raises:
            ValueError: the key is missing, or `check` rejects its value.
        """
        if key not in self._unread:
            raise ValueError(f"{key!r} is missing")
        value = self._unread.pop(key)
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{key!r}: expected {error}, found {value!r:.80}") from error

    def take_optional(self, key: str, check: Callable[[Any], Any], *, default: Any) -> Any:  # noqa: ANN401 - as above
        """Return the value of a key after `check`, or `default` if the key is missing.

        Raises:
            ValueError: `check` rejects the value.
        """
        return self.take(key, check) if key in self._unread else default

    def reject_unread(self) -> None:
        """Raise `ValueError` if a key was not read."""
        if self._unread:
            raise ValueError(f"unknown keys {', '.join(sorted(map(repr, self._unread)))}")


_Readers: TypeAlias = Mapping[str, Callable[[_LineFields], _Fact]]
"""Readers of lines, by the kind of line."""


def _read_project(line_fields: _LineFields) -> _Fact:
    return HistoryChanges(
        replaces_serial=True,
        serial=line_fields.take("serial", _check_serial),
        serial_url=line_fields.take_optional("serial-url", _check_string, default=None),
        rollback_since=line_fields.take_optional("rollback-since", _check_time, default=None),
    )


def _read_file(line_fields: _LineFields) -> _Fact:
    seen = SeenFile(
        sha256=line_fields.take("sha256", _check_sha256),
        first_seen=line_fields.take("first-seen", _check_time),
        late=line_fields.take("late", _check_bool),
        corrected=line_fields.take_optional("corrected", _check_bool, default=False),
    )
    return HistoryChanges(files={line_fields.take("filename", _check_string): seen})


def _read_identity(line_fields: _LineFields) -> PublisherIdentity:
    return PublisherIdentity(
        trust_root=line_fields.take("trust-root", _check_string),
        issuer=line_fields.take("issuer", _check_string),
        subject=line_fields.take("subject", _check_string),
    )


def _read_publisher(line_fields: _LineFields) -> _Fact:
    one = EstablishedPublisher(
        identity=_read_identity(line_fields),
        logged=line_fields.take("logged", _check_time),
        existed=line_fields.take("existed", _check_time),
    )
    return HistoryChanges(publishers=(one,))


def _read_signer(line_fields: _LineFields) -> _Fact:
    one = FileSigner(
        identity=_read_identity(line_fields),
        filename=line_fields.take("filename", _check_string),
        sha256=line_fields.take("sha256", _check_sha256),
        logged=line_fields.take("logged", _check_time),
    )
    return HistoryChanges(signers=(one,))


def _read_evidence(line_fields: _LineFields) -> _Fact:
    return HistoryChanges(
        evidence={line_fields.take("sha256", _check_sha256): line_fields.take("document", _check_string)}
    )


def _read_forgotten(line_fields: _LineFields) -> _Fact:
    row = ForgottenFact(
        what=line_fields.take("what", _check_what),
        version=line_fields.take("version", _check_version),
        at=line_fields.take("at", _check_time),
        reason=line_fields.take("reason", _check_string),
        found=line_fields.take("found", _check_string),
        filename=line_fields.take_optional("filename", _check_string, default=None),
        sha256=line_fields.take_optional("sha256", _check_sha256, default=None),
    )
    needed = {
        ForgottenKind.DIGEST: (True, True),
        ForgottenKind.EVIDENCE: (True, True),
        ForgottenKind.SIGNERS: (True, False),
        ForgottenKind.FIRST_SEEN: (row.filename is not None, False),
    }.get(row.what, (False, False))
    if (row.filename is not None, row.sha256 is not None) != needed:
        raise ValueError(f"'filename' and 'sha256' do not fit {row.what.value!r}")
    return HistoryChanges(forgotten=(row,))


_READER_BY_KIND_2: Final[_Readers] = {
    "project": _read_project,
    "file": _read_file,
    "signer": _read_signer,
    "publisher": _read_publisher,
    "evidence": _read_evidence,
}
_READERS_BY_HEADER: Final[Mapping[str, _Readers]] = {
    HEADER_LINE: {**_READER_BY_KIND_2, "forgotten": _read_forgotten},
    '{"assay-ledger": 2}': _READER_BY_KIND_2,
    '{"assay-ledger": 1}': {
        "project": _read_project,
        "file": _read_file,
        "established": _read_signer,
        "evidence": _read_evidence,
    },
}
"""Readers of each format, by its first line."""


def _check_string(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a string that is not empty")
    return value


def _check_kind(value: object, *, readers: _Readers) -> str:
    if value not in readers:
        raise ValueError(f"one of {', '.join(readers)}")
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


def _check_what(value: object) -> ForgottenKind:
    if value not in set(ForgottenKind):
        raise ValueError(f"one of {', '.join(ForgottenKind)}")
    return ForgottenKind(str(value))


def _check_version(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_SERIAL:
        raise ValueError("a whole number of at least 1")
    return value


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
