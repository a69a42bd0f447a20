"""One fetch of a file, any number of followers, the tail withheld until the digest is right.

Owns one download. The bytes go to a `PartialBlob` (a temporary file) as they come
and followers read them from there, so that memory does not grow with followers or their slowness, and one that leaves
harms none. It knows no HTTP: a source opens bodies, a follower gets spans of the file that may be sent.

- Sources are tried in order. One that has no such file, fails or is given up hands over to the next, which goes on at
  the byte that was reached. Wrong bytes are dropped and the next source begins at byte 0, unless a follower may have
  sent some of them: then the download fails.

- Nothing of the last 64 KiB (of a small file: nothing at all) is released before the SHA-256 of the whole is the one
  that was decided on and the caller has confirmed that the file is still approved. The tail waits for the hash, not for
  fsync.
- A body that breaks is taken up where it broke, with the hash carried on. A source that ignores the Range and starts
  again is followed while its bytes agree with those already taken.
- Failure reaches every follower as an exception; nothing unfinished or wrong is ever published.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from assay import telemetry
from assay.errors import (
    AssayError,
    DigestMismatchError,
    InvalidResponseError,
    StorageError,
    UpstreamError,
    UpstreamUnavailableError,
)
from assay.files.write_buffer import WriteBuffer
from assay.ports import BlobStore, ExpectedFile, FileBody, PartialBlob, Source
from assay.telemetry import tracing

WITHHELD_TAIL_BYTES = 64 * 1024
"""Bytes withheld until the digest is right (docs/architecture.md, "Promises", 2)."""
_MAX_TRIES_WITHOUT_PROGRESS = 4
_MIN_PROGRESS_BYTES = 1024 * 1024
"""Bytes that one try must bring to count as progress: an index that breaks every few bytes is given up."""
_MAX_BYTES_TO_FINISH_ALONE = 16 * 1024 * 1024
"""Bytes. An abandoned download with more than this and more than half of it still to come is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteSpan:
    """Bytes of the file that may be sent now."""

    offset: int
    count: int


class Download:
    """One file on its way in. `run` once; `follow` as often as wanted."""

    def __init__(self, expected: ExpectedFile, sources: Sequence[Source], blobs: BlobStore) -> None:
        self.expected = expected
        self.length = expected.size
        self.followers = 0
        self._sources = tuple(sources)
        self._blobs = blobs
        self._partial: PartialBlob | None = None
        self._moves_of_dropped = 0
        self._written = 0
        self._suppliers: list[Source] = []
        """Sources of the bytes that are here."""
        self._is_released = False
        """Whether a follower was told that it may send bytes before they were verified."""
        self._verified = False
        self._failure: AssayError | None = None
        self._change_event = asyncio.Event()
        self._no_followers = asyncio.Event()
        self._no_followers.set()
        self._is_useless = False

    @property
    def is_verified(self) -> bool:
        """Whether all bytes are here and their digest is the wanted one."""
        return self._verified

    @property
    def has_failed(self) -> bool:
        """Whether it has ended without the wanted bytes."""
        return self._failure is not None

    async def run(self) -> None:
        """Fetch, verify, publish. Failures go to the followers, not to the caller."""
        with tracing.span("download", sha256=self.expected.sha256, size=self.expected.size) as span:
            await self._run()
            span.set_attributes(error=type(self._failure).__name__ if self._failure is not None else None)

    async def _run(self) -> None:
        try:
            self._partial = await self._blobs.create_partial()
            if not await self._publish(await self._fetch(self._partial)):
                # Nobody finds these bytes again, but those who follow read them from here to the end.
                await self._wait_until_unfollowed()
        except AssayError as error:
            self._fail(error)
        except BaseException:
            self._fail(UpstreamUnavailableError("the download was stopped"))
            raise
        finally:
            if self._partial is not None:
                await self._partial.discard()

    @property
    def is_useless(self) -> bool:
        """Whether it is no use to anybody who comes now."""
        return self.has_failed or self._is_useless

    @property
    def move_count(self) -> int:
        """Grows when the bytes go on elsewhere: a reader obtained before must then be obtained again."""
        return self._moves_of_dropped + (self._partial.move_count if self._partial is not None else 0)

    @property
    def missing_bytes(self) -> int:
        """Bytes still to come, as far as the length is known."""
        return (self.length or 0) - self._written

    @property
    def is_mostly_missing(self) -> bool:
        """Whether to stop costs less than to finish for the cache alone."""
        return self.missing_bytes > max(_MAX_BYTES_TO_FINISH_ALONE, self._written)

    def add_follower(self) -> None:
        """One follower more."""
        self.followers += 1
        self._no_followers.clear()

    def remove_follower(self) -> None:
        """One follower less."""
        self.followers -= 1
        if not self.followers:
            self._no_followers.set()

    async def _wait_until_unfollowed(self) -> None:
        await self._no_followers.wait()
        self._is_useless = True

    async def wait_until_sendable(self) -> None:
        """Wait until a first byte may be sent.

        Raises:
            AssayError: what went wrong instead.
        """
        while not self._verified and self._get_sendable_bytes() == 0:
            await self._wait_for_change()
        self._is_released |= not self._verified

    async def wait_until_verified(self) -> None:
        """Wait until the digest is known to be right.

        Raises:
            AssayError: what went wrong instead.
        """
        while not self._verified:
            await self._wait_for_change()

    async def open_reader(self) -> BinaryIO:
        """A file object of the caller's own over what is here; call after `wait_until_sendable`, close it when done.

        Raises:
            AssayError: what went wrong since then.
            StorageError: it cannot be read.
        """
        if self._partial is None:
            raise RuntimeError("Download.reader before Download.ready")
        try:
            return await self._partial.open_reader()
        except StorageError:
            # Discarded because the download failed meanwhile: that is the reason, not the storage.
            self._raise_failure()
            raise

    async def follow(self, still_approved: Callable[[], Awaitable[None]]) -> AsyncIterator[ByteSpan]:
        """Spans in order, as they become sendable; `still_approved` is asked, and may raise, before the tail.

        Raises:
            AssayError: the download failed; what was sent must be abandoned, never completed.
        """
        position = 0
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
        return min(self._written, self.length - WITHHELD_TAIL_BYTES)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            # A fresh copy for each follower: a shared one would grow a traceback with every raise.
            raise type(self._failure)(*self._failure.args) from self._failure

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
        """Return the file with the right bytes, from the first source that gives them; `partial` is empty.

        If several sources gave the bytes and they are wrong, the last of these is tried once more by itself.
        """
        waiting = deque(self._sources)
        while True:
            source = waiting.popleft()
            try:
                await self._fetch_from(source, partial)
                await self._verify(partial)
            except DigestMismatchError as error:
                if any(each is not source for each in self._suppliers):
                    waiting.appendleft(source)
                if self._is_released or not waiting:
                    raise
                telemetry.security("digest-mismatch", sha256=self.expected.sha256, error=str(error))
                partial = await self._start_over(partial)
            except UpstreamError as error:
                if not waiting:
                    raise
                telemetry.event("download-resumed", sha256=self.expected.sha256, at=self._written, error=str(error))
                if not self._written:
                    self.length = self.expected.size
            else:
                return partial

    async def _start_over(self, partial: PartialBlob) -> PartialBlob:
        """Drop bytes of which none was released; return an empty file in the place of `partial`."""
        # First, before anything is waited for: a follower that comes now must find nothing to send.
        self._written, self.length, self._suppliers = 0, self.expected.size, []
        await partial.discard()
        self._partial = empty = await self._blobs.create_partial()
        self._moves_of_dropped += partial.move_count + 1
        return empty

    async def _fetch_from(self, source: Source, partial: PartialBlob) -> None:
        tries = 0
        while True:
            before = self._written
            try:
                async with source.contents(self.expected, before) as body:
                    self._check_length(body.length)
                    await self._receive_body(body, partial)
                    return
            except UpstreamUnavailableError as error:
                tries = 1 if self._written - before >= _MIN_PROGRESS_BYTES else tries + 1
                if tries >= _MAX_TRIES_WITHOUT_PROGRESS:
                    raise
                if (delay := source.get_retry_delay(tries, error.retry_after)) is None:
                    raise
                await asyncio.sleep(delay)
                telemetry.event("download-resumed", sha256=self.expected.sha256, at=self._written, error=str(error))
            finally:
                if self._written > before and source not in self._suppliers:
                    self._suppliers.append(source)

    def _check_length(self, content_length: int | None) -> None:
        if content_length is None:
            return
        if self.length is None:
            self.length = content_length
        if content_length != self.length:
            raise DigestMismatchError(f"the index sends {content_length} bytes where {self.length} were expected")
        if content_length > self.expected.limit:
            raise InvalidResponseError(
                f"the file has {content_length} bytes, more than the limit of {self.expected.limit}"
            )

    async def _receive_body(self, body: FileBody, partial: PartialBlob) -> None:
        chunks = body.chunks if body.start == self._written else self._skip_repeated(body, partial)
        intake = WriteBuffer(partial, self._on_written)
        most = self.expected.limit if self.length is None else self.length
        total = self._written
        try:
            async for chunk in chunks:
                total += len(chunk)
                if total > most:
                    raise DigestMismatchError(f"the index sends more than the {most} bytes expected")
                await intake.add(chunk)
        finally:
            # Also when the body broke: the next try begins where the file ends.
            await intake.flush()
        if self.length is not None and self._written < self.length:
            raise UpstreamUnavailableError(f"the body ended after {self._written} of {self.length} bytes")

    async def _skip_repeated(self, body: FileBody, partial: PartialBlob) -> AsyncIterator[bytes | memoryview]:
        """The chunks past what is already here, once the repeated part has the same hash as the first time."""
        repeated, left = hashlib.sha256(), self._written
        if body.start != 0:
            raise InvalidResponseError(f"the body begins at byte {body.start}, asked for {left}")
        async for chunk in body.chunks:
            if not left:
                yield chunk
                continue
            head = chunk[:left]
            repeated.update(head)
            left -= len(head)
            if not left:
                if repeated.hexdigest() != await partial.digest():
                    raise DigestMismatchError("the index sends other bytes than before for the same file")
                if rest := chunk[len(head) :]:
                    yield rest

    def _on_written(self, written_bytes: int) -> None:
        self._written = written_bytes
        self._notify_followers()

    async def _verify(self, partial: PartialBlob) -> None:
        found = await partial.digest()
        if found != self.expected.sha256:
            raise DigestMismatchError(f"the bytes have SHA-256 {found}, the index's page says {self.expected.sha256}")
        self.length = self._written
        self._verified = True
        self._notify_followers()

    async def _publish(self, partial: PartialBlob) -> bool:
        try:
            await partial.commit(self.expected.sha256)
        except StorageError as error:
            telemetry.warning("blob-not-kept", sha256=self.expected.sha256, error=str(error))
            return False
        telemetry.event("download-finished", sha256=self.expected.sha256, size=self._written)
        return True
