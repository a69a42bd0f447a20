"""Contents, a manual clock and file checks for the tests of blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from assay.store.blobs import DiskBlobStore
from tests.contract.blobs_contract import digest

KIB = 1024
BlobsFactory: TypeAlias = Callable[..., Awaitable[DiskBlobStore]]


class ManualUnixClock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def make_content(number: int, size: int = 3 * KIB) -> bytes:
    return bytes([number]) * size


async def list_present(blobs: DiskBlobStore, numbers: range) -> list[int]:
    kept = await asyncio.to_thread(blobs.directory.digests)
    return [number for number in numbers if digest(make_content(number)) in kept]


def get_blob_path(tmp_path: Path, content: bytes) -> Path:
    return tmp_path / "blobs" / digest(content)[:2] / f"{digest(content)}.{len(content)}"


def measure_disk_usage(tmp_path: Path) -> int:
    return sum(path.stat().st_size for path in (tmp_path / "blobs").rglob("*") if path.is_file())
