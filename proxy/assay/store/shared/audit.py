"""Archive of audit trails: parts are objects ``<deployment>/audit/<replica>/<part>.jsonl.gz``, heads are rows.

Parts are created, never overwritten. An object storage that ignores the condition of a request could replace a part
without a word, so it is refused.
"""

from __future__ import annotations

from typing import Final

from assay.errors import ConfigurationError, StorageError, UpstreamError
from assay.ports import AuditHead
from assay.store.objects.bucket import Bucket
from assay.store.postgresql.audit_heads import AuditHeads
from assay.store.postgresql.database import Database

_BLIND: Final = (
    "the object storage overwrites an object that exists although the request forbids it, so it cannot keep an audit"
    " trail; set audit.sink to another value, or use another object storage"
)


def make_audit_archive(bucket: Bucket | None, database: Database, *, is_checked: bool) -> SharedAuditArchive:
    """Return the archive of a deployment.

    Args:
        bucket: the object storage; None if no object storage is configured.
        database: the open database.
        is_checked: False if the object storage did not answer at the start. It is then checked before the first part.

    Raises:
        ConfigurationError: there is no object storage, or it does not refuse to create an object twice.
    """
    if bucket is None:
        raise ConfigurationError("storage.shared.objects: expected an object storage for the audit trail")
    if is_checked and not bucket.has_conditions:
        raise ConfigurationError(f"audit.sink: {_BLIND}")
    return SharedAuditArchive(bucket, AuditHeads(database))


class SharedAuditArchive:
    """Parts and heads of all replicas (`assay.ports.AuditArchive`).

    Args:
        bucket: the object storage.
        heads: the table of heads.
    """

    def __init__(self, bucket: Bucket, heads: AuditHeads) -> None:
        self._bucket = bucket
        self._heads = heads

    async def store(self, replica: str, part: int, body: bytes) -> bool:
        """Store a part. Return False if this part exists, which is then left as it is.

        Raises:
            StorageError: the part cannot be stored, or the object storage would overwrite a part.
        """
        if not self._bucket.has_conditions:
            await self._check_conditions()
        return await self._bucket.put(_get_key(replica, part), body, is_new=True)

    async def _check_conditions(self) -> None:
        try:
            await self._bucket.probe()
        except ConfigurationError as error:
            raise StorageError(str(error)) from error
        if not self._bucket.has_conditions:
            raise StorageError(_BLIND)

    async def read(self, replica: str, part: int, max_bytes: int) -> bytes | None:
        """Return a stored part, compressed; None if it does not exist.

        Raises:
            StorageError: the part cannot be read, or has more than `max_bytes` bytes.
        """
        try:
            return await self._bucket.read(_get_key(replica, part), max_bytes)
        except UpstreamError as error:
            raise StorageError(f"a stored part of the audit trail cannot be read: {error}") from error

    async def record_head(self, head: AuditHead) -> bool:
        """Record the last entry of a stored part. Return False if another last entry was recorded for this part.

        Raises:
            StorageError: the head cannot be recorded.
        """
        return await self._heads.record(head)


def _get_key(replica: str, part: int) -> str:
    return f"audit/{replica}/{part:012d}.jsonl.gz"
