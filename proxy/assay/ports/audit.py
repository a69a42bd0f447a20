"""Protocol of the archive that keeps the audit trails of several replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """Last entry of a stored part of an audit trail."""

    replica: str
    """Name of the trail: each replica has its own chain."""
    part: int
    """Number of the part: the sequence number of its last entry."""
    sequence: int
    hash: str


class AuditArchive(Protocol):
    """Parts of audit trails, which are written once, and their heads."""

    async def store(self, replica: str, part: int, body: bytes) -> bool:
        """Store a part. Return False if this part exists, which is then left as it is.

        Args:
            replica: name of the trail.
            part: number of the part.
            body: compressed lines of the part.

        Raises:
            StorageError: the part cannot be stored.
        """

    async def read(self, replica: str, part: int, max_bytes: int) -> bytes | None:
        """Return a stored part, compressed; None if it does not exist.

        Raises:
            StorageError: the part cannot be read, or has more than `max_bytes` bytes.
        """

    async def record_head(self, head: AuditHead) -> bool:
        """Record the last entry of a stored part. Return False if another last entry was recorded for this part.

        Raises:
            StorageError: the head cannot be recorded.
        """
