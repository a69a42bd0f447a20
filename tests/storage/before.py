"""Earlier version of Assay: its files from the Git history, and ``serve`` in a separate process.

The process runs only code of the earlier commit, and this module imports nothing from it. It uses only the command and
the configuration file, like an operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.paths import ROOT
from tests.storage.world import PUBLIC, FarIndex

COMMIT: Final = "fd54e99"
PACKAGE: Final = "proxy"
"""Name of the import package at that commit."""
_TIMEOUT_SECONDS: Final = 60


class NoHistoryError(Exception):
    """Error raised if the commit is not in this checkout's history."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """Running process of the earlier version."""

    origin: str
    session: aiohttp.ClientSession


def unpack(tree: Path) -> None:
    """Extract the package at that commit into the directory `tree`.

    Raises:
        NoHistoryError: the commit is not available.
    """
    try:
        packed = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", COMMIT, PACKAGE], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistoryError(str(getattr(error, "stderr", b"").decode(errors="replace").strip() or error)) from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tree, filter="data")


def imported(tree: Path) -> Path:
    """Return the file of the package that `serving` would start."""
    code = f"import {PACKAGE}; print({PACKAGE}.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=_environ(tree), capture_output=True, check=True, text=True
    )
    return Path(done.stdout.strip())


def _environ(tree: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tree), "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def _configuration(index: FarIndex, directory: Path) -> str:
    """Return the configuration of `tests.storage.world`, with pages that stay fresh while the process starts."""
    return f"""\
policy = "policy.toml"
[storage]
directory = "storage"
[server]
port = 0
public-url = "{PUBLIC}"
[trust]
root = "{directory / "trusted_root.json"}"
refresh = false
[verification]
workers = 0
[freshness]
page = "1 day"
[[indexes]]
name = "test"
url = "{index.url}"
proxy = "{index.reached_over}"
insecure = true
"""


@asynccontextmanager
async def serving(tree: Path, index: FarIndex, directory: Path) -> AsyncIterator[Before]:
    """Run the version in `tree` with the storage in `directory`; it must end with status 0."""
    config = directory / "proxy.toml"
    await asyncio.to_thread(config.write_text, _configuration(index, directory))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", PACKAGE, "serve", "--config", str(config)),
        stderr=asyncio.subprocess.PIPE,
        env=_environ(tree),
    )
    log: list[str] = []
    listens = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process, log, listens))
    try:
        address = await asyncio.wait_for(listens, _TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Accept-Encoding",)) as session:
            yield Before(origin=address.removesuffix("/simple/"), session=session)
        process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(process.wait(), _TIMEOUT_SECONDS)
        assert status == 0, log
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, log: list[str], listens: asyncio.Future[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        log.append(line.decode(errors="replace"))
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event.get("event") == "listening" and not listens.done():
                listens.set_result(event["index"])
    if not listens.done():
        listens.set_exception(RuntimeError(f"the process ended: {log}"))
