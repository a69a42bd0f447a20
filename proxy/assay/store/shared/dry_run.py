"""Storage of a dry run beside replicas: a temporary directory, and the facts of the shared ledger, which is only read.

Records start empty, so pages and provenance are fetched and verified again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Self

from assay.ports import HostedStorage
from assay.store.directory import StorageDirectory
from assay.store.local.tier import utc_now
from assay.store.objects.bucket import Bucket
from assay.store.postgresql.checks import check_database
from assay.store.postgresql.database import Database
from assay.store.postgresql.ledger import PostgresLedger
from assay.store.settings import StorageSettings
from assay.store.shared.engines import make_bucket, make_database, open_shared_hosted
from assay.store.shared.ledger_copy import LedgerCopy
from assay.store.shared.settings import SharedSettings


class SharedDryRun(StorageDirectory):
    """Temporary directory (`assay.ports.Storage`) whose ledger has the facts of a shared ledger."""

    _shared: SharedSettings
    _database: Database | None = None
    _bucket: Bucket | None = None

    @classmethod
    async def open_beside(
        cls, settings: StorageSettings, shared: SharedSettings, *, utc_clock: Callable[[], datetime] = utc_now
    ) -> Self:
        """Open the temporary directory and the database.

        Args:
            settings: the empty temporary directory, and limits.
            shared: engines that the replicas share.
            utc_clock: returns the current time in UTC.

        Raises:
            ConfigurationError: the database is not one of this deployment.
            StorageError: the database is unavailable.
        """
        store = await cls.open(settings, utc_clock=utc_clock)
        try:
            bucket = await asyncio.to_thread(make_bucket, shared)
            await store.use_engines(shared, make_database(shared), bucket)
        except BaseException:
            await store.close()
            raise
        return store

    async def use_engines(self, shared: SharedSettings, database: Database, bucket: Bucket | None) -> None:
        """Open the database, and read the ledger in it from now on. `close` closes the engines.

        Raises:
            ConfigurationError: the database is not one of this deployment.
            StorageError: the database is unavailable.
        """
        self._shared, self._database, self._bucket = shared, database, bucket
        await database.open()
        await check_database(database, deployment=shared.deployment)
        self.ledger = LedgerCopy(PostgresLedger(database))

    async def open_hosted(self, indexes: Sequence[str], *, read_only: bool = False) -> HostedStorage | None:
        """Open the files of hosted indexes. The caller closes them before this storage.

        Raises:
            ConfigurationError: no object storage is configured.
            StorageError: the directory is unusable.
        """
        if self._database is None:
            return None
        return await open_shared_hosted(
            self._database, self._bucket, self._shared, indexes, directory=self._directory, read_only=read_only
        )

    async def close(self) -> None:
        """Close all parts. Idempotent."""
        await super().close()
        if self._bucket is not None:
            await self._bucket.close()
        if self._database is not None:
            await self._database.close()
