"""Download clients as subprocesses (pip, uv, curl, wget), isolated from the configuration of the machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

CLIENT_TIMEOUT_SECONDS = 180
"""Limit on the time of a client, which is then killed."""


@dataclass(frozen=True)
class ClientResult:
    """Result of a client."""

    status: int
    output: str
    """stdout and stderr, as a user sees them."""
    seconds: float
    """Time from the start of the process to its end."""

    @property
    def text(self) -> str:
        """The output with each line break and indentation as one space."""
        return " ".join(self.output.split())


FEW_RETRIES = {"PIP_RETRIES": "1", "PIP_RESUME_RETRIES": "1", "UV_HTTP_RETRIES": "1"}
"""Settings with one retry, which shows success after a fault, and with which a test of a refusal ends soon."""


def make_isolated_environment(home: Path, retries: Mapping[str, str] = MappingProxyType(FEW_RETRIES)) -> dict[str, str]:
    """Return environment variables without the user's configuration, cache, proxies and indexes."""
    return {
        **retries,
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "PDM_CHECK_UPDATE": "0",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


async def run_client(
    *command: str, home: Path, cwd: Path | None = None, retries: Mapping[str, str] = MappingProxyType(FEW_RETRIES)
) -> ClientResult:
    """Run a command, and return its exit status with stdout and stderr together.

    Args:
        command: program and arguments.
        home: home directory of the client.
        cwd: working directory of the client; None for that of the test.
        retries: environment variables with the number of retries; empty for the client's own.
    """
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        env=make_isolated_environment(home, retries),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), CLIENT_TIMEOUT_SECONDS)
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        pytest.fail(f"{command[0]} hung:\n{output.decode(errors='replace')}")
    return ClientResult(process.returncode or 0, output.decode(errors="replace"), time.monotonic() - started)


async def pip_install(index_url: str, *arguments: str, home: Path, target: Path) -> ClientResult:
    """Run ``pip install --target`` without a cache."""
    return await run_client(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-cache-dir",
        "--index-url",
        index_url,
        "--target",
        str(target),
        *arguments,
        home=home,
    )


async def uv_install(index_url: str, *arguments: str, home: Path, target: Path) -> ClientResult:
    """Run ``uv pip install --target`` without a cache."""
    return await run_client(
        str(Path(sys.executable).parent / "uv"),
        "pip",
        "install",
        "--no-cache",
        "--default-index",
        index_url,
        "--python",
        sys.executable,
        "--target",
        str(target),
        *arguments,
        home=home,
    )


def requires_tool(tool: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test with a reason if an external tool is missing."""
    missing = shutil.which(tool) is None
    return pytest.mark.skipif(missing, reason=f"{tool} is not on this machine: tests/install-tools.sh installs it")
