"""Resumption of a broken download by pip: the whole file or an error, never a spliced file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from assay.simple.model import Sha256
from tests.world.clients.installers import pip_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy

pytestmark = pytest.mark.clients

BIG = 3_000_000


@asynccontextmanager
async def cutter(port: int, after: int, seen: list[bytes]) -> AsyncIterator[int]:
    """Yield the port of a forwarder that cuts the first connection after `after` bytes; `seen` gets the requests."""
    left = 1

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        there, back = await asyncio.open_connection("127.0.0.1", port)

        async def forth() -> None:
            while chunk := await reader.read(65536):
                seen.append(chunk)
                back.write(chunk)
                await back.drain()

        asking = asyncio.create_task(forth())
        count = 0
        with suppress(ConnectionError):
            while chunk := await there.read(65536):
                count += len(chunk)
                writer.write(chunk)
                await writer.drain()
                if count > after and left:
                    left -= 1
                    break
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for each in (back, writer):
            each.close()
            with suppress(ConnectionError):
                await each.wait_closed()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("warm", [True, False])
async def test_pip_ends_with_the_right_file_when_its_connection_breaks(tmp_path: Path, warm: bool) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        if warm:
            assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
            while (blob := await proxy.assembly.store.blobs.open(Sha256(listed.built.sha256))) is None:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0)
            await blob.close()
        seen: list[bytes] = []
        async with cutter(int(proxy.origin.rpartition(":")[2]), BIG // 2, seen) as port:
            outcome = await pip_install(
                f"http://127.0.0.1:{port}/simple/", "foo==1.0", home=tmp_path, target=tmp_path / "target"
            )
        assert outcome.status == 0, outcome.output
        assert (tmp_path / "target" / "foo").exists()
        resumed = b"".join(seen).lower().count(b"if-range:")
        # With a cold cache, the first response had no validator, so pip starts again instead of resuming.
        assert bool(resumed) is warm
        assert index.count(listed.path) == 1
