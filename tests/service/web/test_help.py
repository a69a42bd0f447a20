"""Help for a withheld file, as the table ``[help]`` of the configuration states it, in all forms of the response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from assay.config import HelpSettings
from tests.world.clients.html_reader import read_harmless_page
from tests.world.index.distributions import make_raw_file, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

URL = "https://acme.example/?f={file}&r={code}"
DENIED = 'version = 1\n[[rules]]\nname = "no"\nprojects = ["*"]\ndeny = "use bar"'
WHEEL = wheel("foo", "1.0")
SENTENCE = "withheld, denied: denied by the policy: use bar (rule: no)"
BROWSER = {"Accept": "text/html"}


@asynccontextmanager
async def denying_proxy(
    tmp_path: Path, help_settings: HelpSettings | None
) -> AsyncIterator[tuple[Index, RunningProxy, ListedFile]]:
    """Yield a proxy that withholds every file, and a file."""
    async with Index() as index:
        listed = index.add(WHEEL)
        configuration = make_configuration(index, tmp_path / "assay").model_copy(update={"help": help_settings})
        async with run_test_proxy(index, tmp_path, policy=DENIED, configuration=configuration) as proxy:
            yield index, proxy, listed


@pytest.mark.parametrize(
    ("help_settings", "expected"),
    [
        (HelpSettings(url=URL), f"https://acme.example/?f={WHEEL.filename}&r=denied"),
        (HelpSettings(contact="security@acme.example"), "security@acme.example"),
    ],
)
async def test_the_phrase_the_problem_and_the_page_have_the_help(
    tmp_path: Path, help_settings: HelpSettings, expected: str
) -> None:
    async with denying_proxy(tmp_path, help_settings) as (_, proxy, listed):
        path = proxy.files_path(listed)
        answer = await proxy.get(path)
        problem = answer.json()
        assert (answer.status, answer.reason) == (403, f"{SENTENCE}; help: {expected}")
        assert problem["help"] == expected
        assert problem["detail"] == f"denied by the policy: use bar; help: {expected}"
        for other in (f"{path}.metadata", f"/integrity/foo/1.0/{WHEEL.filename}/provenance"):
            assert (await proxy.get(other)).json()["help"] == expected
        page = read_harmless_page((await proxy.get(path, BROWSER)).body)
        assert expected in page.text
        assert (expected in page.links) is (help_settings.url is not None)


async def test_without_the_table_there_is_no_help(tmp_path: Path) -> None:
    async with denying_proxy(tmp_path, None) as (_, proxy, listed):
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, answer.reason) == (403, SENTENCE)
        assert "help" not in answer.json()
        assert "Help:" not in read_harmless_page((await proxy.get(proxy.files_path(listed), BROWSER)).body).text


async def test_a_hostile_filename_and_a_user_cannot_change_the_url(tmp_path: Path) -> None:
    hostile = 'foo-1.0"><script>alert(1)&r=x#y{code}.whl'
    encoded = "foo-1.0%22%3E%3Cscript%3Ealert%281%29%26r%3Dx%23y%7Bcode%7D.whl"
    async with denying_proxy(tmp_path, HelpSettings(url=URL)) as (index, proxy, _):
        index.add(make_raw_file(hostile, project="foo"), directory="bad")
        path = f"/files/{index.files_host}/packages/bad/{encoded}"
        basic = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
        answer = await proxy.get(path, basic)
        code = answer.json()["reasons"][0]["code"]
        assert answer.status == 403
        assert answer.json()["help"] == f"https://acme.example/?f={encoded}&r={code}"
        assert len(answer.reason) <= 200
        page = read_harmless_page((await proxy.get(path, BROWSER | basic)).body)
        assert f"https://acme.example/?f={encoded}&r={code}" in page.links
        assert b"alice" not in answer.body


async def test_a_url_that_does_not_fit_is_shorter_in_the_phrase_only(tmp_path: Path) -> None:
    address = "https://github.example/acme/policies/issues/new"
    settings = HelpSettings(
        url=f"{address}?template=waiver-of-the-python-policy.yml&labels=waiver,python&file={{file}}"
    )
    async with denying_proxy(tmp_path, settings) as (_, proxy, listed):
        answer = await proxy.get(proxy.files_path(listed))
        short = f"{address}?template=waiver-of-the-python-policy.yml&labels=waiver,python&file="
        assert answer.reason == f"{SENTENCE}; help: {short}"
        assert answer.json()["help"] == f"{short}{WHEEL.filename}"
