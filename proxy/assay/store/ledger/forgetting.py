"""Rules by which facts of the ledger no longer count (`assay.ports.ForgottenFact`). Pure.

A statement never changes or deletes a fact. A fact has the version of the last statement that existed when the fact was
written. A statement applies to facts with a lower version:

- Digest, evidence, serial: only to the value that the statement names.
- Publishers: only if the attestation was logged before the statement. The last statement decides.
- First sight: the file counts as seen at the time of the statement, and not as late. The last statement decides.
- Signers: to all signers of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from assay.errors import NotFoundError
from assay.ports import (
    EstablishedPublisher,
    FileSigner,
    ForgottenFact,
    ForgottenKind,
    HistoryChanges,
    ProjectHistory,
    Replacement,
    SeenFile,
)
from assay.simple.model import Sha256

_ALL_VERSIONS = -1
"""Version of a fact to which every statement applies."""
_MAX_LISTED = 10
"""Maximum number of publishers that a summary names."""


class Forgetting:
    """Statements about one project, indexed by what they apply to."""

    def __init__(self, rows: Iterable[ForgottenFact]) -> None:
        self._digests: dict[tuple[str | None, Sha256 | None], int] = {}
        self._documents: dict[tuple[Sha256 | None, str], int] = {}
        self._serials: dict[str, int] = {}
        self._signers: dict[str | None, int] = {}
        self._times: dict[str | None, ForgottenFact] = {}
        self._publishers: ForgottenFact | None = None
        for row in rows:
            self._add(row)

    def _add(self, row: ForgottenFact) -> None:
        match row.what:
            case ForgottenKind.DIGEST:
                self._digests[row.filename, row.sha256] = row.version
            case ForgottenKind.EVIDENCE:
                self._documents[row.sha256, row.found] = row.version
            case ForgottenKind.SERIAL:
                self._serials[row.found] = row.version
            case ForgottenKind.SIGNERS:
                self._signers[row.filename] = row.version
            case ForgottenKind.FIRST_SEEN:
                self._times[row.filename] = row
            case ForgottenKind.PUBLISHERS:
                self._publishers = row

    def counts_digest(self, filename: str, sha256: Sha256, version: int = _ALL_VERSIONS) -> bool:
        """Return whether a digest of a filename counts."""
        return version >= self._digests.get((filename, sha256), version)

    def counts_evidence(self, sha256: Sha256, document: str, version: int = _ALL_VERSIONS) -> bool:
        """Return whether the provenance document of a file counts."""
        return version >= self._documents.get((sha256, document), version)

    def counts_serial(self, serial: int | None, version: int = _ALL_VERSIONS) -> bool:
        """Return whether a serial counts."""
        return version >= self._serials.get(str(serial), version)

    def counts_signer(self, signer: FileSigner, version: int = _ALL_VERSIONS) -> bool:
        """Return whether a signer counts."""
        return version >= self._signers.get(signer.filename, version)

    def counts_publisher(self, publisher: EstablishedPublisher, version: int = _ALL_VERSIONS) -> bool:
        """Return whether an established publisher counts."""
        row = self._publishers
        return row is None or version >= row.version or publisher.logged > row.at

    def adjust_time(self, filename: str, seen: SeenFile, version: int = _ALL_VERSIONS) -> SeenFile:
        """Return an entry of the ledger with the first sight that counts."""
        rows = [row for row in (self._times.get(None), self._times.get(filename)) if row is not None]
        row = max(rows, key=lambda each: each.version, default=None)
        if row is None or version >= row.version:
            return seen
        # Marked as corrected, because the clock's correction would change the time that no longer counts.
        return replace(seen, first_seen=row.at, late=False, corrected=True)

    def filter_changes(self, changes: HistoryChanges) -> HistoryChanges:
        """Return `changes` without the facts that do not count."""
        counts_serial = self.counts_serial(changes.serial)
        return replace(
            changes,
            serial=changes.serial if counts_serial else None,
            serial_url=changes.serial_url if counts_serial else None,
            rollback_since=changes.rollback_since if counts_serial else None,
            files={
                name: self.adjust_time(name, seen)
                for name, seen in changes.files.items()
                if self.counts_digest(name, seen.sha256)
            },
            signers=tuple(one for one in changes.signers if self.counts_signer(one)),
            publishers=tuple(one for one in changes.publishers if self.counts_publisher(one)),
            evidence={
                sha256: document
                for sha256, document in changes.evidence.items()
                if self.counts_evidence(sha256, document)
            },
        )


def select_new_rows(history: ProjectHistory, rows: Sequence[ForgottenFact]) -> tuple[ForgottenFact, ...]:
    """Return those imported statements that the history does not have, with versions after the history's."""
    known = {_get_identity(row) for row in history.forgotten.rows}
    fresh = [row for row in sorted(rows, key=lambda row: row.version) if _get_identity(row) not in known]
    return number_rows(history, fresh)


def select_other_rows(history: ProjectHistory, rows: Sequence[ForgottenFact]) -> tuple[ForgottenFact, ...]:
    """Return those statements of the history that an import does not have. Older facts in it must not count again."""
    imported = {_get_identity(row) for row in rows}
    return tuple(row for row in history.forgotten.rows if _get_identity(row) not in imported)


def number_rows(history: ProjectHistory, rows: Iterable[ForgottenFact]) -> tuple[ForgottenFact, ...]:
    """Return new statements with versions after the history's, in their order."""
    first = history.forgotten.version + 1
    return tuple(replace(row, version=number) for number, row in enumerate(rows, start=first))


def _get_identity(row: ForgottenFact) -> ForgottenFact:
    return replace(row, version=0)


def make_rows(
    history: ProjectHistory, *, what: ForgottenKind, filenames: Sequence[str], at: datetime, reason: str
) -> tuple[ForgottenFact, ...]:
    """Return the statements by which facts of one kind no longer count.

    Args:
        history: facts of the project.
        what: kind of the facts.
        filenames: files, for the kinds `DIGEST`, `EVIDENCE` and `SIGNERS`.
        at: time of the statements.
        reason: reason for readers of the ledger.

    Raises:
        NotFoundError: the history has no such fact.
    """
    if not history.known:
        raise NotFoundError("the ledger has no facts about this project")
    row = ForgottenFact(what=what, version=0, at=at, reason=reason)
    match what:
        case ForgottenKind.SERIAL:
            if history.serial is None:
                raise NotFoundError("the ledger has no serial of this project")
            rows = [replace(row, found=str(history.serial))]
        case ForgottenKind.PUBLISHERS:
            if not history.publishers and not history.signers:
                raise NotFoundError("the ledger has no publisher of this project")
            rows = [replace(row, found=describe_publishers(history.publishers))]
        case ForgottenKind.FIRST_SEEN:
            if not history.files:
                raise NotFoundError("the ledger has no file of this project")
            rows = [replace(row, found=f"{len(history.files)} files")]
        case _:
            rows = [_make_file_row(history, row, filename) for filename in dict.fromkeys(filenames)]
    return number_rows(history, rows)


def _make_file_row(history: ProjectHistory, row: ForgottenFact, filename: str) -> ForgottenFact:
    seen = history.files.get(filename)
    if seen is None:
        raise NotFoundError(f"the ledger has no file {filename!r} of this project")
    if row.what is ForgottenKind.DIGEST:
        return replace(row, filename=filename, sha256=seen.sha256, found=seen.sha256)
    if row.what is ForgottenKind.SIGNERS:
        return replace(row, filename=filename, found=f"signers of {seen.sha256}")
    if (document := history.evidence.get(seen.sha256)) is None:
        raise NotFoundError(f"the ledger has no provenance document of {filename!r}")
    return replace(row, filename=filename, sha256=seen.sha256, found=document)


def make_replacing_rows(
    history: ProjectHistory, changes: HistoryChanges, replacement: Replacement
) -> tuple[ForgottenFact, ...]:
    """Return the statements by which only the facts in `changes` count, for each kind of fact that `changes` contain.

    Args:
        history: facts of the project.
        changes: facts of an import.
        replacement: time and reason of the statements.
    """
    if not history.known:
        return ()
    row = ForgottenFact(what=ForgottenKind.SERIAL, version=0, at=replacement.at, reason=replacement.reason)
    rows: list[ForgottenFact] = []
    serial = (history.serial, history.serial_url, history.rollback_since)
    is_replaced = changes.replaces_serial and serial != (changes.serial, changes.serial_url, changes.rollback_since)
    if history.serial is not None and is_replaced:
        rows.append(replace(row, found=str(history.serial)))
    if set(history.publishers) != set(changes.publishers) and history.publishers:
        found = describe_publishers(history.publishers)
        rows.append(replace(row, what=ForgottenKind.PUBLISHERS, found=found))
    signers = [_group_signers(history.signers), _group_signers(changes.signers)]
    by_digest: dict[Sha256, str] = {}
    for filename, entry in changes.files.items():
        by_digest.setdefault(entry.sha256, filename)
        if (known := history.files.get(filename)) is not None:
            by_digest.setdefault(known.sha256, filename)
            rows += _make_replacing_file_rows(replace(row, filename=filename), known, entry)
        if signers[0].get(filename) and signers[0][filename] != signers[1].get(filename):
            found = f"{len(signers[0][filename])} signers"
            rows.append(replace(row, what=ForgottenKind.SIGNERS, filename=filename, found=found))
    for sha256, filename in by_digest.items():
        document = history.evidence.get(sha256)
        if document is not None and document != changes.evidence.get(sha256):
            what = ForgottenKind.EVIDENCE
            rows.append(replace(row, what=what, filename=filename, sha256=sha256, found=document))
    return number_rows(history, rows)


def _make_replacing_file_rows(row: ForgottenFact, known: SeenFile, entry: SeenFile) -> list[ForgottenFact]:
    if known.sha256 != entry.sha256:
        return [replace(row, what=ForgottenKind.DIGEST, sha256=known.sha256, found=known.sha256)]
    if known != entry:
        return [replace(row, what=ForgottenKind.FIRST_SEEN, found=known.first_seen.isoformat())]
    return []


def _group_signers(signers: Iterable[FileSigner]) -> dict[str, set[FileSigner]]:
    found: dict[str, set[FileSigner]] = {}
    for signer in signers:
        found.setdefault(signer.filename, set()).add(signer)
    return found


def drop_replaced_files(history: ProjectHistory, rows: Iterable[ForgottenFact]) -> ProjectHistory:
    """Return a history without the entries of files whose first sight `rows` replace, so that new ones are written."""
    replaced = {row.filename for row in rows if row.what is ForgottenKind.FIRST_SEEN}
    return replace(history, files={name: seen for name, seen in history.files.items() if name not in replaced})


def describe_publishers(publishers: Sequence[EstablishedPublisher]) -> str:
    """Return a summary of publishers, of limited length."""
    names = sorted(f"{one.identity.issuer} {one.identity.subject}"[:200] for one in publishers)
    more = [f"and {len(names) - _MAX_LISTED} more"] if len(names) > _MAX_LISTED else []
    return "; ".join([*names[:_MAX_LISTED], *more]) or "publishers that were not established yet"
