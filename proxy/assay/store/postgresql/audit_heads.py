"""Last entries of the stored parts of audit trails, in PostgreSQL. The service can add rows, and change none."""

from __future__ import annotations

from typing import Final

from assay.ports import AuditHead
from assay.store.postgresql.database import Database

_RECORD: Final = """
INSERT INTO audit_heads (replica, part, sequence, hash) VALUES ($1, $2, $3, $4) ON CONFLICT (replica, part) DO NOTHING
"""
_MAX_HEADS: Final = 1_000_000
"""Maximum number of heads that are read: those of two years, if a replica stores a part each minute."""


class AuditHeads:
    """Table of the heads of all replicas.

    Args:
        database: connections to the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, head: AuditHead) -> bool:
        """Record a head. Return False if another last entry was recorded for this part.

        Raises:
            StorageError: the database fails.
        """
        async with self._database.connection() as connection:
            await connection.execute(_RECORD, head.replica, head.part, head.sequence, head.hash)
            found = await connection.fetchrow(
                "SELECT sequence, hash FROM audit_heads WHERE replica = $1 AND part = $2", head.replica, head.part
            )
        return found is not None and (found["sequence"], found["hash"]) == (head.sequence, head.hash)

    async def list(self, replica: str) -> list[AuditHead]:
        """Return the heads of one replica, oldest first.

        Raises:
            StorageError: the database fails.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT part, sequence, hash FROM audit_heads WHERE replica = $1 ORDER BY part LIMIT $2",
                replica,
                _MAX_HEADS,
            )
        return [
            AuditHead(replica=replica, part=row["part"], sequence=row["sequence"], hash=row["hash"]) for row in rows
        ]
