"""Engines of a shared storage: database, object storage, and the hosted files in both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from assay.errors import ConfigurationError
from assay.operator_files import read_text
from assay.ports import AuditHead
from assay.store.hosted.shared import SharedHosted, SharedHostedSettings
from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from assay.store.postgresql.audit_heads import AuditHeads
from assay.store.postgresql.checks import check_database
from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.hosted import HostedTables
from assay.store.postgresql.ledger import PostgresLedger
from assay.store.settings import DatabaseLogin
from assay.store.shared.key_file import KeyFile
from assay.store.shared.settings import SharedSettings

_MAX_PASSWORD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedEngines:
    """Engines of one replica with their settings. They are not open yet."""

    settings: SharedSettings
    keys: KeyFile
    """Keys of the deployment, which are loaded."""
    database: Database
    bucket: Bucket | None
    """Object storage; None if no location is set."""


def make_engines(settings: SharedSettings) -> SharedEngines:
    """Read the key file and the password file, and return the engines. Blocking.

    Raises:
        ConfigurationError: a file or a location is not usable.
    """
    keys = KeyFile(settings.key_file)
    keys.load()
    if settings.password_file is not None:
        read_password(settings.password_file)
    return SharedEngines(settings=settings, keys=keys, database=make_database(settings), bucket=make_bucket(settings))


def read_password(path: Path) -> str:
    """Return the password of the database: the first line of a file. Blocking.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    return read_text(path, max_bytes=_MAX_PASSWORD_BYTES).partition("\n")[0]


def make_database(settings: SharedSettings, login: DatabaseLogin | None = None) -> Database:
    """Return the database of the settings, which is not open yet.

    Args:
        settings: URL, password file and deadline.
        login: another role; None: that of the settings.

    Raises:
        ConfigurationError: the URL is invalid.
    """
    path = settings.password_file

    def get_password() -> str | None:
        if login is not None:
            return login.password
        try:
            return None if path is None else read_password(path)
        except ConfigurationError as error:  # the file may be replaced at this moment
            raise OSError(str(error)) from error

    return Database(
        DatabaseSettings(
            url=settings.database if login is None else login.url,
            password=get_password,
            deadline_seconds=settings.deadlines.ledger.total_seconds(),
        )
    )


def make_bucket(settings: SharedSettings) -> Bucket | None:
    """Return the object storage of the settings; None if no location is set. Blocking.

    Raises:
        ConfigurationError: the location is not usable, or its directory does not exist.
    """
    if settings.objects is None:
        return None
    location = urlsplit(settings.objects)
    if location.scheme == "file" and not (directory := Path(unquote(location.path))).is_dir():
        # A new directory would hide that a shared file system is not mounted.
        raise ConfigurationError(f"storage.shared.objects: expected a directory that exists, found {directory}")
    return Bucket(
        ObjectStorageSettings(
            url=settings.objects,
            deployment=settings.deployment,
            endpoint=settings.endpoint,
            region=settings.region,
            insecure=settings.insecure,
            first_byte_seconds=settings.deadlines.objects.total_seconds(),
        )
    )


@asynccontextmanager
async def open_shared_ledger(
    settings: SharedSettings, login: DatabaseLogin | None = None
) -> AsyncIterator[PostgresLedger]:
    """Open the shared ledger for a command.

    Args:
        settings: settings of the shared storage.
        login: role of the operator; None: the role of the settings.

    Raises:
        ConfigurationError: the database is not one of this deployment.
        StorageError: the database is unavailable.
    """
    async with _open_database(settings, login) as database:
        yield PostgresLedger(database)


async def read_audit_heads(settings: SharedSettings, replica: str) -> Sequence[AuditHead]:
    """Return the heads of a replica's audit trail, oldest first.

    Raises:
        ConfigurationError: the database is not one of this deployment.
        StorageError: the database is unavailable.
    """
    async with _open_database(settings) as database:
        return await AuditHeads(database).list(replica)


@asynccontextmanager
async def _open_database(settings: SharedSettings, login: DatabaseLogin | None = None) -> AsyncIterator[Database]:
    if login is None and settings.password_file is not None:
        await asyncio.to_thread(read_password, settings.password_file)
    database = make_database(settings, login)
    await database.open()
    try:
        await check_database(database, deployment=settings.deployment, is_operator=login is not None)
        yield database
    finally:
        await database.close()


async def open_shared_hosted(
    database: Database,
    bucket: Bucket | None,
    settings: SharedSettings,
    indexes: Sequence[str],
    *,
    directory: Path,
    read_only: bool = False,
) -> SharedHosted:
    """Open the files of hosted indexes. The caller closes them before the engines.

    Args:
        database: the open database.
        bucket: the object storage; None if no location is set.
        settings: settings of the shared storage.
        indexes: names of the indexes.
        directory: storage directory of this process, in which uploads are staged.
        read_only: True to read the files only.

    Raises:
        ConfigurationError: no object storage is configured.
        StorageError: the directory is unusable.
    """
    if bucket is None:
        raise ConfigurationError("storage.shared.objects: expected an object storage, which hosted indexes need")
    hosted = SharedHostedSettings(
        incoming=directory / "incoming",
        indexes=tuple(indexes),
        grace_seconds=settings.ledger_grace.total_seconds(),
    )
    return await SharedHosted.open(HostedTables(database), bucket, hosted, read_only=read_only)
