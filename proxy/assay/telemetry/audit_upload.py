"""Upload of closed parts of the audit trail to an archive, which never replaces a part.

A part is compressed and stored, its last entry is recorded, and only then is it removed from the disk. Each step can
be repeated: after a crash, the next start finds the part in the archive and compares it with the local one.

While the archive does not answer, entries stay on the disk. Parts are then closed by their size only, so that an outage
does not leave thousands of small parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.errors import StorageError
from assay.ports import AuditArchive, AuditHead
from assay.telemetry import events
from assay.telemetry.audit_chain import ChainEnd, read_chain_end
from assay.telemetry.audit_file import TrailFile
from assay.telemetry.audit_trail import AuditTrail

_CHUNK_BYTES: Final = 2**20
_MAX_OTHER_PACKING_BYTES: Final = 2**16
"""Maximum number of bytes by which a stored part may be larger than its double, as another zlib compressed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPacing:
    """Times in seconds.

    Attributes:
        part_age_seconds: time after which a part with entries is closed.
        min_delay_seconds: pause after a first failure. It is doubled for each further one, up to `part_age_seconds`.
        close_seconds: maximum time of the last upload, when the proxy stops.
    """

    part_age_seconds: float
    min_delay_seconds: float = 1.0
    close_seconds: float = 10.0


@contextlib.asynccontextmanager
async def upload_parts(
    trail: AuditTrail | None, archive: AuditArchive | None, pacing: UploadPacing
) -> AsyncIterator[None]:
    """Upload the closed parts while the context is open. At its end, close the last part and upload it too.

    Args:
        trail: the open trail; None if no trail is configured.
        archive: place of the parts; None if the parts stay on the disk.
        pacing: times of uploads and of pauses.
    """
    parts = None if trail is None else trail.parts
    if trail is None or parts is None or archive is None:
        yield
        return
    uploader = AuditUploader(parts, archive, pacing)
    stop = asyncio.Event()
    task = asyncio.create_task(uploader.run(stop), name="upload of the audit trail")
    try:
        yield
    finally:
        stop.set()
        try:
            async with asyncio.timeout(pacing.close_seconds):
                await task
                await trail.drain()
                await uploader.upload_all()
        except TimeoutError:
            events.warning("audit-upload-failed", error="the proxy stopped before the upload ended; it continues later")
        except StorageError as error:
            events.warning("audit-upload-failed", error=str(error))


class AuditUploader:
    """Upload of one trail.

    Args:
        parts: parts of the trail.
        archive: place of the parts.
        pacing: times of uploads and of pauses.
    """

    def __init__(self, parts: TrailFile, archive: AuditArchive, pacing: UploadPacing) -> None:
        self._parts = parts
        self._archive = archive
        self._pacing = pacing
        self._stored: Path | None = None
        """Part that is in the archive while its head is not recorded yet."""

    async def run(self, stop: asyncio.Event) -> None:
        """Close and upload parts until `stop` is set."""
        delay = self._pacing.min_delay_seconds
        while not stop.is_set():
            try:
                await self.upload_all()
            except StorageError as error:
                events.warning("audit-upload-failed", error=str(error))
                pause, delay = delay, min(delay * 2, self._pacing.part_age_seconds)
            else:
                pause, delay = self._pacing.part_age_seconds, self._pacing.min_delay_seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def upload_all(self) -> None:
        """Upload the closed parts, and then close the part that is being written and upload it.

        Raises:
            StorageError: a part could not be uploaded. This part and the later ones stay on the disk.
        """
        await self._upload_waiting()
        await asyncio.to_thread(self._parts.rotate)
        await self._upload_waiting()

    async def _upload_waiting(self) -> None:
        for part in await asyncio.to_thread(self._parts.list_waiting):
            await self._upload(part)

    async def _upload(self, part: Path) -> None:
        body, end = await asyncio.to_thread(_pack, part)
        replica, number = self._parts.replica, end.sequence
        if part != self._stored:
            if not await self._archive.store(replica, number, body):
                await self._require_same(part, number, 2 * len(body) + _MAX_OTHER_PACKING_BYTES)
            self._stored = part
        if not await self._archive.record_head(
            AuditHead(replica=replica, part=number, sequence=end.sequence, hash=end.hash)
        ):
            raise _report_conflict(replica, number, "the database has another last entry of this part")
        await asyncio.to_thread(self._parts.discard, part, end)
        events.event("audit-part-stored", replica=replica, part=number, bytes=len(body))

    async def _require_same(self, part: Path, number: int, max_bytes: int) -> None:
        """Check that the stored part has the entries of the local one: an earlier upload was not acknowledged.

        Raises:
            StorageError: it has others, or cannot be read.
        """
        stored = await self._archive.read(self._parts.replica, number, max_bytes)
        if stored is None or not await asyncio.to_thread(_has_same_lines, part, stored):
            raise _report_conflict(self._parts.replica, number, "the object storage has another part of this name")


def _report_conflict(replica: str, number: int, reason: str) -> StorageError:
    events.security("audit-part-conflict", replica=replica, part=number, error=reason)
    return StorageError(f"part {number} of the audit trail {replica}: {reason}")


def _pack(part: Path) -> tuple[bytes, ChainEnd]:
    """Return a part, compressed, and its last entry.

    Raises:
        StorageError: the part cannot be read, or does not end with a complete entry.
    """
    try:
        content = part.read_bytes()
    except OSError as error:
        raise StorageError(f"{part}: cannot be read: {error.strerror}") from error
    end, torn = read_chain_end(io.BytesIO(content), len(content))
    if end is None or torn:
        raise StorageError(f"{part} does not end with a complete entry")
    return gzip.compress(content, mtime=0), end


def _has_same_lines(part: Path, stored: bytes) -> bool:
    """Return whether a compressed part has the bytes of a local part. At most one chunk more is decompressed."""
    try:
        with part.open("rb") as local, gzip.GzipFile(fileobj=io.BytesIO(stored)) as packed:
            while chunk := local.read(_CHUNK_BYTES):
                if packed.read(len(chunk)) != chunk:
                    return False
            return not packed.read(1)
    except (OSError, EOFError, zlib.error):
        return False
