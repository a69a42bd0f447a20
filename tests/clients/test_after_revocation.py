"""Caches of pip and uv after a revocation, as docs/operations.md describes them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.policy.language.document import load_policy
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy

pytestmark = pytest.mark.clients

UV = str(Path(sys.executable).parent / "uv")
REASON = "withheld, revoked: revoked: INC-1234"


def policy(withheld: str, revoked: str | None) -> str:
    revocation = "" if revoked is None else f'[[revocations]]\nprojects = ["foo"]\nversions = "{revoked}"\n'
    revocation += "" if revoked is None else 'reason = "INC-1234"\n'
    return f'version = 1\nwithheld = "{withheld}"\n[[rules]]\nname = "all"\nprojects = ["*"]\n{revocation}'


@dataclass(frozen=True)
class Machine:
    """Build machine with warm caches, and the proxy that it uses."""

    proxy: RunningProxy
    home: Path
    withheld: str

    async def pip(self, *arguments: str) -> ClientResult:
        """Run pip as over https: pip caches responses over plain http only from trusted hosts."""
        return await run_client(
            sys.executable, "-m", "pip", *arguments, "--cache-dir", str(self.home / "pip-cache"), home=self.home
        )

    async def pip_install(self, wanted: str) -> ClientResult:
        where = ("--trusted-host", "127.0.0.1", "--index-url", self.proxy.url, "--target", str(self.home / "pip"))
        return await self.pip("install", "--upgrade", *where, wanted)

    async def uv_install(self, wanted: str) -> ClientResult:
        where = ("--default-index", self.proxy.url, "--python", sys.executable, "--target", str(self.home / "uv"))
        return await run_client(UV, "pip", "install", *where, wanted, home=self.home)

    async def uv_without_metadata(self, *arguments: str) -> ClientResult:
        """Run a command of uv that requests no METADATA, and therefore no file that is in uv's cache."""
        where = ("--default-index", self.proxy.url, "--python", sys.executable, "--target", str(self.home / "uv"))
        return await run_client(UV, "pip", *arguments, *where, home=self.home)

    async def uv_sync(self) -> ClientResult:
        """Install a project with a lockfile into a new environment."""
        project = self.home / "project"
        shutil.rmtree(project / ".venv", ignore_errors=True)
        return await run_client(
            "env", "-u", "UV_NO_CONFIG", UV, "sync", "--python", sys.executable, home=self.home, cwd=project
        )

    def revoke(self, versions: str) -> None:
        shutil.rmtree(self.home / "pip")
        shutil.rmtree(self.home / "uv")
        self.proxy.assembly.gate.policy = load_policy(policy(self.withheld, versions), "policy.toml")

    def has(self, which: str) -> bool:
        return (self.home / which / "foo-1.0.dist-info").exists()


@asynccontextmanager
async def warm(tmp_path: Path, withheld: str, revoked: str = "==1.0") -> AsyncIterator[Machine]:
    """Yield a machine that installed everything before versions were revoked."""
    project = tmp_path / "project"
    project.mkdir()
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path / "proxy", policy=policy(withheld, None)) as proxy,
    ):
        index.add(wheel("foo", "0.9"))
        index.add(wheel("foo", "1.0"))
        (project / "pyproject.toml").write_text(
            '[project]\nname = "ours"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["foo==1.0"]\n'
            f'[[tool.uv.index]]\nurl = "{proxy.url}"\ndefault = true\n'
        )
        machine = Machine(proxy, tmp_path, withheld)
        for outcome in (
            await machine.pip_install("foo==1.0"),
            await machine.uv_install("foo==1.0"),
            await machine.uv_sync(),
        ):
            assert outcome.status == 0, outcome.output
        machine.revoke(revoked)
        yield machine


@pytest.mark.parametrize("withheld", ["explain", "stop"])
async def test_pip_installs_nothing_from_its_cache_that_is_explained(tmp_path: Path, withheld: str) -> None:
    async with warm(tmp_path, withheld) as machine:
        outcome = await machine.pip_install("foo==1.0")
        assert outcome.status != 0
        assert f"403 Client Error: {REASON}" in outcome.output
        assert not machine.has("pip"), "a tombstone has an address of its own, so that pip asks"
        assert (await machine.pip_install("foo")).status == 0, "the twin: an approved version is"


@pytest.mark.parametrize("wanted", ["foo", "foo==1.0"])
async def test_no_cache_has_a_version_that_stop_lists_as_available(tmp_path: Path, wanted: str) -> None:
    async with warm(tmp_path, "stop", revoked=">=0") as machine:
        for install in (machine.pip_install, machine.uv_install):
            outcome = await install(wanted)
            assert outcome.status != 0
            assert REASON in outcome.output
        assert not machine.has("pip")
        assert not machine.has("uv")


async def test_pip_installs_nothing_from_its_cache_that_is_hidden(tmp_path: Path) -> None:
    async with warm(tmp_path, "hide") as machine:
        outcome = await machine.pip_install("foo==1.0")
        assert "No matching distribution found for foo==1.0" in outcome.output
        assert not machine.has("pip")
        assert (await machine.pip_install("foo")).status == 0, "the twin: an approved version is"


@pytest.mark.parametrize("withheld", ["hide", "explain", "stop"])
async def test_uv_refuses_it_by_name_and_takes_it_from_its_cache_by_a_lock(tmp_path: Path, withheld: str) -> None:
    async with warm(tmp_path, withheld) as machine:
        assert (await machine.uv_install("foo==1.0")).status != 0
        assert not machine.has("uv")
        assert (await machine.uv_sync()).status == 0, "nobody is asked"
        cleaned = await run_client(UV, "cache", "clean", "foo", home=tmp_path)
        assert cleaned.status == 0, cleaned.output
        outcome = await machine.uv_sync()
        assert outcome.status != 0
        assert "revoked: INC-1234" in outcome.output


@pytest.mark.parametrize("withheld", ["hide", "explain", "stop"])
@pytest.mark.parametrize("revoked", ["==1.0", ">=0"])
async def test_uv_takes_a_listed_version_from_its_cache_if_it_needs_no_metadata(
    tmp_path: Path, withheld: str, revoked: str
) -> None:
    """No page can prevent it but one that does not list the version: uv finds the file in its cache by its name."""
    async with warm(tmp_path, withheld, revoked) as machine:
        pins = tmp_path / "pins.txt"
        pins.write_text("foo==1.0\n")
        for arguments in (("install", "--no-deps", "foo==1.0"), ("sync", str(pins))):
            outcome = await machine.uv_without_metadata(*arguments)
            assert ((outcome.status == 0), machine.has("uv")) == ((withheld != "hide"),) * 2, outcome.output
            shutil.rmtree(machine.home / "uv", ignore_errors=True)
        cleaned = await run_client(UV, "cache", "clean", "foo", home=tmp_path)
        assert cleaned.status == 0, cleaned.output
        outcome = await machine.uv_without_metadata("install", "--no-deps", "foo==1.0")
        assert outcome.status != 0, "the remedy"
        assert not machine.has("uv")
