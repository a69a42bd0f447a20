"""Lockfiles written by real tools, rewritten by `assay relock`, and installed from the other side by the same tools."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from assay.cli import run
from tests.paths import TOOLS
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy

pytestmark = pytest.mark.clients

MANAGERS = TOOLS / "managers" / "bin"
UV = str(Path(sys.executable).parent / "uv")
PROJECT = '[project]\nname = "app"\nversion = "1.0"\nrequires-python = ">=3.11"\ndependencies = ["top"]\n'
needs_managers = pytest.mark.skipif(
    not (MANAGERS / "pdm").exists(),
    reason="Poetry, PDM and pipenv are not here: tests/install-managers.sh installs them",
)


class Both:
    """Test index and a proxy in front of it, with a project that tools lock against either."""

    def __init__(self, index: Index, proxy_url: str, directory: Path) -> None:
        self.index, self.proxy_url, self.directory = index, proxy_url, directory
        self.upstream_url = index.url

    async def run(self, *command: str) -> ClientResult:
        return await run_client(*command, home=self.directory, cwd=self.directory)

    async def succeed(self, *command: str) -> str:
        outcome = await self.run(*command)
        assert outcome.status == 0, outcome.output
        return outcome.output

    async def relock(self, name: str, to: str) -> int:
        origin = self.proxy_url.removesuffix("simple/")
        arguments = ["relock", str(self.directory / name), "--to", to, "--proxy", origin]
        return await asyncio.to_thread(run, [*arguments, "--config", str(self.directory / "proxy.toml")])

    def count_downloads(self) -> int:
        return sum(request.path.endswith((".whl", ".tar.gz")) for request in self.index.requests)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text("utf-8")


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Both]:
    await asyncio.to_thread(directory.mkdir)
    async with Index() as index, run_test_proxy(index, directory.parent / "proxy") as proxy:
        index.add(wheel("top", "1.0", requires=["below>=1"]))
        index.add(sdist("top", "1.0", requires=["below>=1"]))
        index.add(wheel("below", "1.2"))
        (directory / "proxy.toml").write_text(
            f'[storage]\ndirectory = "store"\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n', "utf-8"
        )
        yield Both(index, proxy.url, directory)


async def test_uv_syncs_a_rewritten_lockfile_without_changing_it(tmp_path: Path) -> None:
    async with running(tmp_path / "project") as both:
        (both.directory / "pyproject.toml").write_text(PROJECT, "utf-8")
        upstream, proxied = both.upstream_url.rstrip("/"), both.proxy_url
        flags = ("--no-cache", "--python", sys.executable)
        await both.succeed(UV, "lock", *flags, "--default-index", upstream)
        original = both.read("uv.lock")
        assert (await both.run(UV, "sync", *flags, "--locked", "--default-index", proxied)).status != 0

        assert await both.relock("uv.lock", "proxy") == 0
        there = both.read("uv.lock")
        assert upstream not in there
        await both.succeed(UV, "sync", *flags, "--locked", "--default-index", proxied)
        assert both.read("uv.lock") == there
        (both.directory / "uv.lock").unlink()
        await both.succeed(UV, "lock", *flags, "--default-index", proxied)
        assert both.read("uv.lock") == there, "uv itself writes the same through the proxy"

        assert await both.relock("uv.lock", "upstream") == 0
        assert both.read("uv.lock") == original
        await both.succeed(UV, "sync", *flags, "--locked", "--reinstall", "--default-index", upstream)


async def test_pip_and_uv_install_a_rewritten_pylock(tmp_path: Path) -> None:
    async with running(tmp_path / "project") as both:
        (both.directory / "pyproject.toml").write_text(PROJECT, "utf-8")
        flags = ("--no-cache", "--python", sys.executable, "--default-index")
        await both.succeed(UV, "lock", *flags, both.upstream_url)
        await both.succeed(UV, "export", *flags, both.upstream_url, "--no-emit-project", "-o", "pylock.toml")
        original = both.read("pylock.toml")
        assert await both.relock("pylock.toml", "proxy") == 0
        assert f'= "{both.upstream_url.removesuffix("simple/")}' not in both.read("pylock.toml")
        await both.succeed(UV, "pip", "sync", *flags, both.proxy_url, "--target", "there", "pylock.toml")
        assert any((both.directory / "there").glob("below-1.2.dist-info"))
        assert await both.relock("pylock.toml", "upstream") == 0
        assert both.read("pylock.toml") == original

        pip = (sys.executable, "-m", "pip")
        await both.succeed(*pip, "lock", "--index-url", both.upstream_url, "top", "--output", "pylock.pip.toml")
        original = both.read("pylock.pip.toml")
        assert await both.relock("pylock.pip.toml", "proxy") == 0
        target = ("--no-deps", "--no-cache-dir", "--target", "by-pip")
        await both.succeed(*pip, "install", *target, "--index-url", both.proxy_url, "-r", "pylock.pip.toml")
        assert any((both.directory / "by-pip").glob("below-1.2.dist-info"))
        assert await both.relock("pylock.pip.toml", "upstream") == 0
        assert both.read("pylock.pip.toml") == original


@needs_managers
async def test_poetry_installs_a_rewritten_lockfile(tmp_path: Path) -> None:
    async with running(tmp_path / "project") as both:
        poetry = (str(MANAGERS / "poetry"), "--no-interaction", "--no-cache")

        def point_to(url: str) -> None:
            source = f'[tool.poetry]\npackage-mode = false\n[[tool.poetry.source]]\nname = "main"\nurl = "{url}"\n'
            (both.directory / "pyproject.toml").write_text(f"{PROJECT}{source}", "utf-8")

        (both.directory / "poetry.toml").write_text("[virtualenvs]\nin-project = true\n", "utf-8")
        point_to(both.upstream_url)
        await both.succeed(*poetry, "lock")
        original = both.read("poetry.lock")
        assert await both.relock("poetry.lock", "proxy") == 0
        there = both.read("poetry.lock")
        assert (there.count(both.proxy_url.rstrip("/")), there.count(both.upstream_url.rstrip("/"))) == (2, 0)
        point_to(both.proxy_url)
        assert "changed significantly" in (await both.run(*poetry, "install")).output, "the URL is part of the hash"
        both.index.add(wheel("below", "1.3"))
        await both.succeed(*poetry, "lock")
        assert drop_hash(both.read("poetry.lock")) == drop_hash(there), "poetry lock renews the hash, and no version"
        await both.succeed(*poetry, "install")
        assert any(both.directory.rglob("below-1.2.dist-info"))
        assert await both.relock("poetry.lock", "upstream") == 0
        assert drop_hash(both.read("poetry.lock")) == drop_hash(original)


def drop_hash(text: str) -> str:
    return re.sub(r'content-hash = ".*"', "", text)


@needs_managers
async def test_pdm_installs_a_rewritten_lockfile_with_static_urls(tmp_path: Path) -> None:
    async with running(tmp_path / "project") as both:
        pdm = str(MANAGERS / "pdm")

        def point_to(url: str) -> None:
            source = f'[tool.pdm]\ndistribution = false\n[[tool.pdm.source]]\nname = "pypi"\nurl = "{url}"\n'
            (both.directory / "pyproject.toml").write_text(PROJECT + source, "utf-8")

        point_to(both.upstream_url)
        await both.succeed(pdm, "lock", "--static-urls")
        original = both.read("pdm.lock")
        assert original.count(both.upstream_url.removesuffix("simple/")) == 3
        assert await both.relock("pdm.lock", "proxy") == 0
        assert both.read("pdm.lock").count(f"{both.proxy_url.removesuffix('simple/')}files/") == 3
        point_to(both.proxy_url)
        await both.succeed(pdm, "sync")
        assert any(both.directory.rglob("below-1.2.dist-info"))
        assert await both.relock("pdm.lock", "upstream") == 0
        assert both.read("pdm.lock") == original


@needs_managers
@pytest.mark.long
async def test_pipenv_installs_a_rewritten_lockfile(tmp_path: Path) -> None:
    async with running(tmp_path / "project") as both:
        pipenv = (str(MANAGERS / "pipenv"), "--python", sys.executable)

        def point_to(url: str) -> None:
            (both.directory / "Pipfile").write_text(
                f'[[source]]\nname = "main"\nurl = "{url}"\nverify_ssl = false\n[packages]\ntop = "*"\n', "utf-8"
            )

        point_to(both.upstream_url)
        await both.succeed(*pipenv, "lock")
        original = both.read("Pipfile.lock")
        assert await both.relock("Pipfile.lock", "proxy") == 0
        assert both.read("Pipfile.lock") == original.replace(both.upstream_url, both.proxy_url)
        point_to(both.proxy_url)
        await both.succeed(str(MANAGERS / "pipenv"), "sync")
        assert any(both.directory.rglob("below-1.2.dist-info"))
        assert await both.relock("Pipfile.lock", "upstream") == 0
        assert both.read("Pipfile.lock") == original


async def test_a_refused_lockfile_is_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path / "project") as both:
        path = both.directory / "uv.lock"
        text = (
            'version = 1\n[[package]]\nname = "a"\nversion = "1"\nsource = { registry = "https://r.example/simple" }\n'
        )
        path.write_text(text, "utf-8")
        assert await both.relock("uv.lock", "proxy") == 2
        assert path.read_text("utf-8") == text
        assert "cannot be translated:\n  'https://r.example/simple': neither the proxy" in capsys.readouterr().err
