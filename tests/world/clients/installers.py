"""Real download clients as subprocesses, cut off from the machine's own configuration: pip, uv, curl, wget."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CLIENT_TIMEOUT_SECONDS = 180
"""A client that takes longer hangs, and is killed."""


@dataclass(frozen=True)
class ClientResult:
    """How a client ended."""

    status: int
    output: str
    """stdout and stderr, as a person sees them."""


def make_isolated_environment(home: Path) -> dict[str, str]:
    """Nothing of the user's: no configuration, no cache, no proxies, no other index."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        # Enough to see a second try end right, few enough that a test of refusal ends soon.
        "PIP_RETRIES": "1",
        "PIP_RESUME_RETRIES": "1",
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "1",
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "PDM_CHECK_UPDATE": "0",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


async def run_client(*command: str, home: Path, cwd: Path | None = None) -> ClientResult:
    """The outcome of a command, with stdout and stderr together."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=make_isolated_environment(home),
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
    return ClientResult(process.returncode or 0, output.decode(errors="replace"))


async def pip_install(index_url: str, *arguments: str, home: Path, target: Path) -> ClientResult:
    """``pip install --target`` without any cache."""
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
    """``uv pip install --target`` without any cache."""
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
    """Skip, loudly, where a tool of another maker is missing."""
    missing = shutil.which(tool) is None
    return pytest.mark.skipif(missing, reason=f"{tool} is not on this machine: tests/install-tools.sh installs it")
