"""Shutdown of the real process: it ends in order, and after a kill it starts again with all finished files."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp

from assay.web.server.connection_server import ServerTimeouts
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy
from tests.world.proxy.serve_process import ServeSession, files_path, run_serve_session


async def ready(proxy: ServeSession) -> int:
    return (await proxy.get("/readyz"))[0]


async def test_sigterm_lowers_readiness_first_and_lets_a_running_download_finish(tmp_path: Path) -> None:
    async with Index() as index, run_serve_session(index, tmp_path) as proxy:
        listed, unfinished = index.add(wheel("foo", padding=1_000_000)), index.add(wheel("bar", padding=1_000_000))
        stall = index.stall(listed.path, after=500_000)
        async with proxy.session.get(f"{proxy.origin}{files_path(listed)}") as response:
            start = await response.content.readexactly(100_000)
            await stall.reached.wait()
            assert await ready(proxy) == 200
            proxy.process.send_signal(signal.SIGTERM)
            while await ready(proxy) != 503:  # noqa: ASYNC110 - the process has to be polled
                await asyncio.sleep(0.01)
            stall.release.set()
            assert start + await response.read() == listed.built.content
        assert await proxy.ended() == 0
        left = list((tmp_path / "storage" / "blobs" / "unfinished").iterdir())
        assert left == [], "nothing unfinished is left"
        assert [path.name for path in (tmp_path / "storage" / "blobs").rglob("*.*")] == [
            f"{listed.built.sha256}.{listed.built.size}"
        ]
        assert index.count(unfinished.path) == 0


async def test_what_cannot_finish_in_time_is_cut_and_not_kept(tmp_path: Path) -> None:
    async with Index() as index, aiohttp.ClientSession() as session:
        listed = index.add(wheel("foo", padding=1_000_000))
        stall = index.stall(listed.path, after=500_000)

        async def download(url: str) -> bytes:
            async with session.get(url) as response:
                return await response.read()

        async with run_test_proxy(index, tmp_path, timeouts=ServerTimeouts(shutdown_grace=0.4)) as proxy:
            request = asyncio.create_task(download(f"{proxy.origin}{files_path(listed)}"))
            await stall.reached.wait()
        assert isinstance((await asyncio.gather(request, return_exceptions=True))[0], aiohttp.ClientError)
        assert list((tmp_path / "assay" / "blobs" / "unfinished").iterdir()) == []
        assert list((tmp_path / "assay" / "blobs").rglob(f"{listed.built.sha256}*")) == []
        stall.release.set()


async def test_after_kill_9_everything_finished_is_here_and_nothing_unfinished(tmp_path: Path) -> None:
    async with Index() as index:
        done, broken = index.add(wheel("foo", padding=300_000)), index.add(wheel("bar", padding=1_000_000))
        async with run_serve_session(index, tmp_path) as proxy:
            assert (await proxy.get(files_path(done)))[1] == done.built.content
            blob = tmp_path / "storage" / "blobs" / done.built.sha256[:2] / f"{done.built.sha256}.{done.built.size}"
            while not blob.exists():  # noqa: ASYNC110 - the process has to be polled
                await asyncio.sleep(0.01)
            stall = index.stall(broken.path, after=500_000)
            request = asyncio.create_task(proxy.get(files_path(broken)))
            await stall.reached.wait()
            unfinished = tmp_path / "storage" / "blobs" / "unfinished"
            while not list(unfinished.iterdir()):  # noqa: ASYNC110 - the process has to be polled
                await asyncio.sleep(0.01)
            proxy.process.kill()
            await proxy.ended()
            assert isinstance((await asyncio.gather(request, return_exceptions=True))[0], aiohttp.ClientError)
            stall.release.set()
            assert list(unfinished.iterdir()), "left by the killed process"
        async with run_serve_session(index, tmp_path) as proxy:
            assert list(unfinished.iterdir()) == [], "removed at the start"
            for listed in (done, broken):
                assert await proxy.get(files_path(listed)) == (200, listed.built.content)
            assert index.count(done.path) == 1
