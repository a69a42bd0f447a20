"""Download of one file for any number of followers, which get the last bytes only after the digest is verified.

A follower is a response that sends the file while it is downloaded. The download writes received bytes to a
`PartialBlob` (a temporary file), and followers read them there. The memory use does not grow with the number of
followers, nor with slow followers. A follower that leaves does not affect the others. A source is a place that files
are downloaded from. This module knows no HTTP: a source opens response bodies, and followers get the spans of bytes
that they may send.

- Followers may send the last 64 KiB only after two checks: the SHA-256 of the whole file matches the approved one, and
  the file is still approved. A file of at most 64 KiB is withheld as a whole. Followers need not wait for fsync.
- If the file is already stored, its bytes are verified first, without being copied. Followers may send the bytes that
  have been hashed so far. If the bytes are wrong and no follower may have sent any, the sources are tried.
- A stored file of at most 8 MiB is withheld as a whole until it is verified. If it is corrupt, its followers therefore
  get the bytes from a source instead of an error.
- The download tries the sources in order. If a source does not have the file or fails too often, the next source
  continues at the first missing byte.
- If the received bytes turn out to be wrong, they are dropped and the next source begins at byte 0. If a follower may
  already have sent some of the wrong bytes, the download fails instead.
- If a body breaks off, the next request continues at the first missing byte. A source may ignore the Range header and
  send the file from byte 0. This is accepted if the repeated bytes are the same as before.
- If the download fails, every follower gets an exception. An incomplete or wrong file is never stored.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from typing import BinaryIO

from assay import telemetry
from assay.errors import (
    AssayError,
    DigestMismatchError,
    InvalidResponseError,
    StorageError,
    UpstreamError,
    UpstreamGoneError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from assay.files.source_plan import SourcePlan
from assay.files.write_buffer import WriteBuffer
from assay.ports import Blob, BlobStore, ExpectedFile, FileBody, PartialBlob, Source
from assay.telemetry import tracing

WITHHELD_TAIL_BYTES = 64 * 1024
"""Number of bytes at the end of a file that are withheld until the digest is verified (docs/architecture.md, promise
2)."""
_WITHHELD_STORED_BYTES = 8 * 1024 * 1024
"""Size in bytes up to which a stored file is withheld as a whole until its digest is verified. Hashing so many bytes
takes about 6 ms."""
_MAX_TRIES_WITHOUT_PROGRESS = 4
"""Number of tries in a row without progress after which the download gives up a source."""
_MIN_PROGRESS_BYTES = 1024 * 1024
"""Minimum number of bytes that a try must yield to count as progress. Without this minimum, an index whose connections
always break early would be tried for too long."""
_MAX_BYTES_TO_FINISH_ALONE = 16 * 1024 * 1024
"""Maximum number of missing bytes for which a download without followers always continues, to fill the cache. If more
bytes are missing, the download continues only if at least half of the file was received. Otherwise it is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteSpan:
    """Span of bytes of a file that a follower may send now."""

    offset: int
    count: int


class Download:
    """Download of one file. The owner of the object calls `run` once, and each follower calls `follow`.

    Args:
        expected: the file, with its digest and size.
        plan: sources of the bytes, one after the other. No other download uses it.
        blobs: storage for the complete file.
        stored: blob of the file, which this process has not verified yet; None if the file is not stored. The download
            verifies the blob first, and closes it at the end.
    """

    def __init__(self, expected: ExpectedFile, plan: SourcePlan, blobs: BlobStore, stored: Blob | None = None) -> None:
        self.expected = expected
        self.length = expected.size if stored is None else stored.size
        self.followers = 0
        self.stored = stored
        self._plan = plan
        self._blobs = blobs
        self._partial: PartialBlob | None = None
        self._moves_of_dropped = 0
        self._written = 0
        self._suppliers: list[Source] = []
        """Sources of the bytes received so far."""
        self._is_released = False
        """True once a follower was allowed to send bytes before the digest was verified."""
        self._verified = False
        self._failure: AssayError | None = None
        self._change_event = asyncio.Event()
        self._no_followers = asyncio.Event()
        self._no_followers.set()
        self._is_useless = False
        self._waits_for_followers = True
        self._is_checking_stored = stored is not None

    @property
    def is_verified(self) -> bool:
        """True if all bytes are present and have the expected digest."""
        return self._verified

    @property
    def has_failed(self) -> bool:
        """True if the download ended without the expected bytes."""
        return self._failure is not None

    @property
    def has_begun(self) -> bool:
        """True if bytes have been received."""
        return self._written > 0

    @property
    def was_silent(self) -> bool:
        """True if the download failed because no byte arrived in time."""
        return isinstance(self._failure, UpstreamTimeoutError) and not self.has_begun

    async def run(self) -> None:
        """Fetch, verify and store the file. A failure is raised in the followers, not by this method."""
        sha256, size, stored = self.expected.sha256, self.expected.size, self.stored is not None
        with tracing.span("download", sha256=sha256, size=size, stored=stored) as span:
            await self._run()
            span.set_attributes(error=type(self._failure).__name__ if self._failure is not None else None)

    async def _run(self) -> None:
        try:
            if self.stored is not None and await self._check_stored(self.stored):
                await self._wait_until_unfollowed()
                return
            self._partial = await self._blobs.create_partial()
            # If the file is stored, new requests read it there. The present followers keep the one that was hashed.
            partial = await self._fetch(self._partial)
            is_stored = await self._publish(partial)
            self._plan.finish(is_stored=is_stored)
            self._is_useless = is_stored or not await _is_readable(partial)
            await self._wait_until_unfollowed()
        except AssayError as error:
            self._fail(error)
        except BaseException:
            self._fail(UpstreamUnavailableError("the download was stopped"))
            raise
        finally:
            self._plan.finish(is_stored=False)
            await self.close_stored()
            if self._partial is not None:
                await self._partial.discard()

    async def close_stored(self) -> None:
        """Close the stored blob, if there is one. Idempotent.

        `run` closes the blob at its end. Call this method too, because a task can be cancelled before `run` begins.
        """
        if self.stored is not None:
            await self.stored.close()

    async def _check_stored(self, stored: Blob) -> bool:
        """Verify the stored bytes, and return whether they are right. Followers may send bytes that have been hashed.

        If the result is False, no follower may have sent any of the wrong bytes, and a source must send the file.

        Raises:
            StorageError: the bytes are wrong, and a follower may already have sent some of them.
        """
        is_intact = await stored.verify(self._on_written)
        self._is_checking_stored = False
        if is_intact:
            self._set_verified()
            return True
        if self._is_released:
            raise StorageError("the stored file is corrupt and is removed; the next request downloads it again")
        self._written, self.length = 0, self.expected.size
        self._moves_of_dropped += 1
        return False

    @property
    def is_useless(self) -> bool:
        """True if the download failed, or its bytes are stored or gone: a new follower needs a new download."""
        return self.has_failed or self._is_useless

    @property
    def move_count(self) -> int:
        """Number of times that the bytes moved to another temporary file.

        After a move, followers must open the file again.
        """
        return self._moves_of_dropped + (self._partial.move_count if self._partial is not None else 0)

    @property
    def missing_bytes(self) -> int:
        """Number of bytes not yet received; zero or negative if the length of the file is unknown."""
        return (self.length or 0) - self._written

    @property
    def is_mostly_missing(self) -> bool:
        """True if so many bytes are missing that a download without followers should be stopped."""
        return not self._is_checking_stored and self.missing_bytes > max(_MAX_BYTES_TO_FINISH_ALONE, self._written)

    def add_follower(self) -> None:
        """Increase the number of followers by one."""
        self.followers += 1
        self._no_followers.clear()

    def remove_follower(self) -> None:
        """Decrease the number of followers by one."""
        self.followers -= 1
        if not self.followers:
            self._no_followers.set()

    def stop_waiting_for_followers(self) -> None:
        """End `run` as soon as the file is stored, even if followers have not read it yet."""
        self._waits_for_followers = False
        self._no_followers.set()

    async def _wait_until_unfollowed(self) -> None:
        while self.followers and self._waits_for_followers:
            await self._no_followers.wait()
        self._is_useless = True

    async def wait_until_sendable(self) -> None:
        """Wait until the first byte of the file may be sent.

        Raises:
            AssayError: the download failed.
        """
        while not self._verified and self._get_sendable_bytes() == 0:
            await self._wait_for_change()
        self._is_released |= not self._verified

    async def wait_until_verified(self) -> None:
        """Wait until all bytes are present and the digest is verified.

        Raises:
            AssayError: the download failed.
        """
        while not self._verified:
            await self._wait_for_change()

    async def open_reader(self) -> BinaryIO:
        """Open a new file object for the bytes received so far. The caller must close it.

        Before this method, call `wait_until_sendable` or `wait_until_verified`. The file belongs to the value of
        `move_count` at the return of this method.

        Raises:
            AssayError: the download has failed meanwhile.
            StorageError: the temporary file cannot be opened.
        """
        while True:
            moves = self.move_count
            try:
                reader = await self._open_current()
            except StorageError:
                if self.move_count != moves:
                    continue
                # If the file is gone because the download failed, raise that failure instead.
                self._raise_failure()
                raise
            if self.move_count == moves:
                return reader
            # The bytes moved to another file while this one was opened, so it gets no further bytes.
            reader.close()

    async def _open_current(self) -> BinaryIO:
        source = self._partial or self.stored
        if source is None:
            raise RuntimeError("open_reader was called before wait_until_sendable or wait_until_verified")
        return await source.open_reader()

    async def follow(self, still_approved: Callable[[], Awaitable[None]], start: int = 0) -> AsyncIterator[ByteSpan]:
        """Yield the spans of the file in order, each as soon as a follower may send it.

        Args:
            still_approved: called after the verification and before the last span. It raises an error if the file is no
                longer approved.
            start: offset of the first byte that the follower wants.

        Raises:
            AssayError: the download failed. The follower must abort its response, so that no client takes it as
                complete.
        """
        position = start
        while True:
            if self._verified:
                await still_approved()
                if position < self._written:
                    yield ByteSpan(offset=position, count=self._written - position)
                return
            available = self._get_sendable_bytes()
            if position < available:
                self._is_released = True
                yield ByteSpan(offset=position, count=available - position)
                position = available
            else:
                await self._wait_for_change()

    def _get_sendable_bytes(self) -> int:
        if self.length is None or self.length <= WITHHELD_TAIL_BYTES:
            return 0
        if self._is_checking_stored and self.length <= _WITHHELD_STORED_BYTES:
            return 0
        return min(self._written, self.length - WITHHELD_TAIL_BYTES)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            # Each follower gets a copy, because a shared exception would grow its traceback with every raise.
            raise copy(self._failure) from self._failure

    async def _wait_for_change(self) -> None:
        self._raise_failure()
        await self._change_event.wait()

    def _notify_followers(self) -> None:
        self._change_event.set()
        self._change_event = asyncio.Event()

    def _fail(self, error: AssayError) -> None:
        if not self._verified:
            self._failure = error
        self._notify_followers()
        if isinstance(error, DigestMismatchError):
            telemetry.security("digest-mismatch", sha256=self.expected.sha256, error=str(error))
        else:
            telemetry.warning(
                "download-failed", sha256=self.expected.sha256, error=str(error), published=self._verified
            )

    async def _fetch(self, partial: PartialBlob) -> PartialBlob:
        """Fetch the file from the sources in order, and return the temporary file with the verified bytes.

        If wrong bytes came from several sources, the last one of these sources may be right. So it is tried again, from
        byte 0.

        Args:
            partial: an empty temporary file. If wrong bytes are dropped, another file replaces it.

        Raises:
            UpstreamError: no source has the file, or the last source failed.
            DigestMismatchError: the bytes are wrong, and either a follower may have sent some of them or no source is
                left.
            StorageError: the temporary file cannot be written.
        """
        source = await self._require_next()
        while True:
            try:
                await self._fetch_from(source, partial)
                await self._verify(partial)
            except DigestMismatchError as error:
                suppliers = [*self._suppliers, source]
                self._plan.report_wrong_bytes(suppliers)
                if self._is_released:
                    raise
                # Forget the bytes before the first await, so that a follower that joins meanwhile finds none to send.
                self._written, self.length, self._suppliers = 0, self.expected.size, []
                if all(each is source for each in suppliers):
                    source = await self._require_next(error)
                telemetry.security("digest-mismatch", sha256=self.expected.sha256, error=str(error))
                partial = await self._start_over(partial)
            except UpstreamError as error:
                source = await self._require_next(error)
                if self._written or not isinstance(error, UpstreamGoneError):
                    telemetry.event("download-resumed", sha256=self.expected.sha256, at=self._written, error=str(error))
                if not self._written:
                    self.length = self.expected.size
            else:
                return partial

    async def _require_next(self, error: UpstreamError | None = None) -> Source:
        """Return the next source.

        Raises:
            UpstreamError: no source is left. This is `error`, the failure of the last source.
        """
        source = await self._plan.get_next()
        if source is None:
            raise error or UpstreamGoneError("no source has the file")
        return source

    async def _start_over(self, partial: PartialBlob) -> PartialBlob:
        """Discard wrong bytes and return a new temporary file. Call this only if no follower may have sent any of them.

        Args:
            partial: the temporary file with the wrong bytes.
        """
        await partial.discard()
        self._partial = empty = await self._blobs.create_partial()
        self._moves_of_dropped += partial.move_count + 1
        return empty

    async def _fetch_from(self, source: Source, partial: PartialBlob) -> None:
        tries = 0
        while True:
            start = self._written
            try:
                async with source.contents(self.expected, start) as body:
                    self._check_length(body.length)
                    await self._receive_body(body, partial)
                    return
            except UpstreamUnavailableError as error:
                if isinstance(error, UpstreamTimeoutError) and not self._written:
                    # No byte arrived in time: the clients that wait should get the reason before they give up.
                    raise
                tries = 1 if self._written - start >= _MIN_PROGRESS_BYTES else tries + 1
                if tries >= _MAX_TRIES_WITHOUT_PROGRESS:
                    raise
                if (delay := source.get_retry_delay(tries, error.retry_after)) is None:
                    raise
                await asyncio.sleep(delay)
                telemetry.event("download-resumed", sha256=self.expected.sha256, at=self._written, error=str(error))
            finally:
                if self._written > start and source not in self._suppliers:
                    self._suppliers.append(source)

    def _check_length(self, content_length: int | None) -> None:
        if content_length is None:
            return
        if self.length is None:
            self.length = content_length
        if content_length != self.length:
            raise DigestMismatchError(f"the index sends {content_length} bytes, expected {self.length}")
        if content_length > self.expected.limit:
            raise InvalidResponseError(
                f"the file has {content_length} bytes, more than the limit of {self.expected.limit}"
            )

    async def _receive_body(self, body: FileBody, partial: PartialBlob) -> None:
        chunks = body.chunks if body.start == self._written else self._skip_repeated(body, partial)
        buffer = WriteBuffer(partial, self._on_written)
        max_bytes = self.expected.limit if self.length is None else self.length
        total = self._written
        try:
            async for chunk in chunks:
                total += len(chunk)
                if total > max_bytes:
                    raise DigestMismatchError(f"the index sends more than the expected {max_bytes} bytes")
                await buffer.add(chunk)
        finally:
            # Also after a broken body, because the next try resumes at the end of the written bytes.
            await buffer.flush()
        if self.length is not None and self._written < self.length:
            raise UpstreamUnavailableError(f"the body ended after {self._written} of {self.length} bytes")

    async def _skip_repeated(self, body: FileBody, partial: PartialBlob) -> AsyncIterator[bytes | memoryview]:
        """Skip the first bytes of a body, which were received before, and yield the chunks after them.

        Raises:
            DigestMismatchError: the skipped bytes differ from the bytes received before.
            InvalidResponseError: the body begins neither at byte 0 nor at the requested byte.
        """
        repeated, remaining = hashlib.sha256(), self._written
        if body.start != 0:
            raise InvalidResponseError(f"the body begins at byte {body.start}, expected byte {remaining}")
        async for chunk in body.chunks:
            if not remaining:
                yield chunk
                continue
            head = chunk[:remaining]
            repeated.update(head)
            remaining -= len(head)
            if not remaining:
                if repeated.hexdigest() != await partial.digest():
                    raise DigestMismatchError("the index now sends different bytes for the same file")
                if rest := chunk[len(head) :]:
                    yield rest

    def _on_written(self, written_bytes: int) -> None:
        self._written = written_bytes
        self._notify_followers()

    async def _verify(self, partial: PartialBlob) -> None:
        found = await partial.digest()
        if found != self.expected.sha256:
            raise DigestMismatchError(f"the file has SHA-256 {found}, but the index's page says {self.expected.sha256}")
        self._set_verified()

    def _set_verified(self) -> None:
        self.length = self._written
        self._verified = True
        self._notify_followers()

    async def _publish(self, partial: PartialBlob) -> bool:
        try:
            await partial.commit(self.expected.sha256)
        except StorageError as error:
            telemetry.warning("blob-write-failed", sha256=self.expected.sha256, error=str(error))
            return False
        telemetry.event("download-finished", sha256=self.expected.sha256, size=self._written)
        return True


async def _is_readable(partial: PartialBlob) -> bool:
    """Return whether new followers can read a verified file that could not be stored."""
    try:
        (await partial.open_reader()).close()
    except StorageError:
        return False
    return True
