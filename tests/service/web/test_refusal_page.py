"""Page in a browser for a refused file: the waiver, the alternatives, and the link to the project page."""

from __future__ import annotations

import html
import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from assay.cli.commands.waive import parse_expiry
from assay.policy.language.document import load_policy
from assay.web.ui.project import VERSIONS_PER_PAGE
from tests.browser.scene import BAD, scene
from tests.world.clients.html_reader import read_harmless_page
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import NOW, RunningProxy, make_configuration, run_test_proxy

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
STRICT = """
version = 1
[[rules]]
name = "cool down"
projects = ["*"]
min-age = "3 days"
"""


async def follow(proxy: RunningProxy, path: str, link: str) -> tuple[str, str]:
    """Follow a relative link of the page at `path`; return the body of its target and the fragment."""
    up = link.count("../")
    target, _, fragment = f"{path.rsplit('/', up + 1)[0]}/{link[3 * up :]}".partition("#")
    answer = await proxy.get(target)
    assert answer.status == 200, target
    return answer.body.decode(), fragment


async def test_the_link_to_the_file_leads_to_its_page_among_many_versions(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=STRICT) as proxy:
        young = index.add(wheel("big", "1.3"), upload_time=NOW - timedelta(days=1))
        for minor in (*range(3), *range(4, 80)):
            index.add(wheel("big", f"1.{minor}"), upload_time=NOW - timedelta(days=30))
        path = proxy.files_path(young)
        answer = await proxy.get(path, BROWSER)
        found = read_harmless_page(answer.body)
        assert answer.status == 403
        assert "Nearest approved version: 1.2 (big==1.2)." in found.text
        assert f"Request: {answer.headers['X-Request-Id']}" in found.text
        link = next(each for each in found.links if each.endswith(young.built.filename))
        body, fragment = await follow(proxy, path, link)
        assert f'id="{fragment}"' in body
        assert "page 2 of 2" in body
        link = next(each for each in found.links if each.endswith("#version-1.2"))
        body, fragment = await follow(proxy, path, link)
        assert f'id="{fragment}"' in body


async def test_an_invalid_or_unknown_version_in_the_query_is_named_and_selects_nothing(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        for minor in range(VERSIONS_PER_PAGE + 5):
            index.add(wheel("big", f"1.{minor}"))
        cases = (("9", "9"), ("%3Cscript%3E", "<script>"), ("none", "none"), ("", None), ("1" * 300, None))
        for version, named in cases:
            for page in (1, 2):
                body = (await proxy.get(f"/project/big?page={page}&version={version}")).body
                found = read_harmless_page(body)
                assert f"page {page} of 2" in found.text
                assert (f"The index lists no version {named}." in found.text) == (named is not None)
        found = read_harmless_page((await proxy.get("/project/big?version=1.0.0")).body)
        assert "page 2 of 2" in found.text
        assert "The index lists no version" not in found.text


async def test_the_waiver_on_the_page_approves_the_file_in_its_view(tmp_path: Path) -> None:
    built = sdist("widget", "1.0")
    async with Index() as index:
        views = [{"name": "strict", "path": "/strict/"}]
        configuration = make_configuration(index, tmp_path / "assay", views=views)
        policies = {"strict": STRICT}
        async with run_test_proxy(index, tmp_path, configuration=configuration, policies=policies) as both:
            proxy = both.at_path("/strict/")
            path = proxy.files_path(index.add(built, upload_time=NOW - timedelta(days=1)))
            answer = await proxy.get(path, BROWSER)
            text = html.unescape(answer.body.decode())
            command, toml = re.findall(r"<pre[^>]*><code>(.*?)</code>", text, re.DOTALL)
            assert answer.status == 403
            assert shlex.split(command)[-2:] == ["--view", "strict"]
            assert shlex.split(command)[2] == built.filename
            assert f"expires = {parse_expiry('2 weeks', NOW).isoformat()}" in toml
            assert (await both.get(path)).status == 200, "the twin: the view at / approves the file"
            both.get_gate("strict").policy = load_policy(STRICT + toml, "policy.toml")
            assert (await proxy.get(path, BROWSER)).status == 200


@pytest.mark.parametrize("accept", [BROWSER, {}])
async def test_a_file_whose_name_is_invalid_has_its_place_too(tmp_path: Path, accept: dict[str, str]) -> None:
    async with scene(tmp_path) as proxy:
        (location,) = [
            verdict.file.location
            for page in proxy.assembly.gate.list_cached_pages()
            for verdict in page.listing.withheld
            if verdict.file.filename == BAD
        ]
        path = "/files/" + location.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace(" ", "%20")
        answer = await proxy.get(path, accept)
        assert answer.status == 403
        if not accept:
            assert answer.json()["reasons"][0]["code"] == "bad-filename"
            return
        found = read_harmless_page(answer.body)
        assert "No waiver can approve this file, because no waiver lifts bad-filename." in found.text
        assert "Nearest approved version: 1." in found.text
        link = next(each for each in found.links if "version=none#file-" in each)
        body, fragment = await follow(proxy, path, link)
        assert f'id="{fragment}"' in body


@pytest.mark.parametrize("is_down", [False, True])
async def test_a_verdict_from_a_stale_page_has_its_links_too(tmp_path: Path, *, is_down: bool) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=STRICT) as proxy:
        listed = index.add(wheel("foo", "1.1"), upload_time=NOW - timedelta(days=1))
        index.add(wheel("foo", "1.0"), upload_time=NOW - timedelta(days=30))
        await proxy.fetch_page("foo")
        if is_down:
            await index.down()
            proxy.clock.now += timedelta(hours=2)
        answer = await proxy.get(proxy.files_path(listed), BROWSER)
        found = read_harmless_page(answer.body)
        assert answer.status == 403
        assert "Nearest approved version: 1.0 (foo==1.0)." in found.text
        assert [link for link in found.links if link.endswith(f"#file-{listed.built.filename}")]
