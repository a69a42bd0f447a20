"""HTML pages: they show the verdicts that all routes enforce, and show text of others only as text."""

from __future__ import annotations

import gzip
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from assay.config import Configuration
from assay.evidence import Attested
from assay.policy_reload import PolicyWatch
from assay.simple.model import NormalizedName
from assay.web.ui.project import VERSIONS_PER_PAGE
from assay.web.ui.releases import get_file_anchor
from tests.browser.scene import BAD, IMAGE, RULE, SCRIPT, scene
from tests.world.clients.html_reader import HtmlReader, read_harmless_page
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import OPEN_POLICY, run_views_world

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with scene(tmp_path) as running_proxy:
        yield running_proxy


@pytest.mark.parametrize("path", ["/", "/project/widget", "/project/denied", "/policy", "/search?name=%3Cscript%3E"])
async def test_hostile_names_reasons_yanks_and_statuses_show_as_text_under_a_strict_policy(
    proxy: RunningProxy, path: str
) -> None:
    answer = await proxy.get(path)
    found = read_harmless_page(answer.body)
    assert SCRIPT in found.text or path == "/search?name=%3Cscript%3E"
    security = answer.headers["Content-Security-Policy"]
    assert security.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in security
    assert "frame-ancestors 'none'" in security
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_project_page_says_of_every_file_what_the_index_page_does(proxy: RunningProxy) -> None:
    found = read_harmless_page((await proxy.get("/project/widget")).body)
    listed, withheld = await proxy.fetch_listed("widget"), await proxy.fetch_withheld("widget")
    assert f"{len(listed)} files approved, {len(withheld)} withheld" in found.text
    states = {each["id"]: each["class"] for tag, each in found.elements if tag == "details" and "id" in each}
    for filename, codes in withheld.items():
        assert states[get_file_anchor(filename)] == "withheld"
        for code in codes:
            assert f"{code}: " in found.text
    for filename in listed:
        assert states[get_file_anchor(filename)] == "approved"
    assert BAD in found.text
    assert RULE in found.text
    assert f"archived: gone {IMAGE}" in found.text
    assert "\\u202etxt.exe\\u202c \\x1b[31mred" in found.text, "control and bidirectional characters are made visible"


async def test_a_publisher_is_linked_by_what_its_certificate_proves(proxy: RunningProxy) -> None:
    found = read_harmless_page((await proxy.get("/project/widget")).body)
    page = await proxy.assembly.gate.get_page(NormalizedName("widget"))
    attested = [verdict.evidence for verdict in page.verdicts if isinstance(verdict.evidence, Attested)]
    assert len(attested) == 8
    for evidence in attested:
        one = evidence.attestations[0]
        assert one.claims.repository_uri in found.links
        assert one.claims.run_url in found.links
        assert f"{one.claims.repository_uri}/commit/{one.claims.digest}" in found.links
        assert f"entry {one.log_index} of the log" in found.text
        assert one.certificate in found.text


async def test_the_timeline_says_where_the_publisher_changed_and_provenance_was_lost(proxy: RunningProxy) -> None:
    found = read_harmless_page((await proxy.get("/project/widget")).body)
    for said in (
        "2026-04-10: provenance lost in 1.3: no attestation",
        "2026-05-10: another publisher from 1.4 on: mallory/widget",
        "2026-06-01: provenance lost in 1.5: forged",
    ):
        assert said in found.text
    marks = [attributes["class"] for tag, attributes in found.elements if tag in {"circle", "path"}]
    assert (marks.count("mark approved"), marks.count("mark withheld")) == (3, 4)
    # The rows have PyPI's words, each with its meaning as a tooltip.
    assert "provenance no, lost" in found.text
    assert "provenance full" in found.text
    assert "the publisher or workflow is not that of the attested release before" in {
        attributes.get("title") for _, attributes in found.elements
    }


async def test_the_first_page_says_how_to_point_every_installer_at_this_very_proxy(proxy: RunningProxy) -> None:
    found = read_harmless_page((await proxy.get("/")).body)
    assert f"pip config set global.index-url {proxy.url}" in found.text
    for line in (f'url = "{proxy.url}"\ndefault = true', 'priority = "primary"', "[[tool.pdm.source]]"):
        assert line in found.text
    for line in ("[[source]]", f"PIP_INDEX_URL={proxy.url}", f"UV_DEFAULT_INDEX={proxy.url}"):
        assert line in found.text
    assert found.text.count(proxy.url) == 7
    radios = [each for tag, each in found.elements if tag == "input" and each.get("type") == "radio"]
    assert ["checked" in each for each in radios] == [True, *[False] * 5]
    labels = {each["for"] for tag, each in found.elements if tag == "label"}
    assert {each["id"] for each in radios} <= labels


@pytest.mark.parametrize("host", ['evil.example"><script>', "evil.example", "127.0.0.1:1@evil.example"])
async def test_an_address_that_is_not_ours_is_never_shown(proxy: RunningProxy, host: str) -> None:
    found = read_harmless_page((await proxy.get("/", {"Host": host})).body)
    assert "evil" not in found.text
    assert "http://ADDRESS/simple/" in found.text


async def test_a_public_url_is_what_people_are_told(tmp_path: Path) -> None:
    async with Index() as index:
        server = Configuration.model_validate(
            {"server": {"port": 0, "public-url": "https://pypi.acme.example/"}}
        ).server
        chosen = make_configuration(index, tmp_path / "assay").model_copy(update={"server": server})
        async with run_test_proxy(index, tmp_path, configuration=chosen) as proxy:
            found = read_harmless_page((await proxy.get("/")).body)
    assert "pip config set global.index-url https://pypi.acme.example/simple/" in found.text


async def test_the_first_page_counts_and_lists_refusals_without_who_asked(proxy: RunningProxy) -> None:
    found = read_harmless_page((await proxy.get("/")).body)
    assert "denied-1.0-py3-none-any.whl" in found.text
    assert f"denied: denied by the policy: we use {SCRIPT} another library" in found.text
    assert "project/denied?version=1.0#file-denied-1.0-py3-none-any.whl" in found.links
    assert "refused requests2" in found.text
    assert "127.0.0.1" not in found.text.replace(proxy.url, "")


async def test_the_policy_page_says_rules_waivers_and_revocations_in_words(proxy: RunningProxy) -> None:
    found = read_harmless_page((await proxy.get("/policy")).body)
    for said in (
        "1. not this one",
        "GitHub pyca/cryptography (workflow pypi-publish.yml)",
        f"3. {RULE}",
        "is at least 3 days old",
        "has the file type wheel or sdist",
        "✗ expired 2026-06-09 00:00 UTC",
        "! expires soon: 2026-07-09 00:00 UTC",
        f"{SCRIPT} (approved by security@acme.example)",
        "stolen >=2",
        "INC-1234",
        proxy.assembly.gate.policy.digest,
    ):
        assert said in found.text, said


REFUSED_POLICY = f"""version = 1
[[rules]]
projects = ["*"]
"{SCRIPT}" = 1
min-age = "3 dogs"
"""


async def test_a_refused_policy_file_is_on_the_pages_of_its_view_and_in_readyz_with_its_line(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=OPEN_POLICY, dev=OPEN_POLICY) as there:
        view = next(each for each in there.proxy.assembly.views if each.gate.view == "strict")
        file = tmp_path / "strict.toml"
        file.write_text(OPEN_POLICY)
        watch = PolicyWatch(file, view.gate, view.policy_file, settle_seconds=0)
        await watch.reload_if_changed()

        async def read_pages() -> list[str]:
            paths = [(there.strict, "/"), (there.strict, "/policy"), (there.proxy, "/"), (there.dev, "/policy")]
            return [read_harmless_page((await proxy.get(path)).body).text for proxy, path in paths]

        async def read_problems() -> tuple[int, object]:
            answer = await there.proxy.get("/readyz")
            return answer.status, answer.json()

        assert not any("is refused" in text for text in await read_pages())
        assert await read_problems() == (200, {"ready": True, "problems": {}, "degraded": []})
        file.write_text(REFUSED_POLICY)
        assert not await watch.reload_if_changed()
        home, policy, *others = await read_pages()
        for text in (home, policy):
            assert "The policy file is refused. The policy before it stays in force." in text
            assert f"{file}:5: rules[0].min-age: expected a duration" in text
            assert SCRIPT in text
        assert "policy filerefused, see above" in home
        assert not any("is refused" in text for text in others)
        assert view.policy_file.rejection is not None
        assert await read_problems() == (
            200,
            {"ready": True, "problems": {"policy of view strict": view.policy_file.rejection}, "degraded": []},
        )
        file.write_text(OPEN_POLICY)
        await watch.reload_if_changed()
        assert not any("is refused" in text for text in await read_pages())
        assert await read_problems() == (200, {"ready": True, "problems": {}, "degraded": []})


async def test_a_refused_policy_does_not_hide_a_failed_check(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        proxy.assembly.views[0].policy_file.rejection = "policy.toml:1: no"
        proxy.readiness.is_stopping = True
        answer = await proxy.get("/readyz")
    assert answer.status == 503
    problems = {"policy": "policy.toml:1: no", "server": "shutting down"}
    assert answer.json() == {"ready": False, "problems": problems, "degraded": []}


async def test_the_first_page_says_which_policy_is_in_force_and_what_the_counts_mean(proxy: RunningProxy) -> None:
    text = read_harmless_page((await proxy.get("/")).body).text
    assert "policy in force3 rules, 2 waivers, 1 revocation; enforced" in text
    assert proxy.assembly.gate.policy.digest in text
    assert "refused requests2for withheld files, since the proxy started" in text
    proxy.assembly.views[0].policy_file.in_force_since = proxy.clock.now
    assert "since2026-07-01 12:00 UTC" in read_harmless_page((await proxy.get("/")).body).text


async def test_a_policy_file_with_many_problems_shows_the_first_ones(proxy: RunningProxy) -> None:
    proxy.assembly.views[0].policy_file.rejection = "\n".join(f"policy.toml:{line}: no" for line in range(25))
    text = read_harmless_page((await proxy.get("/policy")).body).text
    assert "policy.toml:9: no" in text
    assert "policy.toml:10: no" not in text
    assert "15 more problems; see the log" in text


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/search?name=Foo_Bar", 303, "project/foo-bar"),
        ("/search?name=+widget+", 303, "project/widget"),
        ("/search?name=..%2F..%2Fevil", 400, None),
        ("/search?name=//evil.example", 400, None),
        ("/search", 200, None),
        ("/search?name=widget%5Bx%5D%3D%3D1.0", 303, "project/widget?version=1.0#version-1.0"),
        ("/project/Foo_Bar", 301, "foo-bar"),
        ("/project/widget/", 301, "../widget"),
        ("/project/%2e%2e", 404, None),
        ("/project/unknown", 404, None),
    ],
)
async def test_search_and_names_lead_to_a_project_and_nowhere_else(
    proxy: RunningProxy, path: str, status: int, location: str | None
) -> None:
    answer = await proxy.get(path)
    assert (answer.status, answer.headers.get("Location")) == (status, location)


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_refusal_in_a_browser_says_why_and_leads_to_the_project(proxy: RunningProxy) -> None:
    page = read_harmless_page((await proxy.get("/")).body)
    refused = next(link for link in page.links if link.startswith("project/denied?")).partition("?")[0]
    path = next(iter((await proxy.assembly.gate.get_page(NormalizedName("denied"))).by_location))
    answer = await proxy.get(f"/files/{path}", BROWSER)
    found = read_harmless_page(answer.body)
    assert answer.status == 403
    assert f"denied: denied by the policy: we use {SCRIPT} another library" in found.text
    assert "Governing rule: not this one." in found.text
    up = "../" * path.count("/") + "../"
    assert f"{up}{refused}" in found.links
    assert (await proxy.get(f"/{refused}")).status == 200


async def test_an_unknown_project_in_a_browser_can_be_searched_again(proxy: RunningProxy) -> None:
    answer = await proxy.get("/project/unknown", BROWSER)
    found = read_harmless_page(answer.body)
    assert answer.status == 404
    assert "No such project" in found.text
    assert [each["action"] for tag, each in found.elements if tag == "form"] == ["../search"]


@pytest.mark.parametrize("path", ["/", "/project/widget", "/policy", "/search?name=//"])
@pytest.mark.parametrize(("accepted", "coding"), [("gzip, deflate", "gzip"), ("gzip, zstd", "zstd"), ("br", None)])
async def test_a_page_is_compressed_for_a_client_that_can_decode_it(
    proxy: RunningProxy, path: str, accepted: str, coding: str | None
) -> None:
    plain, answer = await proxy.get(path), await proxy.get(path, {"Accept-Encoding": accepted})
    assert (plain.headers.get("Content-Encoding"), answer.headers.get("Content-Encoding")) == (None, coding)
    assert plain.headers["Vary"] == answer.headers["Vary"] == "Accept-Encoding"
    decoders: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "zstd": zstd.decompress}
    assert decoders.get(coding, bytes)(answer.body) == plain.body
    assert coding is None or len(answer.body) < len(plain.body) / 2


@pytest.mark.parametrize("path", ["/nowhere", "/project/", "/simple/widget/more", "/nowhere/deeper"])
async def test_a_path_without_a_page_is_a_page_for_browsers_and_one_line_for_others(
    proxy: RunningProxy, path: str
) -> None:
    answer, line = await proxy.get(path, BROWSER), await proxy.get(path)
    found = read_harmless_page(answer.body)
    assert answer.status == line.status == 404
    assert "Page not found" in found.text
    home = "../" * (path.count("/") - 1)
    assert {home or "./", f"{home}policy"} <= set(found.links)
    assert [each["action"] for tag, each in found.elements if tag == "form"] == [f"{home}search"]
    assert line.body == b"Not found. The index is at /simple/.\n"
    assert "<" not in line.body.decode()


@pytest.mark.parametrize("path", ["/", "/project/widget", "/policy", "/nowhere"])
async def test_every_page_has_navigation_an_icon_and_the_version_and_leads_not_to_the_list_of_all_projects(
    proxy: RunningProxy, path: str
) -> None:
    found = read_harmless_page((await proxy.get(path, BROWSER)).body)
    root = "../" if path.startswith("/project/") else ""
    assert {f"{root}{each}" for each in ("overview", "refusals", "policy", "favicon.svg")} <= set(found.links)
    assert not [link for link in found.links if link.partition("?")[0].endswith(("simple", "simple/"))]
    assert f"Assay {version('assay-proxy')} verifies" in found.text
    marked = [each["href"] for _, each in found.elements if each.get("aria-current") == "page"]
    assert marked == ([path[1:]] if path == "/policy" else [])


@pytest.mark.parametrize("path", ["/favicon.svg", "/favicon.ico"])
async def test_the_icon_is_a_picture_without_scripts(proxy: RunningProxy, path: str) -> None:
    answer = await proxy.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    found = HtmlReader(answer.body)
    assert [tag for tag, _ in found.elements] == ["svg", "rect", "path"]


async def test_a_page_of_many_versions_comes_in_pieces_that_hold_them_all(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        for minor in range(VERSIONS_PER_PAGE * 2 + 5):
            index.add(wheel("big", f"1.{minor}"))
        shown = [read_harmless_page((await proxy.get(f"/project/big?page={number}")).body) for number in (1, 2, 3)]
        for number, page in enumerate(shown, start=1):
            assert f"page {number} of 3" in page.text
        count = VERSIONS_PER_PAGE * 2 + 5
        elements = (each for page in shown for _, each in page.elements)
        rows = [each["id"] for each in elements if "row" in each.get("class", "").split()]
        assert rows == [f"version-1.{minor}" for minor in reversed(range(count))], "the newest come first"
        beyond = read_harmless_page((await proxy.get("/project/big?page=999999")).body)
        assert "page 3 of 3" in beyond.text


async def test_a_stale_page_says_so(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        fresh = read_harmless_page((await proxy.get("/project/foo")).body)
        await index.down()
        proxy.clock.now += timedelta(hours=2)
        stale = read_harmless_page((await proxy.get("/project/foo")).body)
    assert "is unavailable" not in fresh.text
    assert "The index is unavailable. It last confirmed this page at 2026-07-01 12:00 UTC" in stale.text
