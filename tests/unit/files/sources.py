"""Scripted sources of downloads, and functions that collect the spans that followers get."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from assay.errors import AssayError, UpstreamUnavailableError
from assay.files.download import Download
from assay.indexes import IndexSettings, LimitsSettings
from assay.ports import BodyStream, ExpectedFile, FileBody
from assay.simple.model import Sha256

CONTENT = bytes(range(256)) * 1024  # 256 KiB
DIGEST = Sha256(hashlib.sha256(CONTENT).hexdigest())


Script: TypeAlias = Callable[[int], AsyncIterator[bytes | memoryview]]


@dataclass
class Served:
    """Source of downloads that uses the next script at each opening, and the last one repeatedly."""

    scripts: list[Script]
    length: int | None = len(CONTENT)
    ignores_range: bool = False
    starts: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def contents(self, file: ExpectedFile, start: int) -> AsyncIterator[FileBody]:
        script = self.scripts[min(len(self.starts), len(self.scripts) - 1)]
        self.starts.append(start)
        begins = 0 if self.ignores_range else start
        yield BodyStream(start=begins, length=self.length, chunks=script(begins), content_type="", url=file.url)

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:
        assert attempt > 0
        return 0.0 if retry_after is None else None


def sends(
    content: bytes = CONTENT,
    *,
    breaks_after: int | None = None,
    step: int = 10_000,
    error: type[UpstreamUnavailableError] = UpstreamUnavailableError,
) -> Script:
    async def chunks(start: int) -> AsyncIterator[bytes]:
        end = len(content) if breaks_after is None else breaks_after
        for position in range(start, end, step):
            yield content[position : min(position + step, end)]
        if breaks_after is not None:
            raise error("reset")

    return chunks


async def approved() -> None:
    pass


def wanted(size: int | None = len(CONTENT), sha256: Sha256 = DIGEST, limit: int = 10**9) -> ExpectedFile:
    index = IndexSettings(name="test", url="https://index.example/simple/", limits=LimitsSettings(file=limit))
    return ExpectedFile(index=index, url="https://index.example/a.whl", sha256=sha256, size=size)


async def followed(download: Download, still_approved: Callable[[], object] = approved) -> bytes:
    """Return all bytes that a follower got."""
    got = bytearray()
    download.add_follower()
    try:
        await download.wait_until_sendable()
        with await download.open_reader() as file:
            async for span in download.follow(still_approved):  # type: ignore[arg-type] # tests pass plain coroutines
                file.seek(span.offset)
                got += file.read(span.count)
    finally:
        download.remove_follower()
    return bytes(got)


async def released(download: Download) -> tuple[int, AssayError | None]:
    """Return the number of bytes that a follower got before the download ended, and the error."""
    given = 0
    try:
        async for span in download.follow(approved):
            given += span.count
    except AssayError as error:
        return given, error
    return given, None
