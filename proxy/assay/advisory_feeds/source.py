"""Source of a feed: a URL, or a file or directory. It yields what changed since the last refresh.

A URL is requested with the validators of the last response, through the outbound client and its rules for hosts and
addresses. A file or directory is read again if a path, size or modification time in it has changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedWriter
from pathlib import Path
from typing import Final, Protocol

from assay.advisory_feeds.reader import MAX_FEED_RECORDS
from assay.errors import InvalidResponseError, StorageError, UpstreamGoneError, UpstreamUnavailableError
from assay.indexes import IndexSettings
from assay.ports import BodyStream, DocumentStreams, NoBody, Validators

_WRITE_BYTES: Final = 1 << 20
_MAX_TIMESTAMP: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""Latest time of a file, in seconds since 1970. File systems have later times, for which no date exists."""
_ACCEPT: Final = "application/zip, application/json;q=0.9, */*;q=0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """State of a feed's source."""

    path: Path | None
    """Path of the zip, record or directory to read; None if nothing has changed since the last refresh."""
    validators: Validators
    """Validators for the next refresh."""
    current_at: datetime | None = None
    """Time at which the content was last known to be current, UTC; None: now."""


class FeedSource(Protocol):
    """Place from which a feed is read."""

    async def obtain(self, validators: Validators, download: Path) -> Obtained:
        """Return the content of the feed if it has changed.

        Args:
            validators: validators of the last content; empty to get the content in any case.
            download: path for the content, if it has to be received.

        Raises:
            UpstreamError: the content is unavailable.
            StorageError: the content cannot be stored.
        """


class RemoteSource:
    """Zip of records behind a URL.

    Args:
        upstream: the outbound client.
        index: host of the feed (`AdvisoryFeedSettings.make_index`).
        url: URL of the zip.
        max_bytes: maximum size of the zip.
    """

    def __init__(self, upstream: DocumentStreams, index: IndexSettings, url: str, max_bytes: int) -> None:
        self._upstream = upstream
        self._index = index
        self._url = url
        self._max_bytes = max_bytes

    async def obtain(self, validators: Validators, download: Path) -> Obtained:
        """Request the zip, and store it at `download` unless the response is 304."""
        async with self._upstream.open_stream(
            self._index, self._url, validators, accept=_ACCEPT, max_bytes=self._max_bytes
        ) as answer:
            if answer is NoBody.NOT_MODIFIED:
                return Obtained(path=None, validators=validators)
            if not isinstance(answer, BodyStream):
                raise UpstreamGoneError("the feed does not exist (404)")
            await _store(answer, download)
            return Obtained(path=download, validators=answer.validators)


async def _store(body: BodyStream[bytes], path: Path) -> None:
    """Write the chunks of a body to a new file, in threads."""
    file = await asyncio.to_thread(_create, path)
    try:
        pending = bytearray()
        async for chunk in body.chunks:
            pending += chunk
            if len(pending) >= _WRITE_BYTES:
                await asyncio.to_thread(_append, file, bytes(pending))
                pending.clear()
        await asyncio.to_thread(_append, file, bytes(pending))
    finally:
        file.close()


def _create(path: Path) -> BufferedWriter:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        return open(os.open(path, flags, 0o600), "wb")  # noqa: PTH123 - by descriptor, for its mode
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _append(file: BufferedWriter, chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise StorageError(f"{file.name}: {error.strerror}") from error


class LocalSource:
    """Zip, record or directory on this machine.

    Args:
        path: its path.
        max_bytes: maximum size of a zip.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    async def obtain(self, validators: Validators, download: Path) -> Obtained:  # noqa: ARG002 - see `FeedSource`
        """Return the path if a path, size or modification time has changed."""
        signature, changed_at = await asyncio.to_thread(self._examine)
        return Obtained(
            path=None if signature == validators.etag else self._path,
            validators=Validators(etag=signature),
            current_at=changed_at,
        )

    def _examine(self) -> tuple[str, datetime]:
        """Return a digest of all paths, sizes and times, and the newest time. Blocking."""
        try:
            facts = self._path.stat()
            if not self._path.is_dir():
                if facts.st_size > self._max_bytes:
                    raise InvalidResponseError(f"expected at most {self._max_bytes} bytes, found {facts.st_size}")
                found = [(self._path, facts)]
            else:
                found = [(self._path, facts), *self._list()]
        except OSError as error:
            raise UpstreamUnavailableError(f"{error.filename or self._path}: {error.strerror}") from error
        digest = hashlib.sha256()
        for path, each in found:
            digest.update(f"{path}\0{each.st_size}\0{each.st_mtime_ns}\n".encode(errors="surrogateescape"))
        newest = max(each.st_mtime for _, each in found)
        return digest.hexdigest(), datetime.fromtimestamp(min(newest, _MAX_TIMESTAMP), UTC)

    def _list(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for folder, folders, names in os.walk(self._path):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".json"):
                    path = Path(folder, name)
                    with suppress(OSError):  # the reader counts a file that cannot be read as broken
                        found.append((path, path.stat()))
            if len(found) > MAX_FEED_RECORDS:
                raise InvalidResponseError(f"expected at most {MAX_FEED_RECORDS} records")
        return found
