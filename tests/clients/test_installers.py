"""Installs by pip, uv, Poetry and PDM: with a cold and a warm cache, a dead index, and an unreliable index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.paths import TOOLS
from tests.world.clients import installers
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply, Reset
from tests.world.proxy.running_proxy import run_test_proxy

pytestmark = pytest.mark.clients

MANAGERS = TOOLS / "managers" / "bin"
PROJECT = """
[project]
name = "application"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["top"]
"""
Install = Callable[[str, Path], Awaitable[ClientResult]]
"""Installer of `top` and its dependencies from an index URL into an empty directory."""


async def pip(url: str, directory: Path) -> ClientResult:
    return await installers.pip_install(url, "top", home=directory, target=directory / "target")


async def uv(url: str, directory: Path) -> ClientResult:
    return await installers.uv_install(url, "top", home=directory, target=directory / "target")


async def poetry(url: str, directory: Path) -> ClientResult:
    source = f'[tool.poetry]\npackage-mode = false\n[[tool.poetry.source]]\nname = "assay"\nurl = "{url}"\n'
    (directory / "pyproject.toml").write_text(f'{PROJECT}{source}priority = "primary"\n', "utf-8")
    (directory / "poetry.toml").write_text("[virtualenvs]\nin-project = true\n", "utf-8")
    command = str(MANAGERS / "poetry")
    return await run_client(command, "--no-interaction", "--no-cache", "install", home=directory, cwd=directory)


async def pdm(url: str, directory: Path) -> ClientResult:
    source = f'[tool.pdm]\ndistribution = false\n[[tool.pdm.source]]\nname = "pypi"\nurl = "{url}"\n'
    (directory / "pyproject.toml").write_text(PROJECT + source, "utf-8")
    command = str(MANAGERS / "pdm")
    return await run_client(command, "install", home=directory, cwd=directory)


needs_managers = pytest.mark.skipif(
    not (MANAGERS / "pdm").exists(), reason="Poetry and PDM are not here: tests/install-managers.sh installs them"
)
EVERY = pytest.mark.parametrize(
    "install",
    [pip, uv, pytest.param(poetry, marks=needs_managers), pytest.param(pdm, marks=needs_managers)],
    ids=["pip", "uv", "poetry", "pdm"],
)


def installed(directory: Path) -> set[str]:
    """Return the names of the test projects that are installed below `directory`."""
    return {name for name in ("top", "below") if any(directory.rglob(f"{name}-*.dist-info"))}


@EVERY
async def test_it_installs_cold_warm_with_a_dead_index_and_with_a_flapping_one(
    tmp_path: Path, install: Install
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        top = index.add(wheel("top", "1.0", requires=["below>=1"], padding=200_000))
        below = index.add(wheel("below", "1.2"))

        async def succeeds(when: str) -> None:
            directory = tmp_path / when
            directory.mkdir()
            outcome = await install(proxy.url, directory)
            assert outcome.status == 0, (when, outcome.output)
            assert installed(directory) == {"top", "below"}, (when, outcome.output)

        for path in (top.path, below.path, index.page_path("top"), index.page_path("below")):
            index.inject_fault(path, Reply(503), times=1)
        index.inject_fault(top.path, Reset(after=50_000), times=1)
        await succeeds("flapping")
        await succeeds("warm")
        assert (index.count(below.path, "GET"), index.count(top.path, "GET")) == (2, 3)
        await index.down()
        proxy.clock.now += timedelta(hours=1)
        await succeeds("dead")
        await index.up()


async def test_with_a_dead_index_what_is_not_cached_is_an_error_and_soon(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        await index.down()
        other = await installers.pip_install(proxy.url, "unheard-of", home=tmp_path, target=tmp_path / "other")
        assert other.status != 0
        await index.up()


@EVERY
async def test_it_installs_cold(tmp_path: Path, install: Install) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        index.add(wheel("top", "1.0", requires=["below>=1"]))
        index.add(wheel("below", "1.2"))
        (tmp_path / "cold").mkdir()
        outcome = await install(proxy.url, tmp_path / "cold")
        assert outcome.status == 0, outcome.output
        assert installed(tmp_path / "cold") == {"top", "below"}
