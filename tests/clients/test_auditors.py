"""Real auditing tools read the advisories in force from the proxy: `uv audit`, pip-audit and uv's malware check."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.advisories.snapshot import AdvisorySnapshot
from assay.cli import EXIT_OK, run
from tests.paths import TOOLS
from tests.world.advisories.records import make_affected, make_range, make_record
from tests.world.advisories.snapshots import make_snapshot, malware
from tests.world.clients.installers import ClientResult, pip_install, run_client, uv_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

pytestmark = pytest.mark.clients

UV = str(Path(sys.executable).parent / "uv")
PIP_AUDIT = TOOLS / "auditors" / "bin" / "pip-audit"
needs_pip_audit = pytest.mark.skipif(
    not PIP_AUDIT.exists(), reason="pip-audit is not here: tests/install-managers.sh installs it"
)
OPEN = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
IGNORING = f'{OPEN}[[ignored-advisories]]\nid = "MAL-2026-1"\nreason = "wrong"\nexpires = 2027-08-01\n'
CVE = make_record("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"), ("fixed", "1.1"))]))
FOUND = make_snapshot(malware("foo", "1.0"), CVE)
NOTHING = make_snapshot(malware("foo", "0.9"), malware("bar", record="MAL-2026-2"))
PYPROJECT = """
[project]
name = "app"
version = "0"
requires-python = ">=3.11"
dependencies = ["foo==1.0"]
"""
LOCK = """
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "app"
version = "0"
source = {{ virtual = "." }}
dependencies = [{{ name = "foo" }}]

[package.metadata]
requires-dist = [{{ name = "foo", specifier = "==1.0" }}]

[[package]]
name = "foo"
version = "1.0"
source = {{ registry = "{registry}" }}
wheels = [{{ url = "{url}", hash = "sha256:{sha256}", size = {size} }}]
"""
PYPI = "https://pypi.org/simple"
"""Address of PyPI in lockfiles. uv's malware check asks only about packages that are locked from it."""


@dataclass(frozen=True)
class Project:
    """uv project that depends on foo 1.0, with a lockfile that uv wrote through the proxy."""

    proxy: RunningProxy
    directory: Path

    async def relock(self) -> None:
        """Rewrite the URLs in the lockfile to those of PyPI, the built-in index."""
        (self.directory / "proxy.toml").write_text("")
        arguments = ["relock", str(self.directory / "uv.lock"), "--to", "upstream", "--proxy", f"{self.proxy.origin}/"]
        configuration = str(self.directory / "proxy.toml")
        assert await asyncio.to_thread(run, [*arguments, "--config", configuration]) == EXIT_OK
        assert f'registry = "{PYPI}"' in (self.directory / "uv.lock").read_text()

    async def run(self, *command: str, **environment: str) -> ClientResult:
        return await run_client(
            "env", *(f"{name}={value}" for name, value in environment.items()), *command,
            home=self.directory, cwd=self.directory,
        )  # fmt: skip


@asynccontextmanager
async def auditing(directory: Path, snapshot: AdvisorySnapshot, policy: str = OPEN) -> AsyncIterator[Project]:
    async with Index() as index:
        public = {"name": "test", "url": index.url, "ecosystem": "PyPI"}
        configuration = make_configuration(index, directory / "assay", indexes=[public])
        async with run_test_proxy(index, directory, policy=policy, configuration=configuration) as proxy:
            listed = index.add(wheel("foo", "1.0"))
            proxy.assembly.advisories.put(snapshot)
            project = directory / "app"
            project.mkdir()
            (project / "pyproject.toml").write_text(PYPROJECT)
            # A lockfile as uv writes it through a proxy in front of PyPI.
            built, origin = listed.built, proxy.origin
            url = f"{origin}/files/files.pythonhosted.org/packages/{built.filename}"
            lock = LOCK.format(registry=f"{origin}/simple", url=url, sha256=built.sha256, size=len(built.content))
            (project / "uv.lock").write_text(lock)
            yield Project(proxy, project)


async def test_uv_audit_reports_the_records(tmp_path: Path) -> None:
    async with auditing(tmp_path, FOUND) as project:
        done = await project.run(UV, "audit", "--frozen", "--service-url", f"{project.proxy.origin}/osv/")
        assert done.status == 1, done.output
        assert "2 known vulnerabilities" in done.text
        for part in ("MAL-2026-1", "GHSA-1", "Malicious code in foo (PyPI)", "Fixed in: 1.1"):
            assert part in done.text


async def test_uv_audit_reports_nothing_without_a_record(tmp_path: Path) -> None:
    async with auditing(tmp_path, NOTHING) as project:
        done = await project.run(UV, "audit", "--frozen", "--service-url", f"{project.proxy.origin}/osv/")
        assert (done.status, "no known vulnerabilities" in done.text) == (0, True), done.output


@needs_pip_audit
@pytest.mark.parametrize(("snapshot", "status"), [(FOUND, 1), (NOTHING, 0)])
async def test_pip_audit_reports_the_records(tmp_path: Path, snapshot: AdvisorySnapshot, status: int) -> None:
    async with auditing(tmp_path, snapshot) as project:
        (project.directory / "requirements.txt").write_text("foo==1.0\n")
        command = (str(PIP_AUDIT), "-r", "requirements.txt", "--no-deps", "--disable-pip", "-s", "osv")
        url = f"{project.proxy.origin}/osv/v1/query"
        done = await project.run(*command, "--osv-url", url, "--cache-dir", str(tmp_path / "cache"))
        assert done.status == status, done.output
        assert [name in done.text for name in ("MAL-2026-1", "GHSA-1 1.1")] == [bool(status)] * 2


def check_for_malware(proxy: RunningProxy) -> dict[str, str]:
    """Return the environment with which uv asks the proxy before it installs."""
    return {
        "UV_MALWARE_CHECK": "1",
        "UV_MALWARE_CHECK_URL": f"{proxy.origin}/osv/",
        "UV_PREVIEW_FEATURES": "malware-check",
        "UV_PYTHON": sys.executable,
        "UV_OFFLINE": "0",
    }


async def test_uv_installs_no_malware_from_a_lockfile_that_relock_wrote(tmp_path: Path) -> None:
    async with auditing(tmp_path, FOUND) as project:
        await project.relock()
        done = await project.run(UV, "sync", "--frozen", "--dry-run", **check_for_malware(project.proxy))
        assert done.status != 0, done.output
        assert "Malware detected" in done.text
        assert "MAL-2026-1" in done.text


@pytest.mark.parametrize(("snapshot", "policy"), [(NOTHING, OPEN), (FOUND, IGNORING)])
async def test_uv_does_not_stop_for_other_records(tmp_path: Path, snapshot: AdvisorySnapshot, policy: str) -> None:
    async with auditing(tmp_path, snapshot, policy) as project:
        await project.relock()
        done = await project.run(UV, "sync", "--frozen", "--dry-run", **check_for_malware(project.proxy))
        assert "Malware detected" not in done.text
        assert "Malware check failed" not in done.text
        assert (done.status, "foo==1.0" in done.text) == (0, True), done.output


@pytest.mark.parametrize("install", [pip_install, uv_install])
async def test_installers_print_the_record(tmp_path: Path, install: Callable[..., Awaitable[ClientResult]]) -> None:
    for snapshot, is_refused in ((FOUND, True), (NOTHING, False)):
        directory = tmp_path / str(is_refused)
        directory.mkdir()
        async with auditing(directory, snapshot) as project:
            arguments = (project.proxy.url, "--no-deps", "foo==1.0")
            done = await install(*arguments, home=directory, target=directory / "site")
            assert (done.status != 0) == is_refused, done.output
            for part in ("the malware advisory MAL-2026-1 covers this version", "osv.dev/vulnerability/MAL-2026-1"):
                assert (part in done.text) == is_refused, done.output
