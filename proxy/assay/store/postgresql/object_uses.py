"""Last day of use of each object, in PostgreSQL (`assay.store.objects.blobs.ObjectUses`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

from assay.simple.model import Sha256
from assay.store.postgresql.database import Database

_BATCH: Final = 500
_BEGIN: Final = b""
"""Key of the row with the first day on which a use was recorded."""
_RECORD_BEGIN: Final = "INSERT INTO object_uses (sha256, day) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING"
_RECORD: Final = """
INSERT INTO object_uses (sha256, day) SELECT digest, $2 FROM unnest($1::bytea[]) AS digest
ON CONFLICT (sha256) DO UPDATE SET day = excluded.day WHERE object_uses.day < excluded.day
"""


class PostgresObjectUses:
    """Table of the last uses, which all replicas share.

    Args:
        database: connections to the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, used: Collection[Sha256], day: date) -> None:
        """Record that files were used on a day. An earlier day does not replace a later one.

        Raises:
            StorageError: the database fails.
        """
        # All replicas write in the same order, so that they cannot block each other.
        digests = sorted(bytes.fromhex(sha256) for sha256 in used)
        async with self._database.connection() as connection:
            await connection.execute(_RECORD_BEGIN, _BEGIN, day)
            for start in range(0, len(digests), _BATCH):
                await connection.execute(_RECORD, digests[start : start + _BATCH], day)

    async def get_begin(self) -> date | None:
        """Return the first day on which a use was recorded; None if no use was.

        Raises:
            StorageError: the database fails.
        """
        async with self._database.connection() as connection:
            found = await connection.fetchval("SELECT day FROM object_uses WHERE sha256 = $1", _BEGIN)
        return found if isinstance(found, date) else None

    async def find_used(self, objects: Sequence[Sha256], since: date) -> set[Sha256]:
        """Return those of `objects` that were used on the day `since` or later.

        Raises:
            StorageError: the database fails.
        """
        digests = [bytes.fromhex(sha256) for sha256 in objects]
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT sha256 FROM object_uses WHERE sha256 = ANY($1::bytea[]) AND day >= $2", digests, since
            )
        return {Sha256(row["sha256"].hex()) for row in rows}

    async def forget(self, objects: Sequence[Sha256], before: date) -> None:
        """Delete the records of those of `objects` that were last used before a day.

        Raises:
            StorageError: the database fails.
        """
        digests = [bytes.fromhex(sha256) for sha256 in objects]
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM object_uses WHERE sha256 = ANY($1::bytea[]) AND day < $2", digests, before
            )
