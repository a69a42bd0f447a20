"""Running demo: both indexes and the proxy on loopback, with all files in one directory.

::

    async with demonstrated(tmp_path) as demo:
        demo.origin                     # "http://127.0.0.1:8080"
        demo.directory / "policy.toml"  # reloaded after a change
        demo.directory / "shell"        # settings for a shell, so that pip and uv use only the demo
"""

from __future__ import annotations

import asyncio
import sys
import venv
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Final

import aiohttp

from assay.assembly.inputs import read_policies
from assay.cli.commands.serve import run_proxy
from assay.config import load_configuration
from demo.listings import PINNED, STOLEN, WAIVED, Company, fill_company, fill_public
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.sigstore.private_sigstore import PrivateSigstore

_HERE: Final = Path(__file__).parent
_START_TIMEOUT_SECONDS: Final = 30
"""Limit on the time until the proxy has seen the replaced file, which takes about two seconds."""
_JSON: Final = "application/vnd.pypi.simple.v1+json"
_SHELL: Final = """\
# Read by a shell: . $directory/shell
export PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL=$origin/simple/
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
export PIP_RETRIES=1 PIP_RESUME_RETRIES=1 UV_HTTP_RETRIES=1
export UV_NO_CONFIG=1 UV_DEFAULT_INDEX=$origin/simple/ UV_NO_CACHE=1 VIRTUAL_ENV=$directory/venv
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PATH=$directory/venv/bin:$programs:"$$PATH"
unset PIP_PYTHON PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TARGET UV_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS
"""
_PIP: Final = """\
#!/bin/sh
# The pip beside this Python, which installs into the environment of the demo.
exec "$programs/python" -m pip --python "$directory/venv/bin/python" "$$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Address and directory of the running demo."""

    origin: str
    directory: Path


@asynccontextmanager
async def demonstrated(directory: Path, *, port: int = 0) -> AsyncIterator[Demo]:
    """Run the demo inside an ``async with`` block.

    Args:
        directory: empty directory for all files of the demo.
        port: port of the proxy; 0: any free port.
    """
    now = datetime.now(UTC)
    sigstore = PrivateSigstore(seed=7, host="sigstore.acme.example")
    async with Index() as acme, Index() as pypi:
        swapped = fill_company(Company(index=acme, sigstore=sigstore, now=now))
        fill_public(pypi, now)
        values = {"port": str(port), "directory": str(directory), "acme": acme.url, "pypi": pypi.url}
        configured = await asyncio.to_thread(_write, directory, sigstore, values | _policy_values(now))
        configuration = await asyncio.to_thread(load_configuration, configured, {})
        policies = await asyncio.to_thread(read_policies, configuration)
        async with run_proxy(configuration, policies, environ={}, drain=0) as origin:
            values |= {"origin": origin, "programs": str(Path(sys.executable).parent)}
            await asyncio.to_thread(_write_shell, directory, values)
            await _swap(acme, swapped, origin)
            yield Demo(origin=origin, directory=directory)


def _policy_values(now: datetime) -> dict[str, str]:
    stolen_from, stolen_until = (_toml(now - timedelta(days=days)) for days in STOLEN)
    return {
        "pinned": PINNED.sha256,
        "waived": WAIVED.sha256,
        "expires": f"{now + timedelta(days=30):%Y-%m-%d}",
        "stolen_from": stolen_from,
        "stolen_until": stolen_until,
    }


def _toml(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _write(directory: Path, sigstore: PrivateSigstore, values: Mapping[str, str]) -> Path:
    """Write configuration, policy, trust root and virtual environment, and return the path of the configuration."""
    (directory / "acme-trusted-root.json").write_bytes(sigstore.trusted_root())
    # pip and uv install into this environment, so that no environment of the user changes.
    venv.create(directory / "venv", with_pip=False, symlinks=True)
    for name in ("policy.toml", "proxy.toml"):
        filled = Template((_HERE / name).read_text("utf-8")).substitute(values)
        (directory / name).write_text(filled, "utf-8")
    return directory / "proxy.toml"


def _write_shell(directory: Path, values: Mapping[str, str]) -> None:
    """Write the settings of a shell, and the pip that the shell finds first."""
    (directory / "shell").write_text(Template(_SHELL).substitute(values), "utf-8")
    pip = directory / "venv" / "bin" / "pip"
    pip.write_text(Template(_PIP).substitute(values), "utf-8")
    pip.chmod(0o755)


async def _swap(index: Index, listed: ListedFile, origin: str) -> None:
    """Let the proxy see a file, replace the file under the same name, and wait until the proxy notices."""
    page = f"{origin}{index.page_path(listed.built.project)}"
    async with aiohttp.ClientSession(headers={"Accept": _JSON}) as session, asyncio.timeout(_START_TIMEOUT_SECONDS):
        await _withheld(session, page)
        index.replace(listed, wheel(listed.built.project, listed.built.version, padding=1000))
        while not await _withheld(session, page):  # noqa: ASYNC110 - a client can only poll the page
            await asyncio.sleep(0.2)


async def _withheld(session: aiohttp.ClientSession, page: str) -> bool:
    async with session.get(page) as answer:
        answer.raise_for_status()
        return bool((await answer.json(content_type=_JSON)).get("_withheld"))
