"""Versions that real installers choose when others are withheld, for each value of `withheld`.

With ``stop``, they stop and print the reason wherever a page can make them. With the other values they go back to an
older release of the parent without a message. docs/troubleshooting.md, "An old version was installed", says so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.paths import DOCS
from tests.world.clients.consoles import (
    NEEDS_OLD_PIP,
    NEEDS_PDM,
    NEEDS_PIPENV,
    NEEDS_POETRY,
    OLD_PIP,
    PDM,
    PIP,
    PIPENV,
    POETRY,
    UV,
    UV_LOCK,
    UV_LOWEST,
    UV_SYNC,
    Installer,
)
from tests.world.clients.installers import ClientResult
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

pytestmark = pytest.mark.clients

LONG_AGO, YESTERDAY = "2026-05-30T12:00:00Z", "2026-06-30T12:00:00Z"
YOUNG = "withheld, too-young: the file is 24 hours old, but the rule requires 3 days; allowed from 2026-07-03 12:00 UTC"
BOTH = pytest.mark.parametrize("installer", [PIP, UV], ids=lambda each: each.name)
EVERY = [
    pytest.param(PIP, id="pip"),
    pytest.param(UV, id="uv"),
    pytest.param(UV_LOCK, id="uv-lock"),
    pytest.param(OLD_PIP, id="old-pip", marks=[pytest.mark.long, NEEDS_OLD_PIP]),
    pytest.param(UV_SYNC, id="uv-sync", marks=pytest.mark.long),
    pytest.param(POETRY, id="poetry", marks=[pytest.mark.long, NEEDS_POETRY]),
    pytest.param(PIPENV, id="pipenv", marks=[pytest.mark.long, NEEDS_PIPENV]),
]


@dataclass(frozen=True)
class Shop:
    """Index, and a proxy that withholds files of less than three days."""

    index: Index
    proxy: RunningProxy
    directory: Path

    def add(self, project: str, versions: str, *, requires: tuple[str, ...] = ()) -> None:
        """Add a wheel for each version such as ``1.8a`` or ``1.9w``: approved or withheld."""
        for word in versions.split():
            built = wheel(project, word[:-1], requires=list(requires))
            self.index.add(built, upload_time={"a": LONG_AGO, "w": YESTERDAY}[word[-1]])

    async def install(self, installer: Installer, wanted: str, view: str = "/") -> ClientResult:
        name = re.sub(r"[^a-z0-9]+", "-", f"{installer.name}-{wanted}-{view}".lower())
        return await installer.install(self.proxy.at_path(view).url, wanted, self.directory / name)

    def installed(self) -> list[str]:
        """Return the distributions that all installers installed or locked, without the application."""
        paths = self.directory.glob("*/**/*.dist-info")
        locks = [path.read_text("utf-8") for path in self.directory.glob("*/uv.lock")]
        locked = re.findall(r'^name = "(?!application)(.+)"\nversion = "(.+)"$', "\n".join(locks), re.MULTILINE)
        own = [path for path in paths if "_vendor" not in path.parts]  # pip and setuptools have copies of packages
        found = {path.name.removesuffix(".dist-info").replace("_", "-") for path in own}
        return sorted(
            {each for each in found if not re.match(r"(pip|setuptools|wheel)-", each)}
            | {"-".join(each) for each in locked}
        )


@asynccontextmanager
async def shop(directory: Path, withheld: str) -> AsyncIterator[Shop]:
    policy = (
        f'version = 1\nwithheld = "{withheld}"\n[[rules]]\nname = "cool down"\nprojects = ["*"]\nmin-age = "3 days"\n'
    )
    async with Index() as index:
        views = [{"name": "hiding", "path": "/hiding/", "withheld": "hide"}]
        configuration = make_configuration(index, directory / "assay", views=views)
        policies = {"default": policy, "hiding": policy}
        async with run_test_proxy(index, directory, policies=policies, configuration=configuration) as proxy:
            yield Shop(index, proxy, directory / "clients")


def assert_stopped(found: ClientResult, reason: str = YOUNG) -> None:
    assert found.status != 0, found.output
    assert reason in found.text, found.output


def read_table() -> list[tuple[str, str, str]]:
    """Return page, request and result from the table in docs/policy-semantics.md."""
    text = (DOCS / "policy-semantics.md").read_text("utf-8")
    lines = text.partition("| page (a approved, w withheld) |")[2].partition("\n\n")[0].splitlines()[2:]
    cases = []
    for line in lines:
        page, requests, results = (cell.strip() for cell in line.strip("|").split("|"))
        wanted, expected = re.findall(r"`([^`]+)`", requests), [each.strip() for each in results.split(";")]
        assert len(wanted) == len(expected), line
        cases += [(page, *case) for case in zip(wanted, expected, strict=True)]
    return cases


def test_the_table_has_a_page_of_each_kind() -> None:
    assert {page for page, _, _ in read_table()} == {
        "1.8a 1.9w 2.0a",
        "1.8a 1.9w 2.0rc1a",
        "1.7w 1.8a 1.9w 2.0a",
        "1.8w 1.9w",
    }
    assert ("1.7w 1.8a 1.9w 2.0a", "foo<1.8", "stopped with the reason") in read_table()


@pytest.mark.parametrize("installer", EVERY)
async def test_each_request_of_the_table_gets_its_result(tmp_path: Path, installer: Installer) -> None:
    for number, (page, wanted, expected) in enumerate(read_table()):
        async with shop(tmp_path / str(number), "stop") as there:
            there.add("foo", page)
            found = await there.install(installer, wanted)
            if expected == "stopped with the reason":
                assert_stopped(found)
                assert there.installed() == []
            else:
                assert found.status == 0, (page, wanted, found.output)
                assert there.installed() == [f"foo-{expected}"], (page, wanted)


# A dependency of which every version is withheld, with an older release of the parent that has another dependency

UNATTESTED = "the file has no attestation, but the rule requires one"
ATTESTED_CRYPTOGRAPHY = """
version = 1
withheld = "{withheld}"
[[rules]]
name = "pyca"
projects = ["cryptography"]
attestations = "required"
publishers = "any"
[[rules]]
name = "everything else"
projects = ["*"]
"""


@asynccontextmanager
async def paramiko(directory: Path, withheld: str) -> AsyncIterator[Shop]:
    policy = ATTESTED_CRYPTOGRAPHY.format(withheld=withheld)
    async with Index() as index, run_test_proxy(index, directory, policy=policy) as proxy:
        there = Shop(index, proxy, directory / "clients")
        there.add("cryptography", "41.0a 42.0a")
        there.add("paramiko", "3.4a", requires=("cryptography>=3.3",))
        there.add("paramiko", "1.18.5a", requires=("pycrypto>=2.1",))
        there.add("pycrypto", "2.6.1a")
        yield there


@pytest.mark.parametrize("installer", EVERY)
async def test_a_withheld_dependency_stops_the_installer_with_the_reason(tmp_path: Path, installer: Installer) -> None:
    async with paramiko(tmp_path, "stop") as there:
        for wanted in ("paramiko", "cryptography", "cryptography==42.0"):
            assert_stopped(await there.install(installer, wanted), UNATTESTED)
        assert there.installed() == []
        assert (await there.install(installer, "pycrypto")).status == 0, "the twin: an approved project"


@pytest.mark.long
@NEEDS_PDM
async def test_a_withheld_dependency_stops_pdm_which_prints_only_the_status(tmp_path: Path) -> None:
    async with paramiko(tmp_path, "stop") as there:
        found = await there.install(PDM, "paramiko")
        assert_stopped(found, "403 Forbidden")
        assert "unattested" not in found.text
        assert (await there.install(PDM, "pycrypto")).status == 0, "the twin: an approved project"


@pytest.mark.parametrize("withheld", ["explain", "hide"])
@pytest.mark.parametrize("installer", EVERY)
async def test_otherwise_resolvers_go_back_to_an_older_parent_without_a_message(
    tmp_path: Path, installer: Installer, withheld: str
) -> None:
    async with paramiko(tmp_path, withheld) as there:
        found = await there.install(installer, "paramiko")
        assert found.status == 0, found.output
        assert "withheld" not in found.text
        assert there.installed() == ["paramiko-1.18.5", "pycrypto-2.6.1"]


# The cases of docs/troubleshooting.md, "An old version was installed"


@pytest.mark.parametrize("installer", EVERY)
async def test_no_page_can_prevent_an_older_parent_if_an_approved_version_is_below_the_bound(
    tmp_path: Path, installer: Installer
) -> None:
    async with shop(tmp_path, "stop") as there:
        there.add("foo", "1.8a 1.9w")
        there.add("parent", "2.0a", requires=("foo>=1.9",))
        there.add("parent", "1.0a")
        found = await there.install(installer, "parent")
        assert found.status == 0, found.output
        assert there.installed() == ["parent-1.0"]
        again = await there.install(installer, "parent==2.0")
        assert again.status != 0, "the remedy: a bound on the parent"


@BOTH
async def test_requirements_that_meet_below_every_approved_version_stop(tmp_path: Path, installer: Installer) -> None:
    async with shop(tmp_path, "stop") as there:
        there.add("foo", "1.7w 1.8a")
        there.add("parent", "2.0a", requires=("foo<1.8",))
        there.add("parent", "1.0a")
        assert_stopped(await there.install(installer, "parent"))


async def test_lowest_direct_stops_below_the_approved_versions_unless_the_view_hides_them(tmp_path: Path) -> None:
    async with shop(tmp_path, "stop") as there:
        there.add("foo", "1.7w 1.8a 1.9a")
        assert_stopped(await there.install(UV_LOWEST, "foo>=1"))
        found = await there.install(UV_LOWEST, "foo>=1", "/hiding/")
        assert found.status == 0, found.output
        assert there.installed() == ["foo-1.8"]


WINDOWS_ONLY = "foo; sys_platform == 'win32'"


async def test_a_universal_lock_stops_at_a_withheld_dependency_of_another_platform(tmp_path: Path) -> None:
    async with shop(tmp_path, "stop") as there:
        there.add("foo", "1.8w 1.9w")
        there.add("parent", "2.0a", requires=(WINDOWS_ONLY,))
        there.add("parent", "1.0a")
        for wanted in (WINDOWS_ONLY, "parent"):
            assert_stopped(await there.install(UV_LOCK, wanted))
        assert there.installed() == []
        found = await there.install(UV, "parent")
        assert found.status == 0, found.output
        assert there.installed() == ["parent-2.0"], "the twin: uv pip install resolves for one platform"


async def test_a_universal_lock_takes_the_approved_version_of_it_if_there_is_one(tmp_path: Path) -> None:
    async with shop(tmp_path, "stop") as there:
        there.add("foo", "1.8a 1.9w")
        assert (await there.install(UV_LOCK, WINDOWS_ONLY)).status == 0
        assert there.installed() == ["foo-1.8"]


@pytest.mark.parametrize("withheld", ["explain", "hide"])
async def test_otherwise_a_universal_lock_goes_back_to_an_older_parent(tmp_path: Path, withheld: str) -> None:
    async with shop(tmp_path, withheld) as there:
        there.add("foo", "1.8w 1.9w")
        there.add("parent", "2.0a", requires=(WINDOWS_ONLY,))
        there.add("parent", "1.0a")
        found = await there.install(UV_LOCK, "parent")
        assert found.status == 0, found.output
        assert there.installed() == ["parent-1.0"]


@BOTH
async def test_a_version_that_is_approved_meanwhile_is_installed(tmp_path: Path, installer: Installer) -> None:
    async with shop(tmp_path, "stop") as there:
        there.add("foo", "1.8w")
        assert_stopped(await there.install(installer, "foo"))
        there.proxy.clock.now += timedelta(days=3)
        found = await there.install(installer, "foo>=0")
        assert found.status == 0, found.output
        assert there.installed() == ["foo-1.8"]
