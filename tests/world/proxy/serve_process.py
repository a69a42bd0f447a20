"""Process that runs `assay serve` as a user would, in front of a test index."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.world.index.fake_index import Index, ListedFile

TIMEOUT_SECONDS = 30
HANG_SECONDS = 60
"""Limit on the time of a session, after which the test fails."""


@dataclass
class ServeProcess:
    """Running process with its log."""

    process: asyncio.subprocess.Process
    url: str
    """URL of the Simple API."""
    log: list[dict[str, Any]]

    @property
    def origin(self) -> str:
        return self.url.removesuffix("/simple/")

    def read_memory(self, key: str) -> int:
        """Return ``VmRSS`` or ``VmHWM`` in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        line = next(line for line in status.splitlines() if line.startswith(key))
        return int(line.split()[1]) * 1024

    async def stop(self) -> int:
        """Send SIGTERM, and return the exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), TIMEOUT_SECONDS)


@asynccontextmanager
async def run_serve_process(
    index: Index,
    directory: Path,
    *,
    environ: Mapping[str, str] | None = None,
    policy: str | None = None,
    first_index: str = "",
    more: str = "",
) -> AsyncIterator[ServeProcess]:
    """Run ``assay serve``, and yield it once it listens.

    Args:
        index: test index, which owns all names that no earlier index owns.
        directory: directory of the configuration and the storage.
        environ: environment variables.
        policy: policy; None for the built-in one.
        first_index: TOML table of an index before `index`.
        more: TOML that is added to the configuration.
    """
    config = directory / "proxy.toml"
    lines = [
        f'[storage]\ndirectory = "{directory / "storage"}"',
        "[server]\nport = 0",
        "[trust]\nrefresh = false",
        "[verification]\nworkers = 0",
        first_index,
        f'[[indexes]]\nname = "test"\nurl = "{index.url}"\nfile-hosts = ["{index.files_host}"]',
        more,
    ]
    if policy is not None:
        (directory / "policy.toml").write_text(policy, "utf-8")
        lines.insert(0, 'policy = "policy.toml"')
    config.write_text("\n".join(lines), "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "assay",
        "serve",
        "--config",
        str(config),
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **(environ or {})},
    )
    log: list[dict[str, Any]] = []
    listens = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read_log(process, log, listens))
    try:
        url = await asyncio.wait_for(listens, TIMEOUT_SECONDS)
        running = ServeProcess(process, url, log)
        yield running
        await running.stop()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


async def _read_log(
    process: asyncio.subprocess.Process, log: list[dict[str, Any]], listens: asyncio.Future[str]
) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        try:
            event = json.loads(line)
        except ValueError:
            event = {"event": line.decode(errors="replace")}
        log.append(event)
        if event.get("event") == "listening" and not listens.done():
            listens.set_result(event["index"])
    if not listens.done():
        listens.set_exception(RuntimeError(f"assay serve ended: {log}"))


@dataclass
class ServeSession:
    """Process of ``assay serve`` with a client session."""

    process: asyncio.subprocess.Process
    origin: str
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(f"{self.origin}{path}") as response:
            return response.status, await response.read()

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), HANG_SECONDS)


def files_path(listed: ListedFile) -> str:
    return f"/files/{listed.url.partition('://')[2]}"


@asynccontextmanager
async def run_serve_session(
    index: Index,
    directory: Path,
    *,
    freshness: str = "10 minutes",
    blobs: str = "1 GiB",
    deadline: float = HANG_SECONDS,
) -> AsyncIterator[ServeSession]:
    """Run ``assay serve`` with a client session; `deadline` is the limit in seconds on the whole block."""
    storage, more = {"ASSAY_STORAGE__BLOBS": blobs}, f'[freshness]\npage = "{freshness}"'
    async with (
        asyncio.timeout(deadline),
        run_serve_process(index, directory, environ=storage, more=more) as proxy,
        aiohttp.ClientSession() as session,
    ):
        yield ServeSession(proxy.process, proxy.origin, session)
