"""Command ``assay ledger export|import|forget``: the ledger as text, and statements that facts no longer count.

The ledger has the facts that must never be lost: first digests, first sight, established publishers, highest serial.
Two exports can be compared line by line. ``forget`` deletes nothing: it adds a statement to the ledger. A running proxy
applies it within a second. ``import --replace`` adds such statements too.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from packaging.utils import canonicalize_name

from assay import telemetry
from assay.cli import EXIT_OK
from assay.cli.parsing.parser import check_reason
from assay.cli.progress import ProgressReport, track_items
from assay.cli.tables import escape_unprintable
from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError, LedgerTextError, NotFoundError, StorageError, StorageInUseError
from assay.gate.ledger_watch import announce_forgotten
from assay.ports import ForgottenKind, ForgottenNote, Ledger, Replacement
from assay.store.factory import check_url_option, open_ledger, open_ledger_beside, open_ledger_for_import
from assay.store.settings import DatabaseLogin, StorageSettings
from assay.telemetry.audit_trail import open_audit_trail

_MAX_LINE_CHARACTERS: Final = 2**20
"""Limit on what is read of a line at once. The ledger rejects lines that are far shorter."""
DATABASE_URL_VARIABLE: Final = "ASSAY_DATABASE_URL"
"""Environment variable with the URL of the shared database, for commands that need the role of the operator."""
_READ_ERRORS: Final = "surrogateescape"
"""Treatment of bytes that are not UTF-8: `_read_lines` refuses them by the number of their line."""
_PASSWORD_VARIABLE: Final = "PGPASSWORD"  # noqa: S105 - the name of a variable of PostgreSQL's programs
_DEFAULT_REPLACE_REASON: Final = "assay ledger import --replace"
_PLAIN_KINDS: Final = (
    ("publishers", ForgottenKind.PUBLISHERS),
    ("serial", ForgottenKind.SERIAL),
    ("first_seen", ForgottenKind.FIRST_SEEN),
)
"""Options without files, with the kinds of facts that they name."""
_FILE_KINDS: Final = (("digest", ForgottenKind.DIGEST), ("evidence", ForgottenKind.EVIDENCE))


def main(options: argparse.Namespace) -> int:
    """Export or import the ledger, or state that facts no longer count.

    A proxy may run during an export and during ``forget``. An import needs exclusive use of the storage directory; if
    the ledger is in a shared database, replicas may run. The service's role may not forget facts, so ``forget`` then
    needs the URL of another role.

    Raises:
        ConfigurationError: the configuration is invalid, the text file cannot be opened, or the ledger does not have
            the facts that the options name.
        StorageInUseError: the action is an import, and a proxy uses the storage directory.
        LedgerError: the ledger is unusable, or a line of the text is invalid.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    configuration = load_configuration(options.config, os.environ)
    storage = configuration.storage
    if options.action == "export":
        asyncio.run(_export(storage, options.file))
    elif options.action == "import":
        asyncio.run(_import(configuration, options))
    else:
        asyncio.run(_forget(configuration, options))
    return EXIT_OK


async def _export(storage: StorageSettings, path: Path | None) -> None:
    async with open_ledger(storage) as ledger:
        lines: list[str] = []
        with ProgressReport("lines read from the ledger") as report:
            async for line in ledger.export():
                lines.append(line)
                report(len(lines), None)
    if path is None:
        await asyncio.to_thread(_write_lines, sys.stdout, lines)
    else:
        with closing(await asyncio.to_thread(_open_text, path, "w")) as file:
            await asyncio.to_thread(_write_lines, file, lines)


async def _import(configuration: Configuration, options: argparse.Namespace) -> None:
    if options.reason is not None and not options.replace:
        raise ConfigurationError("--reason: expected only together with --replace")
    reason = check_reason(_DEFAULT_REPLACE_REASON if options.reason is None else options.reason)
    replacement = Replacement(at=datetime.now(UTC), reason=reason) if options.replace else None
    path: Path | None = options.file
    lines = _get_input() if path is None else await asyncio.to_thread(_open_text, path, "r")
    opened = open_ledger_for_import(
        configuration.storage, new_ledger=options.new_ledger, login=_get_login(configuration, options)
    )
    try:
        async with opened as ledger:
            try:
                found = await ledger.import_(track_items(_read_lines(lines), "lines read"), replacement=replacement)
            except LedgerTextError as error:
                raise LedgerTextError(f"{'standard input' if path is None else path}: {error}") from error
            await _audit(configuration, ledger, (await ledger.poll_forgotten()).unannounced)
    finally:
        if path is not None:
            lines.close()
    kept = f"for {found.conflicts} files, the ledger had another digest and keeps it"
    replaced = f"{found.replaced} statements that earlier facts no longer count"
    print(f"{found.projects} projects imported; {replaced if options.replace else kept}")


async def _forget(configuration: Configuration, options: argparse.Namespace) -> None:
    reason = check_reason(options.reason)
    what, filenames = _get_kind(options)
    login = _get_login(configuration, options)
    async with open_ledger_beside(configuration.storage, login=login) as ledger:
        try:
            notes = await ledger.forget(
                options.index,
                canonicalize_name(options.project),
                what,
                filenames=filenames,
                at=datetime.now(UTC),
                reason=reason,
            )
        except NotFoundError as error:
            raise ConfigurationError(f"{options.project} on the index {options.index}: {error}") from error
        await _audit(configuration, ledger, notes)
    for note in notes:
        name = "" if note.fact.filename is None else f" of {note.fact.filename}"
        print(
            f"{note.project} on {note.index}: forgot {note.fact.what}{escape_unprintable(name)}"
            f" ({escape_unprintable(note.fact.found)}; version {note.fact.version})"
        )


def _get_login(configuration: Configuration, options: argparse.Namespace) -> DatabaseLogin | None:
    """Return the role of the operator that the option or the environment names; None if neither does.

    Raises:
        ConfigurationError: the option is given, and the ledger is not in a database, or the option has a password.
    """
    given: str | None = options.database_url
    if given is not None and configuration.storage.shared is None:
        raise ConfigurationError("--database-url: expected only with [storage.shared]; the ledger is in the directory")
    if given is not None:
        check_url_option("--database-url", given)
    url = given or os.environ.get(DATABASE_URL_VARIABLE)
    return DatabaseLogin(url=url, password=os.environ.get(_PASSWORD_VARIABLE)) if url else None


def _get_kind(options: argparse.Namespace) -> tuple[ForgottenKind, Sequence[str]]:
    for name, kind in _FILE_KINDS:
        if (filenames := getattr(options, name)) is not None:
            return kind, filenames
    return next(kind for name, kind in _PLAIN_KINDS if getattr(options, name)), ()


async def _audit(configuration: Configuration, ledger: Ledger, notes: Sequence[ForgottenNote]) -> None:
    """Log statements and add them to the audit trail, unless a proxy writes the trail.

    The proxy then does both within a second. Without an audit trail, the proxy logs them, at the latest after its next
    start.
    """
    if configuration.audit.path is None or not notes:
        return
    try:
        async with open_audit_trail(configuration.audit, lambda: datetime.now(UTC)) as trail:
            await announce_forgotten(ledger, notes, trail)
    except StorageInUseError:
        return
    except StorageError as error:
        print(f"assay: the proxy must add this to the audit trail later: {error}", file=sys.stderr)


def _get_input() -> TextIO:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors=_READ_ERRORS)
    return sys.stdin


def _open_text(path: Path, mode: str) -> TextIO:
    try:
        errors = _READ_ERRORS if mode == "r" else "strict"
        opened: TextIO = path.open(mode, encoding="utf-8", errors=errors)  # type: ignore[assignment]  # text modes
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be opened: {error.strerror}") from error
    return opened


def _read_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line of more than 2**20 characters is divided.

    Raises:
        LedgerTextError: a line is not UTF-8.
    """
    number = 1
    try:
        while line := file.readline(_MAX_LINE_CHARACTERS):
            line.encode("utf-8")
            yield line
            number += 1
    except UnicodeError as error:
        raise LedgerTextError(f"line {number}: not UTF-8") from error


def _write_lines(file: TextIO, lines: list[str]) -> None:
    file.writelines(f"{line}\n" for line in lines)
    file.flush()
