"""Bucket: objects by key, with deadlines, a circuit breaker and limits on memory.

Every byte of a bucket is untrusted, and every call can fail. Reads raise `UpstreamError`, like the reads of an index,
and writes raise `StorageError`. After a missed deadline or another failure of the service, the bucket is not asked for
10 seconds (`breaker`).

A cancelled upload in parts would stay in the bucket, unseen and paid for. An upload therefore runs in a separate
task, which is never cancelled. To stop it, the bucket makes the reader of its bytes fail. obstore then aborts the
upload.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any, BinaryIO, TypeVar

import obstore

from assay import telemetry
from assay.errors import (
    ConfigurationError,
    InvalidResponseError,
    StorageError,
    UpstreamGoneError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from assay.ports import BodyStream, FileBody
from assay.simple.model import Sha256
from assay.store.objects.breaker import Breaker
from assay.store.objects.obstore_private import DENIED_ERRORS, EXISTS_ERRORS, STORE_ERRORS, connect, describe
from assay.store.objects.settings import UNTESTED_SCHEMES, ObjectStorageSettings
from assay.telemetry.metrics import OBJECTS_SECONDS

_PART_BYTES = 8 * 2**20
"""Size of the parts of an upload. A smaller file is one request; an iterator would take three even for five bytes."""
_PARTS_AT_ONCE = 2
_MAX_TRANSFERS = 4
"""Maximum number of uploads at the same time. Each has at most three parts in memory."""
_READ_BYTES = 2**20
_MIN_CHUNK_BYTES = 64 * 2**10
_LIST_CHUNK = 1000
_MAX_OFFSET = 2**63 - 1
_PROBE_SECONDS = 10.0
"""Maximum time in seconds for each write of `Bucket.probe`. Otherwise, a service that accepts connections and never
answers would delay the start by a minute, the time for which obstore tries again."""
_CLOSE_SECONDS = 10.0
"""Maximum time in seconds that `close` waits for uploads that it has stopped."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEntry:
    """Object in a list."""

    key: str
    size: int
    """Size in bytes."""
    modified_at: datetime


class Bucket:
    """Objects of one deployment. Keys are relative to the prefix ``<url>/<deployment>/``.

    Args:
        settings: location and deadlines.
        clock: returns the current time in seconds, monotonic.
        probe_seconds: maximum time in seconds for each write of `probe`.

    Raises:
        ConfigurationError: obstore does not accept the location.
    """

    def __init__(
        self,
        settings: ObjectStorageSettings,
        clock: Callable[[], float] = time.monotonic,
        *,
        probe_seconds: float = _PROBE_SECONDS,
    ) -> None:
        self._settings = settings
        self._probe_seconds = probe_seconds
        self._store = connect(settings)
        self._breaker = Breaker(clock, trial_seconds=settings.first_byte_seconds)
        self._transfers: set[asyncio.Task[Any]] = set()
        self._slots = asyncio.Semaphore(_MAX_TRANSFERS)
        self._is_closing = False
        self.has_conditions = False
        """True if the service refuses to create an object twice. `probe` finds out."""

    @property
    def is_available(self) -> bool:
        """True if the last call was answered in time."""
        return self._breaker.is_closed

    def _get_path(self, key: str) -> str:
        return f"{self._settings.deployment}/{key}"

    @asynccontextmanager
    async def _call(self, operation: str, seconds: float | None) -> AsyncIterator[None]:
        """Measure one call of the service, limit its time, and record its failure.

        Raises:
            FileNotFoundError: the object does not exist.
            UpstreamTimeoutError: no answer in time.
            UpstreamUnavailableError: the service failed, or it has failed within the last 10 seconds.
        """
        if not self._breaker.may_call():
            raise UpstreamUnavailableError("the object storage does not answer")
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                yield
        except FileNotFoundError:
            self._report_success()
            raise
        except EXISTS_ERRORS:
            self._report_success()
            raise
        except TimeoutError as error:
            self._report_failure(error)
            raise UpstreamTimeoutError("the object storage did not answer in time") from error
        except STORE_ERRORS as error:
            self._report_failure(error)
            raise UpstreamUnavailableError(f"the object storage failed: {describe(error)}") from error
        else:
            self._report_success()
        finally:
            OBJECTS_SECONDS.labels(operation).observe(time.monotonic() - started)

    def _report_success(self) -> None:
        if self._breaker.succeed():
            telemetry.event("objects-available")

    def _report_failure(self, error: BaseException) -> None:
        if self._breaker.fail():
            telemetry.warning("objects-unavailable", error=describe(error))

    @asynccontextmanager
    async def open(self, key: str, start: int = 0) -> AsyncIterator[FileBody]:
        """Open the bytes of an object from offset `start`.

        The first byte must arrive within `first_byte_seconds`, and each further part within `read_seconds`.

        Raises:
            UpstreamGoneError: no such object.
            InvalidResponseError: the object ends before `start`.
            UpstreamUnavailableError: the service does not answer in time, or it failed.
        """
        if not 0 <= start <= _MAX_OFFSET:
            raise InvalidResponseError(f"an object has no byte {start}")
        if start and (size := await self.find_size(key)) is not None and size <= start:
            raise InvalidResponseError(f"the object has {size} bytes, expected more than {start}")
        try:
            async with self._call("get", self._settings.first_byte_seconds):
                result = await obstore.get_async(
                    self._store, self._get_path(key), options={"range": {"offset": start}} if start else {}
                )
                stream = aiter(result.stream(min_chunk_size=_MIN_CHUNK_BYTES))
                first = await anext(stream, b"")
        except FileNotFoundError as error:
            raise UpstreamGoneError("the object storage does not have the file") from error
        if result.range[0] != start:
            raise InvalidResponseError(f"the object begins at byte {result.range[0]}, expected byte {start}")
        chunks = self._read_chunks(first, stream)
        yield BodyStream(start=start, length=result.meta["size"], chunks=chunks, content_type="", url=key)

    async def _read_chunks(self, first: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes | memoryview]:
        yield first
        while True:
            try:
                async with asyncio.timeout(self._settings.read_seconds):
                    chunk = await anext(stream, None)
            except TimeoutError as error:
                self._report_failure(error)
                raise UpstreamTimeoutError("the object storage stopped in the middle of a file") from error
            except STORE_ERRORS as error:
                self._report_failure(error)
                raise UpstreamUnavailableError(f"the object storage failed: {describe(error)}") from error
            if chunk is None:
                return
            yield chunk

    async def find_size(self, key: str) -> int | None:
        """Return the size of an object in bytes; None if it does not exist.

        Raises:
            UpstreamUnavailableError: the service does not answer in time, or it failed.
        """
        try:
            async with self._call("head", self._settings.first_byte_seconds):
                return (await obstore.head_async(self._store, self._get_path(key)))["size"]
        except FileNotFoundError:
            return None

    async def read(self, key: str, max_bytes: int) -> bytes | None:
        """Return a small object; None if it does not exist.

        Raises:
            InvalidResponseError: the object has more than `max_bytes` bytes.
            UpstreamUnavailableError: the service does not answer in time, or it failed.
        """
        parts, total = list[bytes | memoryview](), 0
        try:
            async with self.open(key) as body:
                async for chunk in body.chunks:
                    total += len(chunk)
                    if total > max_bytes:
                        raise InvalidResponseError(f"the object has more than {max_bytes} bytes")
                    parts.append(chunk)
        except UpstreamGoneError:
            return None
        return b"".join(parts)

    async def put(self, key: str, body: bytes, *, is_new: bool = False) -> bool:
        """Store a small object; return False if it exists and `is_new` is True.

        Args:
            key: key of the object.
            body: its bytes.
            is_new: True to leave an existing object as it is. This works only if `has_conditions` is True.

        Raises:
            StorageError: the object cannot be written.
        """
        return await self._run_transfer(self._put(key, body, is_new=is_new))

    async def _put(self, key: str, body: bytes, *, is_new: bool) -> bool:
        try:
            async with self._call("put", None):
                await obstore.put_async(
                    self._store,
                    self._get_path(key),
                    body,
                    mode="create" if is_new else "overwrite",
                    use_multipart=False,
                )
        except EXISTS_ERRORS:
            return False
        return True

    async def put_file(self, key: str, reader: BinaryIO, sha256: Sha256) -> None:
        """Store a file, and close its reader. An object of the same size is left as it is.

        Cancelling the caller does not cancel the upload.

        Args:
            key: key of the object.
            reader: unbuffered file object. Its position is ignored.
            sha256: SHA-256 of the file. If the file has another one, the object is not written.

        Raises:
            StorageError: the file cannot be read or has other bytes, or the object cannot be written.
        """
        await self._run_transfer(self._put_file(key, reader, sha256), reader)

    async def _put_file(self, key: str, reader: BinaryIO, sha256: Sha256) -> None:
        size = os.fstat(reader.fileno()).st_size
        if await self.find_size(key) == size:
            return
        pieces = self._read_pieces(reader, sha256)
        if size <= _PART_BYTES:
            await self._put(key, b"".join([piece async for piece in pieces]), is_new=False)
            return
        async with self._call("put", None):
            await obstore.put_async(
                self._store,
                self._get_path(key),
                pieces,
                use_multipart=True,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    async def _read_pieces(self, reader: BinaryIO, sha256: Sha256) -> AsyncIterator[bytes]:
        """Yield the bytes of a file.

        Raises:
            StorageError: the file cannot be read or has another digest, or the bucket is closing. The upload is then
                aborted.
        """
        hashed, position = hashlib.sha256(), 0

        def read() -> bytes:
            piece = os.pread(reader.fileno(), _READ_BYTES, position)
            hashed.update(piece)
            return piece

        while True:
            try:
                piece = await asyncio.to_thread(read)
            except OSError as error:
                raise StorageError(f"cannot read {sha256}: {error.strerror}") from error
            if self._is_closing:
                raise StorageError("the proxy is closing")
            if not piece:
                break
            position += len(piece)
            yield piece
        if hashed.hexdigest() != sha256:
            raise StorageError(f"the stored file {sha256} is corrupt")

    async def _run_transfer(self, work: Coroutine[Any, Any, _T], reader: BinaryIO | None = None) -> _T:
        """Run an upload in a separate task, and wait for it.

        Raises:
            StorageError: the upload failed.
        """

        async def run() -> _T:
            async with self._slots:
                return await work

        if self._is_closing:
            work.close()
            if reader is not None:
                reader.close()
            raise StorageError("the proxy is closing")
        task = asyncio.create_task(run(), name="upload of an object")
        self._transfers.add(task)

        def end(ended: asyncio.Task[_T]) -> None:
            self._transfers.discard(ended)
            work.close()
            if reader is not None:
                reader.close()
            if not ended.cancelled():
                ended.exception()  # retrieve the exception: the caller may have been cancelled

        task.add_done_callback(end)
        try:
            return await asyncio.shield(task)
        except (UpstreamUnavailableError, *STORE_ERRORS) as error:
            raise StorageError(f"cannot write an object: {describe(error)}") from error

    async def remove(self, key: str) -> None:
        """Remove an object, if it exists.

        Raises:
            StorageError: the object cannot be removed.
        """
        try:
            async with self._call("delete", self._settings.first_byte_seconds):
                await obstore.delete_async(self._store, self._get_path(key))
        except FileNotFoundError:
            return
        except UpstreamUnavailableError as error:
            raise StorageError(f"cannot remove an object: {error}") from error

    async def list(self, prefix: str) -> AsyncIterator[ObjectEntry]:
        """Yield the objects whose keys begin with the folder `prefix`, in the order of the service.

        Raises:
            UpstreamUnavailableError: the service does not answer in time, or it failed.
        """
        skipped = len(self._get_path(""))
        chunks = aiter(obstore.list(self._store, self._get_path(prefix), chunk_size=_LIST_CHUNK))
        while True:
            async with self._call("list", self._settings.read_seconds):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            for each in chunk:
                yield ObjectEntry(key=each["path"][skipped:], size=each["size"], modified_at=each["last_modified"])

    async def probe(self) -> None:
        """Check that objects can be written, read and removed, and find out if the service refuses to create twice.

        Raises:
            ConfigurationError: the service refuses access, has no such bucket, or answers with other bytes.
            StorageError: the service does not answer.
        """
        if self._settings.scheme in UNTESTED_SCHEMES:
            telemetry.warning("objects-untested", scheme=self._settings.scheme)
        key, body = f"probe/{token_hex(16)}", token_hex(16).encode()
        try:
            await self._put_in_time(key, body, is_new=False)
            if await self.read(key, len(body)) != body:
                raise ConfigurationError("objects: the object storage answers with other bytes than were written")
            self.has_conditions = await self._refuses_second(key, body)
            await self.remove(key)
        except (StorageError, UpstreamUnavailableError, InvalidResponseError) as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise ConfigurationError("objects: the bucket or directory does not exist") from error
            cause = error.__cause__
            while cause is not None and not isinstance(cause, DENIED_ERRORS):
                cause = cause.__cause__
            if cause is not None:
                raise ConfigurationError(f"objects: the object storage refuses access: {describe(cause)}") from error
            raise StorageError(f"the object storage is not usable: {error}") from error
        if not self.has_conditions:
            telemetry.warning("objects-without-conditions", meaning='audit.sink = "objects" is not possible')

    async def _put_in_time(self, key: str, body: bytes, *, is_new: bool) -> bool:
        """Store an object of `probe`, as `put` does. After the maximum time, the upload continues alone.

        Raises:
            StorageError: the object cannot be written, or not in time.
        """
        try:
            async with asyncio.timeout(self._probe_seconds):
                return await self.put(key, body, is_new=is_new)
        except TimeoutError as error:
            self._report_failure(error)
            raise StorageError("cannot write an object: no answer in time") from error

    async def _refuses_second(self, key: str, body: bytes) -> bool:
        """Return whether the service refuses to create an existing object. An error, such as 501, counts as no."""
        try:
            return not await self._put_in_time(key, body, is_new=True)
        except StorageError:
            self._breaker.succeed()  # the next call finds out if the service is away
            return False

    async def close(self) -> None:
        """Stop the uploads, and wait until they are aborted. Idempotent."""
        self._is_closing = True
        if self._transfers:
            await asyncio.wait(self._transfers, timeout=_CLOSE_SECONDS)
