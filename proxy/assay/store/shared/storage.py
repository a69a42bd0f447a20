"""Storage that several replicas share (`assay.ports.Storage`).

    local tier    files, history of use and spool of this replica, in its own directory
    PostgreSQL    ledger, records, flights and notices of all replicas
    objects       downloaded files of all replicas, if an object storage is configured

The database must be usable at the start. Later it may be away: the ledger then answers with the facts that it confirmed
last, records are missing, and each replica works alone. Object storage may be away at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Self

from assay import telemetry
from assay.file_watch import SettingWatch, reload_on_change
from assay.ports import AuditArchive, HostedStorage
from assay.store.local.directory_lock import SHARED_LAYOUT, LockedDirectory, lock_directory, write_layout
from assay.store.local.tier import LocalTier, utc_now
from assay.store.objects.blobs import BlobObjects
from assay.store.objects.start_probe import StartProbe
from assay.store.postgresql.checks import check_database
from assay.store.postgresql.flights import SharedFlights
from assay.store.postgresql.ledger import PostgresLedger
from assay.store.postgresql.notices import PostgresNotices
from assay.store.postgresql.object_uses import PostgresObjectUses
from assay.store.postgresql.records import PostgresRecordStore
from assay.store.sealing import Sealer
from assay.store.settings import StorageSettings
from assay.store.shared.audit import make_audit_archive
from assay.store.shared.engines import SharedEngines, make_engines, open_shared_hosted
from assay.store.shared.settings import SharedSettings

_SEALED_RECORDS = "records"
"""Purpose of the keys that seal records."""


class SharedStorage(LocalTier):
    """Open storage of one replica.

    Attributes:
        ledger, records, flights, notices: parts in the database.
        objects: downloaded files of all replicas; None without an object storage.
    """

    def __init__(
        self,
        locked: LockedDirectory,
        settings: StorageSettings,
        engines: SharedEngines,
        clock: Callable[[], float],
        utc_clock: Callable[[], datetime],
    ) -> None:
        super().__init__(locked, settings, clock, utc_clock)
        self._shared = shared = engines.settings
        self._database = database = engines.database
        self._bucket = bucket = engines.bucket
        self._closing = AsyncExitStack()
        self._probe = None if bucket is None else StartProbe(bucket)
        self._keys = engines.keys
        self._sealer = Sealer(self._keys.get(), _SEALED_RECORDS)
        self.ledger = PostgresLedger(database, grace_seconds=shared.ledger_grace.total_seconds())
        self.records = PostgresRecordStore(database, self._sealer)
        self.notices = PostgresNotices(database)
        self.flights = SharedFlights(
            database,
            deployment=shared.deployment,
            address=shared.peer_address,
            patience_seconds=shared.deadlines.flight.total_seconds(),
        )
        uses = PostgresObjectUses(database) if shared.objects_max_age else None
        self.objects = None if bucket is None else BlobObjects(bucket, uses, max_age=shared.objects_max_age)

    @classmethod
    async def open(
        cls,
        settings: StorageSettings,
        shared: SharedSettings,
        *,
        clock: Callable[[], float] = time.time,
        utc_clock: Callable[[], datetime] = utc_now,
    ) -> Self:
        """Lock the directory of the local tier, check the database and the object storage, and open all parts.

        If the object storage does not answer, the replica starts without it, and checks it later.

        Args:
            settings: directory and limits of the local tier.
            shared: engines that the replicas share.
            clock: returns the time in seconds since 1970.
            utc_clock: returns the current time in UTC.

        Raises:
            ConfigurationError: the key file or a location is unusable, the directory has an embedded ledger, or the
                database or the object storage is not one of this deployment.
            StorageInUseError: another process uses the directory.
            StorageError: the directory is unusable, or the database is unavailable.
        """
        engines = await asyncio.to_thread(make_engines, shared)
        if (mode := await asyncio.to_thread(engines.keys.find_exposed_mode)) is not None:
            telemetry.warning("key-file-exposed", path=engines.keys.path, mode=mode)
        locked = await asyncio.to_thread(lock_directory, settings.directory, SHARED_LAYOUT)
        store = cls(locked, settings, engines, clock, utc_clock)
        try:
            await store._open()
        except BaseException:
            await store.close()
            raise
        telemetry.event(
            "storage-opened", directory=store.directory, database=str(engines.database), deployment=shared.deployment
        )
        return store

    async def _open(self) -> None:
        closing = self._closing
        await self.open_blobs()
        await asyncio.to_thread(write_layout, self._directory, SHARED_LAYOUT)
        await self._database.open()
        closing.push_async_callback(self._database.close)
        await check_database(self._database, deployment=self._shared.deployment)
        if self._bucket is not None:
            closing.push_async_callback(self._bucket.close)
        if self._probe is not None:
            closing.push_async_callback(self._probe.close)
            await self._probe.open()
        self.records.start()
        closing.push_async_callback(self.records.close)
        self.notices.subscribe(self.ledger.handle_notice)
        await self.notices.open()
        closing.push_async_callback(self.notices.close)
        await self.flights.open()
        closing.push_async_callback(self.flights.close)
        watch = SettingWatch("storage.shared.key-file", [self._keys.path], self._load_keys)
        await closing.enter_async_context(reload_on_change(watch))

    def _load_keys(self) -> None:
        self._keys.load()
        self._sealer.replace_keys(self._keys.get())

    @property
    def degraded(self) -> tuple[str, ...]:
        """Names of the engines that do not answer now."""
        away = {
            "ledger": not self._database.is_available,
            "objects": self._bucket is not None and not self._bucket.is_available,
        }
        return tuple(name for name, is_away in away.items() if is_away)

    def get_keys(self) -> Sequence[bytes]:
        """Return the keys of the deployment: the one for new seals and signatures first."""
        return self._keys.get()

    async def open_hosted(self, indexes: Sequence[str], *, read_only: bool = False) -> HostedStorage:
        """Open the files of hosted indexes. The caller closes them before this storage.

        Raises:
            ConfigurationError: no object storage is configured.
            StorageError: the local directory is unusable.
        """
        return await open_shared_hosted(
            self._database, self._bucket, self._shared, indexes, directory=self._directory, read_only=read_only
        )

    def make_audit_archive(self) -> AuditArchive:
        """Return the archive of the audit trails of all replicas.

        Raises:
            ConfigurationError: there is no object storage, or it does not refuse to create an object twice.
        """
        is_checked = self._probe is not None and self._probe.is_done
        return make_audit_archive(self._bucket, self._database, is_checked=is_checked)

    async def close(self) -> None:
        """Close all parts, the database last, and unlock the directory. Idempotent."""
        await self._closing.aclose()
        await super().close()
