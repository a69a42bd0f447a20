"""Fixture of several replicas in one process, before an index that a test drives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.files.shared.replicas import World
from tests.unit.files.sources import CONTENT, Served, sends


class SlowIndex(Served):
    """Index that sends the first half of the file at once, and the rest when `rest` is set."""

    def __init__(self, content: bytes = CONTENT) -> None:
        super().__init__([self._send])
        self.content = content
        self.rest = asyncio.Event()
        self.has_begun = asyncio.Event()

    async def _send(self, start: int) -> AsyncIterator[bytes]:
        half = len(self.content) // 2
        self.has_begun.set()
        if start < half:
            yield self.content[start:half]
        await self.rest.wait()
        yield self.content[max(start, half) :]


@pytest.fixture
def index() -> Served:
    return Served([sends()])


@pytest.fixture
async def world(tmp_path: Path, index: Served) -> AsyncIterator[World]:
    world = World(tmp_path, index)
    yield world
    await world.close()


@pytest.fixture
async def slow(world: World) -> SlowIndex:
    world.index = SlowIndex()
    return world.index
