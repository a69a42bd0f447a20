"""Commands of an operator on the shared database: create, upgrade, check, and confirm a restore."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from assay.errors import ConfigurationError
from assay.store.postgresql.checks import DatabaseReport, check_database
from assay.store.postgresql.database import Database
from assay.store.postgresql.schema import create_schema, upgrade_schema


class DatabaseAdmin:
    """Commands of an operator on the shared database.

    Args:
        database: connections of a role that may do this. `create` and `upgrade` need the owner of the database or of
            the tables, and `confirm_restored` the role of the operator.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __str__(self) -> str:
        """Return the URL of the database without credentials."""
        return str(self._database)

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self._database.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._database.close()

    async def create(self, *, deployment: str, app_role: str, admin_role: str) -> list[str]:
        """Create roles, tables and privileges, as far as they do not exist; return what was done as sentences.

        Raises:
            ConfigurationError: a name is invalid, or the database belongs to another deployment.
            StorageError: the database cannot be used.
        """
        async with self._database.connection() as connection:
            return await create_schema(connection, deployment=deployment, app_role=app_role, admin_role=admin_role)

    async def upgrade(self, *, app_role: str, admin_role: str) -> list[str]:
        """Migrate the tables to this program's version; return what was done as sentences.

        Raises:
            ConfigurationError: a name is invalid.
            StorageError: the database cannot be used, or has a later version.
        """
        async with self._database.connection() as connection:
            return await upgrade_schema(connection, app_role=app_role, admin_role=admin_role)

    async def check(self, *, deployment: str | None, is_operator: bool) -> DatabaseReport:
        """Check the database as a replica does at its start.

        Raises:
            ConfigurationError: a check failed.
            StorageError: the database cannot be used.
        """
        return await check_database(self._database, deployment=deployment, is_operator=is_operator)

    async def confirm_restored(self) -> datetime:
        """Confirm that the database was restored from a backup; return the time that was written.

        Each replica then accepts that facts are missing, and writes those again that it remembers.

        Raises:
            ConfigurationError: the database has no schema of Assay.
            StorageError: the database cannot be used.
        """
        async with self._database.connection() as connection:
            restored: datetime | None = await connection.fetchval(
                "UPDATE meta SET restored = clock_timestamp() RETURNING restored"
            )
        if restored is None:
            raise ConfigurationError(f"the table meta of the database {self._database} is empty; restore the database")
        return restored
