"""One fetch of a file from its index, any number of followers, the tail withheld until the digest is right.

Owns one download. The bytes go to a `Partial` (a temporary file) as they come
and followers read them from there, so that memory does not grow with followers or their slowness, and one that leaves
harms none. It knows no HTTP: a source opens bodies, a follower gets spans of the file that may be sent.

- Nothing of the last 64 KiB (of a small file: nothing at all) is released before the SHA-256 of the whole is the one
  that was decided on and the caller has confirmed that the file is still approved. The tail waits for the hash, not for
  fsync.
- A body that breaks is taken up where it broke, with the hash carried on. An index that ignores the Range and starts
  again is followed while its bytes agree with those already taken.
- Failure reaches every follower as an exception; nothing unfinished or wrong is ever published.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from assay import telemetry
from assay.errors import AssayError, DigestMismatchError, StorageError, UpstreamNonsenseError, UpstreamUnavailableError
from assay.files.write_buffer import Intake
from assay.ports import Blobs, Partial
from assay.simple.model import Sha256
from assay.telemetry import tracing

TAIL = 64 * 1024
"""Bytes withheld until the digest is right (DESIGN, promise 2)."""
_TRIES_WITHOUT_PROGRESS = 4
_PROGRESS = 1024 * 1024
"""Bytes that one try must bring to count as progress: an index that breaks every few bytes is given up."""
_WORTH_FINISHING = 16 * 1024 * 1024
"""Bytes. An abandoned download with more than this and more than half of it still to come is stopped."""


class Body(Protocol):
    """What a source gives: `upstream.Contents`, or a test's."""

    @property
    def start(self) -> int:
        """Where in the file the chunks begin."""

    @property
    def length(self) -> int | None:
        """Bytes of the whole file, where known."""

    @property
    def chunks(self) -> AsyncIterator[bytes | memoryview]:
        """The bytes from `start` on; a memoryview is lent until the next is asked for."""


Source = Callable[[int], AbstractAsyncContextManager[Body]]
"""Opens the file from a byte offset on; raises `UpstreamUnavailableError` where another try may succeed."""


Pause = Callable[[int, float | None], Awaitable[bool]]
"""Waits before try number `n`, or the seconds that the index asked for; False where that is too long to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes of the file that may be sent now."""

    offset: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which bytes a download must end up with."""

    sha256: Sha256
    size: int | None
    """What the page says; None where it says nothing."""
    limit: int
    """The most bytes a file may have."""


class Download:
    """One file on its way in. `run` once; `follow` as often as wanted."""

    def __init__(self, wanted: Wanted, source: Source, blobs: Blobs, *, pause: Pause) -> None:
        self.wanted = wanted
        self.length = wanted.size
        self.followers = 0
        self._source = source
        self._blobs = blobs
        self._pause = pause
        self._partial: Partial | None = None
        self._written = 0
        self._verified = False
        self._failure: AssayError | None = None
        self._changed = asyncio.Event()
        self._alone = asyncio.Event()
        self._alone.set()
        self._over = False

    @property
    def verified(self) -> bool:
        """Whether all bytes are here and their digest is the wanted one."""
        return self._verified

    @property
    def failed(self) -> bool:
        """Whether it has ended without the wanted bytes."""
        return self._failure is not None

    async def run(self) -> None:
        """Fetch, verify, publish. Failures go to the followers, not to the caller."""
        with tracing.span("download", sha256=self.wanted.sha256, size=self.wanted.size) as span:
            await self._run()
            span.note(error=type(self._failure).__name__ if self._failure is not None else None)

    async def _run(self) -> None:
        partial: Partial | None = None
        try:
            self._partial = partial = await self._blobs.begin()
            await self._fetch(partial)
            await self._verify(partial)
            if not await self._publish(partial):
                # Nobody finds these bytes again, but those who follow read them from here to the end.
                await self._left_alone()
        except AssayError as error:
            self._fail(error)
        except BaseException:
            self._fail(UpstreamUnavailableError("the download was stopped"))
            raise
        finally:
            if partial is not None:
                await partial.discard()

    @property
    def over(self) -> bool:
        """Whether it is no use to anybody who comes now."""
        return self.failed or self._over

    @property
    def moves(self) -> int:
        """Grows when the bytes go on elsewhere: a `reader` obtained before must then be obtained again."""
        return self._partial.moves if self._partial is not None else 0

    @property
    def missing(self) -> int:
        """Bytes still to come, as far as the length is known."""
        return (self.length or 0) - self._written

    @property
    def is_mostly_missing(self) -> bool:
        """Whether to stop costs less than to finish for the cache alone."""
        return self.missing > max(_WORTH_FINISHING, self._written)

    def joined(self) -> None:
        """One follower more."""
        self.followers += 1
        self._alone.clear()

    def left(self) -> None:
        """One follower less."""
        self.followers -= 1
        if not self.followers:
            self._alone.set()

    async def _left_alone(self) -> None:
        await self._alone.wait()
        self._over = True

    async def ready(self) -> None:
        """Wait until a first byte may be sent.

        Raises:
            AssayError: what went wrong instead.
        """
        while not self._verified and self._available() == 0:
            await self._change()

    async def finished(self) -> None:
        """Wait until the digest is known to be right.

        Raises:
            AssayError: what went wrong instead.
        """
        while not self._verified:
            await self._change()

    async def reader(self) -> BinaryIO:
        """A file object of the caller's own over what is here; call after `ready`, close it when done.

        Raises:
            AssayError: what went wrong since then.
            StorageError: it cannot be read.
        """
        if self._partial is None:
            raise RuntimeError("Download.reader before Download.ready")
        try:
            return await self._partial.reader()
        except StorageError:
            # Discarded because the download failed meanwhile: that is the reason, not the storage.
            self._refuse()
            raise

    async def follow(self, still_approved: Callable[[], Awaitable[None]]) -> AsyncIterator[Span]:
        """Spans in order, as they become sendable; `still_approved` is asked, and may raise, before the tail.

        Raises:
            AssayError: the download failed; what was sent must be abandoned, never completed.
        """
        position = 0
        while True:
            if self._verified:
                await still_approved()
                if position < self._written:
                    yield Span(offset=position, count=self._written - position)
                return
            available = self._available()
            if position < available:
                yield Span(offset=position, count=available - position)
                position = available
            else:
                await self._change()

    def _available(self) -> int:
        if self.length is None or self.length <= TAIL:
            return 0
        return min(self._written, self.length - TAIL)

    def _refuse(self) -> None:
        if self._failure is not None:
            # A fresh copy for each follower: a shared one would grow a traceback with every raise.
            raise type(self._failure)(*self._failure.args) from self._failure

    async def _change(self) -> None:
        self._refuse()
        await self._changed.wait()

    def _pulse(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _fail(self, error: AssayError) -> None:
        if not self._verified:
            self._failure = error
        self._pulse()
        if isinstance(error, DigestMismatchError):
            telemetry.security("digest-mismatch", sha256=self.wanted.sha256, error=str(error))
        else:
            telemetry.warning("download-failed", sha256=self.wanted.sha256, error=str(error), published=self._verified)

    async def _fetch(self, partial: Partial) -> None:
        tries = 0
        while True:
            before = self._written
            try:
                async with self._source(before) as body:
                    self._agree_on_length(body.length)
                    await self._take(body, partial)
                    return
            except UpstreamUnavailableError as error:
                tries = 1 if self._written - before >= _PROGRESS else tries + 1
                if tries >= _TRIES_WITHOUT_PROGRESS or not await self._pause(tries, error.retry_after):
                    raise
                telemetry.event("download-resumed", sha256=self.wanted.sha256, at=self._written, error=str(error))

    def _agree_on_length(self, declared: int | None) -> None:
        if declared is None:
            return
        if self.length is None:
            self.length = declared
        if declared != self.length:
            raise DigestMismatchError(f"the index sends {declared} bytes where {self.length} were expected")
        if declared > self.wanted.limit:
            raise UpstreamNonsenseError(f"the file has {declared} bytes, more than the limit of {self.wanted.limit}")

    async def _take(self, body: Body, partial: Partial) -> None:
        chunks = body.chunks if body.start == self._written else self._agreeing(body, partial)
        intake = Intake(partial, self._grown)
        most = self.wanted.limit if self.length is None else self.length
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

    async def _agreeing(self, body: Body, partial: Partial) -> AsyncIterator[bytes | memoryview]:
        """The chunks past what is already here, once the repeated part has the same hash as the first time."""
        repeated, left = hashlib.sha256(), self._written
        if body.start != 0:
            raise UpstreamNonsenseError(f"the body begins at byte {body.start}, asked for {left}")
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

    def _grown(self, written: int) -> None:
        self._written = written
        self._pulse()

    async def _verify(self, partial: Partial) -> None:
        found = await partial.digest()
        if found != self.wanted.sha256:
            raise DigestMismatchError(f"the bytes have SHA-256 {found}, the index's page says {self.wanted.sha256}")
        self.length = self._written
        self._verified = True
        self._pulse()

    async def _publish(self, partial: Partial) -> bool:
        try:
            await partial.commit(self.wanted.sha256)
        except StorageError as error:
            telemetry.warning("blob-not-kept", sha256=self.wanted.sha256, error=str(error))
            return False
        telemetry.event("download-finished", sha256=self.wanted.sha256, size=self._written)
        return True
