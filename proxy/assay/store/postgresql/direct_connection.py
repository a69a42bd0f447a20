"""Connection outside the pool for a session that must last, which is opened again after each failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import StorageError
from assay.store.postgresql.database import DRIVER_ERRORS, Connection, Database

_FIRST_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 5.0

UseConnection = Callable[[Connection], Awaitable[None]]


class DirectConnection:
    """Task that keeps one connection open and uses it.

    Args:
        database: the database.
        name: purpose of the connection.
        prepare: prepares each new connection. If it raises an error of the driver, the connection has failed.
        serve: uses each new connection until it raises an error of the driver. The connection is then closed, and after
            a pause a new one is opened. The pause doubles with each failure in a row.
        on_lost: called when a connection has ended.
        on_end: called when a connection ends by itself, so that `serve` looks at it.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        prepare: UseConnection,
        serve: UseConnection,
        on_lost: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._database = database
        self._name = name
        self._prepare = prepare
        self._serve = serve
        self._on_lost = on_lost
        self._on_end = on_end
        self._is_failing = False
        self._tasks = BackgroundTasks(report=self._report_failure)

    async def open(self) -> bool:
        """Connect, and begin to use the connection; return whether the first try has succeeded. Call this only once.

        If the database is unavailable, further tries are made in the background.
        """
        connection = await self._connect()
        self._tasks.spawn(self._run(connection), name=f"database {self._name}")
        return connection is not None

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        await self._tasks.close()

    async def _run(self, connection: Connection | None) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if connection is not None:
                pause = _FIRST_PAUSE_SECONDS
                await self._use(connection)
            # The random part keeps replicas from connecting together after an outage.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)
            connection = await self._connect()

    async def _connect(self) -> Connection | None:
        try:
            connection = await self._database.connect_directly(self._name)
        except StorageError as error:
            self._note_failure(error)
            return None
        try:
            await self._prepare(connection)
        except BaseException as error:
            connection.terminate()
            if not isinstance(error, DRIVER_ERRORS):
                raise
            self._note_failure(error)
            return None
        connection.add_termination_listener(lambda _: self._on_end())
        self._note_success()
        return connection

    async def _use(self, connection: Connection) -> None:
        try:
            await self._serve(connection)
        except DRIVER_ERRORS as error:
            self._note_failure(error)
        finally:
            connection.terminate()
            self._on_lost()

    def _note_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            telemetry.event("coordination-recovered", database=self._database, purpose=self._name)

    def _note_failure(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            telemetry.warning(
                "coordination-unavailable",
                database=self._database,
                purpose=self._name,
                found=str(error) or type(error).__name__,
            )

    def _report_failure(self, _: str, error: BaseException) -> None:
        telemetry.failure("coordination-failed", error, purpose=self._name)
