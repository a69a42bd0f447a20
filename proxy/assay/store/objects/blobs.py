"""Finished files in object storage (`assay.ports.Objects`): ``<deployment>/blobs/<two digits>/<sha256>``.

An object does not know when it was last read. The database records the last day on which a replica used a file.
`remove_unused` removes an object only if it was stored before that day, and if uses have been recorded for as long as
the maximum age: otherwise a new or restored database would remove everything.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, time, timedelta
from typing import BinaryIO, Protocol

from assay.errors import StorageError
from assay.ports import FileBody
from assay.simple.model import Sha256
from assay.store.objects.bucket import Bucket

_FOLDER = "blobs"
_KEY = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BATCH = 500
_DEFAULT_MAX_AGE = timedelta(days=90)


class ObjectUses(Protocol):
    """Last day of use of each file, for all replicas."""

    async def record(self, used: Collection[Sha256], day: date) -> None:
        """Record that files were used on a day. An earlier day does not replace a later one.

        Raises:
            StorageError: the database fails.
        """

    async def get_begin(self) -> date | None:
        """Return the first day on which a use was recorded; None if no use was.

        Raises:
            StorageError: the database fails.
        """

    async def find_used(self, objects: Sequence[Sha256], since: date) -> set[Sha256]:
        """Return those of `objects` that were used on the day `since` or later.

        Raises:
            StorageError: the database fails.
        """

    async def forget(self, objects: Sequence[Sha256], before: date) -> None:
        """Delete the records of those of `objects` that were last used before a day.

        Raises:
            StorageError: the database fails.
        """


class BlobObjects:
    """Objects of finished files by their SHA-256.

    Args:
        bucket: the bucket.
        uses: record of the last uses; None: objects are never removed for their age.
        max_age: time without use after which `remove_unused` removes an object; 0: objects are never removed.
    """

    def __init__(
        self, bucket: Bucket, uses: ObjectUses | None = None, *, max_age: timedelta = _DEFAULT_MAX_AGE
    ) -> None:
        self._bucket = bucket
        self._uses = uses
        self._max_age = max_age

    def contents(self, sha256: Sha256, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open the bytes of an object from offset `start`.

        Raises:
            UpstreamGoneError: no such object.
            InvalidResponseError: the object ends before `start`.
            UpstreamUnavailableError: the object storage does not answer in time.
        """
        return self._bucket.open(_get_key(sha256), start)

    async def has(self, sha256: Sha256) -> bool:
        """Return whether the object exists.

        Raises:
            UpstreamUnavailableError: the object storage does not answer in time.
        """
        return await self._bucket.find_size(_get_key(sha256)) is not None

    async def keep(self, sha256: Sha256, reader: BinaryIO) -> None:
        """Store a finished file, unless there is an object of its size, and close the reader.

        Cancelling the caller does not cancel the upload.

        Raises:
            StorageError: the file cannot be read or has other bytes, or the object cannot be written.
        """
        await self._bucket.put_file(_get_key(sha256), reader, sha256)

    async def remove(self, sha256: Sha256) -> None:
        """Remove an object, if it exists.

        Raises:
            StorageError: the object cannot be removed.
        """
        await self._bucket.remove(_get_key(sha256))

    async def record_uses(self, used: Collection[Sha256], day: date) -> None:
        """Record that files were used on a day, for `remove_unused`.

        Raises:
            StorageError: the uses cannot be recorded.
        """
        if self._uses is not None and used:
            await self._uses.record(used, day)

    async def remove_unused(self, today: date) -> int:
        """Remove the objects that are older than the maximum age and were not used within it; return their number.

        Raises:
            StorageError: the uses cannot be read, or an object cannot be removed.
            UpstreamUnavailableError: the object storage does not answer in time.
        """
        since, removed = today - self._max_age, 0
        if self._uses is None or not self._max_age:
            return 0
        begin = await self._uses.get_begin()
        if begin is None or begin > since:
            return 0
        async for batch in self._list_stored_before(datetime.combine(since, time(), UTC)):
            used = await self._uses.find_used(batch, since)
            unused = [sha256 for sha256 in batch if sha256 not in used]
            for sha256 in unused:
                await self.remove(sha256)
            await self._uses.forget(unused, since)
            removed += len(unused)
        return removed

    async def _list_stored_before(self, limit: datetime) -> AsyncIterator[list[Sha256]]:
        """Yield the digests of the objects that were stored before `limit`, in batches. Other keys are skipped."""
        batch: list[Sha256] = []
        async for entry in self._bucket.list(_FOLDER):
            if entry.modified_at < limit and (name := _KEY.fullmatch(entry.key)) is not None:
                batch.append(Sha256(name[2]))
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _get_key(sha256: Sha256) -> str:
    """Return the key of an object.

    Raises:
        StorageError: `sha256` is not a digest.
    """
    if not _SHA256_HEX.fullmatch(sha256):
        raise StorageError("the name of an object must be a SHA-256")
    return f"{_FOLDER}/{sha256[:2]}/{sha256}"
