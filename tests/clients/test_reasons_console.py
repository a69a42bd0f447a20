"""Output of pip and uv for a withheld file, with each value of `withheld`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from assay.config import HelpSettings
from tests.world.clients.installers import ClientResult, pip_install, uv_install
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

pytestmark = pytest.mark.clients

YESTERDAY, LONG_AGO = "2026-06-30T12:00:00Z", "2026-05-30T12:00:00Z"
MESSAGE = "the file is 24 hours old, but the rule requires 3 days; allowed from 2026-07-03 12:00 UTC"
SENTENCE = f"withheld, too-young: {MESSAGE} (rule: cool down)"
NEAREST = "; nearest approved version: 1.0"
BOTH = pytest.mark.parametrize("installer", [pip_install, uv_install])
SETTINGS = pytest.mark.parametrize("withheld", ["hide", "explain", "stop"])


@asynccontextmanager
async def proxied(tmp_path: Path, withheld: str) -> AsyncIterator[RunningProxy]:
    """Yield a proxy with three projects: young has only a recent file, aged also an older one, and denied is denied."""
    policy = f"""
        version = 1
        withheld = "{withheld}"
        [defaults]
        min-age = "3 days"
        [[rules]]
        name = "not this one"
        projects = ["denied"]
        deny = "use requests: see https://wiki.acme.example/http"
        [[rules]]
        name = "cool down"
        projects = ["*"]
        """
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy", policy=policy) as proxy:
        index.add(wheel("young", "1.0"), upload_time=YESTERDAY)
        index.add(sdist("young", "1.0"), upload_time=YESTERDAY)
        index.add(wheel("aged", "1.0"), upload_time=LONG_AGO)
        index.add(wheel("aged", "1.1"), upload_time=YESTERDAY)
        index.add(wheel("denied", "1.0"), upload_time=LONG_AGO)
        yield proxy


Installer = Callable[..., Awaitable[ClientResult]]


async def console(installer: Installer, proxy: RunningProxy, wanted: str, tmp_path: Path) -> tuple[int, str]:
    """Return the exit status and the output, with line breaks and indentation as single spaces."""
    outcome = await installer(proxy.url, wanted, home=tmp_path, target=tmp_path / "target")
    return outcome.status, " ".join(outcome.output.split())


def installed(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.glob("target/*.dist-info")]


async def test_pip_tells_why_a_pinned_version_is_withheld(tmp_path: Path) -> None:
    async with proxied(tmp_path, "explain") as proxy:
        status, text = await console(pip_install, proxy, "aged==1.1", tmp_path)
        assert status != 0
        assert f"HTTP error 403 Client Error: {SENTENCE}{NEAREST} for url" in text
        status, text = await console(pip_install, proxy, "denied==1.0", tmp_path)
        assert status != 0
        assert (
            "403 Client Error: withheld, denied: denied by the policy: use requests: see https://wiki.acme.example/http"
            " (rule: not this one) for url" in text
        )


async def test_uv_tells_why_a_pinned_version_is_withheld(tmp_path: Path) -> None:
    async with proxied(tmp_path, "explain") as proxy:
        status, text = await console(uv_install, proxy, "aged==1.1", tmp_path)
        assert status != 0
        assert f"Server message: aged-1.1-py3-none-any.whl is withheld by policy, {MESSAGE}{NEAREST}" in text
        assert f"403 {SENTENCE}{NEAREST}" in text


@pytest.mark.parametrize(("wanted", "tail"), [("young", ""), ("aged>1", NEAREST)])
async def test_uv_tells_it_unpinned_as_well(tmp_path: Path, wanted: str, tail: str) -> None:
    async with proxied(tmp_path, "explain") as proxy:
        status, text = await console(uv_install, proxy, wanted, tmp_path)
        assert status != 0
        assert f"was yanked (reason: {SENTENCE}{tail})" in text


@BOTH
@pytest.mark.parametrize(("wanted", "tail"), [("young", ""), ("young==1.0", ""), ("aged<1", None)])
async def test_with_stop_both_tell_it_pinned_or_not(
    tmp_path: Path, installer: Installer, wanted: str, tail: str | None
) -> None:
    async with proxied(tmp_path, "stop") as proxy:
        status, text = await console(installer, proxy, wanted, tmp_path)
        assert status != 0
        told = f"403 {'Client Error: ' if installer is pip_install else ''}{SENTENCE}{tail}"
        assert (told in text) == (tail is not None), "the twin: no version of the project satisfies the last request"


@SETTINGS
@BOTH
async def test_an_older_approved_version_is_chosen_where_one_satisfies(
    tmp_path: Path, installer: Installer, withheld: str
) -> None:
    async with proxied(tmp_path, withheld) as proxy:
        status, text = await console(installer, proxy, "aged", tmp_path)
        assert status == 0, text
    assert installed(tmp_path) == ["aged-1.0.dist-info"]


@SETTINGS
@BOTH
@pytest.mark.parametrize("wanted", ["young", "young==1.0", "aged==1.1", "denied", "denied==1.0"])
async def test_what_is_withheld_is_installed_in_no_setting(
    tmp_path: Path, installer: Installer, withheld: str, wanted: str
) -> None:
    async with proxied(tmp_path, withheld) as proxy:
        status, text = await console(installer, proxy, wanted, tmp_path)
        assert status != 0, text
    assert not installed(tmp_path)


@BOTH
async def test_hidden_files_leave_the_installer_without_a_word_of_why_which_is_what_explain_is_for(
    tmp_path: Path, installer: Installer
) -> None:
    async with proxied(tmp_path, "hide") as proxy:
        _, text = await console(installer, proxy, "young==1.0", tmp_path)
        assert "too-young" not in text
        assert ("No matching distribution found for young==1.0" in text) or ("no version of young==1.0" in text)


@BOTH
async def test_the_help_ends_the_sentence_of_the_installer(tmp_path: Path, installer: Installer) -> None:
    policy = 'version = 1\nwithheld = "explain"\n[[rules]]\nname = "no"\nprojects = ["*"]\ndeny = "use bar"'
    settings = HelpSettings(url="https://acme.example/?f={file}&r={code}")
    ending = "(rule: no); help: https://acme.example/?f=denied-1.0-py3-none-any.whl&r=denied"
    async with Index() as index:
        index.add(wheel("denied", "1.0"), upload_time=LONG_AGO)
        configuration = make_configuration(index, tmp_path / "assay").model_copy(update={"help": settings})
        async with run_test_proxy(index, tmp_path / "proxy", policy=policy, configuration=configuration) as proxy:
            status, text = await console(installer, proxy, "denied==1.0", tmp_path)
    assert status != 0
    assert f"withheld, denied: denied by the policy: use bar {ending}" in text
