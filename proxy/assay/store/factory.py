"""Factory of the storage engine: a directory with diskcache and SQLite, or a storage that several replicas share.

The shared engine needs asyncpg and obstore, which may not be installed. Its modules are imported only if the settings
have the table `[storage.shared]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from assay.errors import ConfigurationError
from assay.ports import AuditHead, HostedStorage, Ledger, LocalStorage, RecordStore, Storage, Upstream
from assay.store import directory
from assay.store.hosted.index import HostingUpstream
from assay.store.hosted.migration import CopiedFiles
from assay.store.local.tier import open_shared_tier, utc_now
from assay.store.postgresql.address import parse_database_url
from assay.store.settings import DatabaseLogin, SharedSettings, StorageSettings
from assay.store.snapshot import copy_ledger, copy_records

if TYPE_CHECKING:
    from assay.store.postgresql.admin import DatabaseAdmin
    from assay.store.shared.connection_check import EngineCheck

_ADMIN_DEADLINE_SECONDS: Final = 60.0
"""Maximum duration of one statement of an operator's command. A migration may read a whole table."""
_OPTIONAL_PACKAGES: Final = frozenset({"asyncpg", "obstore"})


def add_hosted_indexes(upstream: Upstream, hosted: HostedStorage | None) -> Upstream:
    """Return connections to all indexes: to the hosted ones by their storage, and to the others by `upstream`."""
    return upstream if hosted is None else HostingUpstream(upstream, hosted)


async def open_storage(
    settings: StorageSettings,
    *,
    clock: Callable[[], datetime] = utc_now,
    new_ledger: bool = False,
    dry_run: bool = False,
) -> Storage:
    """Open the storage for this process; create it if it does not exist.

    Only one process may use a directory. If several replicas share the storage, each has its own directory.

    Args:
        settings: location and limits.
        clock: returns the current time in UTC.
        new_ledger: True to create an empty ledger if the storage has been used and its ledger is missing.
        dry_run: True for settings that `copy_storage` returned. Nothing outside their directory is changed.

    Raises:
        ConfigurationError: the settings of a shared storage are unusable, or its packages are not installed.
        StorageInUseError: another process uses the directory.
        StorageError: the storage is unusable.
        LedgerError: the ledger is missing, damaged or of another version.
    """
    shared = settings.shared
    if shared is None:
        return await directory.StorageDirectory.open(settings, utc_clock=clock, new_ledger=new_ledger)
    if new_ledger:
        raise ConfigurationError("--new-ledger: the ledger is in the database; create it with: assay database init")
    with _needing_packages():
        from assay.store.shared.dry_run import SharedDryRun  # noqa: PLC0415 - its packages may not be installed
        from assay.store.shared.storage import SharedStorage  # noqa: PLC0415 - its packages may not be installed
    if dry_run:
        return await SharedDryRun.open_beside(settings, shared, utc_clock=clock)
    return await SharedStorage.open(settings, shared, utc_clock=clock)


@contextmanager
def _needing_packages() -> Iterator[None]:
    """Import modules of the shared engine in this context.

    Raises:
        ConfigurationError: a package that they need is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _OPTIONAL_PACKAGES:
            raise
        raise ConfigurationError(
            f"[storage.shared] needs the package {error.name}, which is not installed; install assay-proxy[scale]"
        ) from error


@asynccontextmanager
async def open_local_storage(settings: StorageSettings) -> AsyncIterator[tuple[LocalStorage, RecordStore | None]]:
    """Open the parts of the storage that only one process may use; a shared database is not asked.

    Returns:
        The local parts, and the records; None if the records are in a shared database.

    Raises:
        StorageInUseError: another process uses the directory.
        StorageError: the directory is unusable.
        ConfigurationError: the directory belongs to the other engine.
    """
    if settings.shared is not None:
        tier = await open_shared_tier(settings)
        records = None
    else:
        tier = store = await directory.StorageDirectory.open(settings)
        records = store.records
    try:
        yield tier, records
    finally:
        await tier.close()


def check_storage_files(settings: StorageSettings) -> None:
    """Check the files and packages that a shared storage needs; nothing is opened. Blocking.

    Raises:
        ConfigurationError: a file cannot be read or is invalid, or a package is not installed.
    """
    if settings.shared is None:
        return
    with _needing_packages():
        from assay.store.shared.engines import make_engines  # noqa: PLC0415 - its packages may not be installed
    make_engines(settings.shared)


async def check_engines(settings: StorageSettings) -> Sequence[EngineCheck]:
    """Connect to the engines that replicas share, and return what was found about each.

    Raises:
        ConfigurationError: the storage is not shared, a file is not usable, or a package is not installed.
    """
    if settings.shared is None:
        raise ConfigurationError("--connect: expected only with [storage.shared]; no other storage has connections")
    with _needing_packages():
        from assay.store.shared.connection_check import check_engines  # noqa: PLC0415 - asyncpg may not be installed
    return await check_engines(settings.shared)


def has_storage(settings: StorageSettings) -> bool:
    """Return whether a proxy has used the storage directory before. Blocking."""
    return directory.is_directory_used(settings)


@asynccontextmanager
async def open_ledger(settings: StorageSettings) -> AsyncIterator[Ledger]:
    """Open only the ledger, for reading. Other processes may use the storage at the same time.

    Raises:
        LedgerError: the ledger does not exist or cannot be read.
        ConfigurationError: the settings of a shared storage are unusable, or its packages are not installed.
    """
    if settings.shared is not None:
        async with _open_shared_ledger(settings.shared) as shared:
            yield shared
        return
    ledger = await directory.open_ledger(settings)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def open_ledger_beside(settings: StorageSettings, *, login: DatabaseLogin | None = None) -> AsyncIterator[Ledger]:
    """Open only the ledger, for reading and writing. Other processes may use the storage at the same time.

    Args:
        settings: location.
        login: role of the operator for a shared database; None: the role of the settings.

    Raises:
        LedgerError: the ledger does not exist, cannot be read, or must be migrated first.
        ConfigurationError: the settings of a shared storage are unusable, or its packages are not installed.
    """
    if settings.shared is not None:
        async with _open_shared_ledger(settings.shared, login) as shared:
            yield shared
        return
    ledger = await directory.open_ledger_beside(settings)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def open_ledger_for_import(
    settings: StorageSettings, *, new_ledger: bool, login: DatabaseLogin | None = None
) -> AsyncIterator[Ledger]:
    """Open the ledger for an import. If the storage is not shared, no other process may use it.

    Args:
        settings: location.
        new_ledger: True to create an empty ledger if the storage has been used and its ledger is missing.
        login: role of the operator for a shared database; None: the role of the settings.

    Raises:
        StorageInUseError: another process uses the storage directory.
        StorageError: the storage is unusable.
        ConfigurationError: the settings of a shared storage are unusable, or its packages are not installed.
    """
    if settings.shared is not None and not new_ledger:
        async with _open_shared_ledger(settings.shared, login) as shared:
            yield shared
        return
    store = await open_storage(settings, new_ledger=new_ledger)
    try:
        yield store.ledger
    finally:
        await store.close()


@asynccontextmanager
async def _open_shared_ledger(shared: SharedSettings, login: DatabaseLogin | None = None) -> AsyncIterator[Ledger]:
    with _needing_packages():
        from assay.store.shared.engines import open_shared_ledger  # noqa: PLC0415 - asyncpg may not be installed
    async with open_shared_ledger(shared, login) as ledger:
        yield ledger


async def migrate_hosted(
    settings: StorageSettings, index: str, directory: Path, report: Callable[[str], None]
) -> CopiedFiles:
    """Copy a hosted index from a directory to the shared storage.

    Args:
        settings: location of the shared storage.
        index: name of the index.
        directory: directory of hosted files. No process may use it.
        report: called with the name of each file that was copied.

    Raises:
        ConfigurationError: the settings have no shared storage, its packages are not installed, or the directory does
            not have the index.
        StorageInUseError: a process uses the directory.
        StorageError: a file of the directory is damaged, or the copy failed.
    """
    if settings.shared is None:
        raise ConfigurationError("storage.shared: expected the storage to which the files are copied, found none")
    with _needing_packages():
        from assay.store.shared.migration import migrate_directory  # noqa: PLC0415 - asyncpg may not be installed
    return await migrate_directory(settings.shared, index, directory, report)


async def read_audit_heads(settings: StorageSettings, replica: str) -> Sequence[AuditHead]:
    """Return the last entries of the stored parts of a replica's audit trail, oldest first.

    Raises:
        ConfigurationError: the storage is not shared, its settings are unusable, or its packages are not installed.
        StorageError: the database is unavailable.
    """
    if settings.shared is None:
        raise ConfigurationError("--heads: expected only with [storage.shared]; no database has heads")
    with _needing_packages():
        from assay.store.shared.engines import read_audit_heads  # noqa: PLC0415 - asyncpg may not be installed
    return await read_audit_heads(settings.shared, replica)


async def copy_storage(settings: StorageSettings, target: Path) -> StorageSettings:
    """Copy the ledger to the empty directory `target`, and also the records if they are small.

    A shared ledger is not copied: `open_storage` reads it in a dry run. The dry run has no connection to replicas.

    Returns:
        The settings with `target` as the storage directory.

    Raises:
        LedgerError: the ledger is missing from a storage that has been used, or cannot be copied.
    """
    if settings.shared is not None:
        return settings.model_copy(update={"directory": target, "shared": settings.shared.without_peers()})
    await asyncio.to_thread(directory.require_ledger, settings.directory)
    await asyncio.to_thread(copy_ledger, settings.directory, target)
    await asyncio.to_thread(copy_records, settings.directory, target)
    return settings.model_copy(update={"directory": target})


def check_url_option(option: str, url: str) -> None:
    """Check that the URL of a database on the command line has no password.

    Raises:
        ConfigurationError: the URL is invalid, or has a password. The message does not contain the URL.
    """
    if parse_database_url(url).password is not None:
        raise ConfigurationError(
            f"{option}: expected a URL without a password, because all users of this machine can list the command lines"
            " of processes; put the password into the environment variable PGPASSWORD"
        )


def make_database_admin(settings: StorageSettings, url: str | None, *, password: str | None) -> DatabaseAdmin:
    """Return the operator's commands on a database that replicas share. Enter its context to connect.

    Args:
        settings: settings of the storage.
        url: URL of the database with a role of the operator; None: that of the settings, with their password file.
        password: password of the role in `url`; None: that of `url`.

    Raises:
        ConfigurationError: `url` is invalid, the settings have no shared storage, or a package is not installed.
    """
    with _needing_packages():
        from assay.store.postgresql.admin import DatabaseAdmin  # noqa: PLC0415 - asyncpg may not be installed
        from assay.store.postgresql.database import Database, DatabaseSettings  # noqa: PLC0415 - as above
        from assay.store.shared.engines import make_database  # noqa: PLC0415 - as above
    if url is not None:
        connections = DatabaseSettings(
            url=url, password=lambda: password, deadline_seconds=_ADMIN_DEADLINE_SECONDS, max_connections=1
        )
        return DatabaseAdmin(Database(connections))
    if settings.shared is None:
        raise ConfigurationError("storage.shared: the configuration names no database; name it with --url")
    return DatabaseAdmin(make_database(settings.shared))
