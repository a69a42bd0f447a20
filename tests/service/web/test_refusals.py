"""Refusals page: filters, pages, JSON, views and restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from assay.policy.verdict import ReasonCode
from tests.browser.scene import BAD, SCRIPT, scene
from tests.contract.refusals_contract import make_refusal
from tests.service.web.test_view_permissions import WHO, guarded
from tests.world.clients.html_reader import read_harmless_page
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy
from tests.world.proxy.views_world import OPEN_POLICY

YOUNG_POLICY = 'version = 1\n[[rules]]\nprojects = ["*"]\nmin-age = "3 days"\n'
JSON = {"Accept": "application/json"}


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with scene(tmp_path) as running:
        yield running


async def read(proxy: RunningProxy, query: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = await proxy.get(f"/refusals{query}", {**JSON, **(headers or {})})
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    found: dict[str, Any] = answer.json()
    return found


async def list_files(proxy: RunningProxy, query: str = "", headers: dict[str, str] | None = None) -> list[str]:
    return [each["filename"] for each in (await read(proxy, query, headers))["refusals"]]


async def test_a_refusal_is_listed_with_its_reason(proxy: RunningProxy) -> None:
    (bad, denied) = (await read(proxy))["refusals"]
    assert (denied["project"], denied["rule"], denied["reasons"]) == ("denied", "not this one", ["denied"])
    assert (denied["route"], denied["view"], denied["user"]) == ("file", "default", None)
    assert "another library" in denied["message"]
    assert (bad["filename"], bad["reasons"][0]) == (BAD, "bad-filename")


async def test_hostile_text_shows_as_text(proxy: RunningProxy) -> None:
    page = read_harmless_page((await proxy.get("/refusals?rule=%3Cscript%3E&user=%22%3E%3Cimg%20src=x%3E")).body)
    assert "No recorded refusal matches" in page.text
    shown = read_harmless_page((await proxy.get("/refusals")).body)
    assert SCRIPT in shown.text
    assert BAD in shown.text


COUNTS = {
    "?project=Denied": 1,
    "?project=other": 0,
    "?rule=not%20this%20one": 1,
    "?rule=not": 0,
    "?reason=bad-filename": 1,
    "?reason=forged": 0,
    "?view=default": 2,
    "?view=*": 2,
    "?view=strict": 0,
    "?user=alice": 0,
    "?before=1": 0,
    "?project=denied&reason=denied": 1,
}
"""Number of refusals in the scene by query."""


async def test_a_filter_selects_in_both_forms(proxy: RunningProxy) -> None:
    for query, count in COUNTS.items():
        assert len(await list_files(proxy, query)) == count, query
        page = read_harmless_page((await proxy.get(f"/refusals{query}")).body)
        assert page.text.count("-1.0-py3") == count, query


async def test_the_form_offers_every_reason_and_keeps_the_filter(proxy: RunningProxy) -> None:
    page = read_harmless_page((await proxy.get("/refusals?reason=forged&project=a%22b")).body)
    options = [attributes for tag, attributes in page.elements if tag == "option"]
    assert {each["value"] for each in options} == {"", *(code.value for code in ReasonCode)}
    assert [each["value"] for each in options if "selected" in each] == ["forged"]
    fields = {attributes["name"]: attributes.get("value") for tag, attributes in page.elements if tag == "input"}
    assert fields["project"] == 'a"b'


async def test_pages_follow_each_other(proxy: RunningProxy) -> None:
    for number in range(120):
        proxy.assembly.store.refusals.note(make_refusal(filename=f"{number}", user=None))
    seen, target = list[str](), "refusals"
    while target:
        found = await read(proxy, target.removeprefix("refusals"))
        assert len(found["refusals"]) <= 50
        seen += [each["filename"] for each in found["refusals"]]
        target = found["next"]
    assert seen[:120] == [str(number) for number in reversed(range(120))]
    assert len(seen) == 122
    first = read_harmless_page((await proxy.get("/refusals?rule=everything")).body)
    (older,) = [link for link in first.links if "before=" in link]
    second = read_harmless_page((await proxy.get(f"/{older}")).body)
    assert "no refusal" not in second.text
    assert "rule=everything" in older


async def test_refusals_survive_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path) as proxy:
        before = await read(proxy)
    async with scene(tmp_path, policy=OPEN_POLICY) as proxy:
        after = await read(proxy)
        home = read_harmless_page((await proxy.get("/")).body).text
    assert [each for each in after["refusals"] if each["project"] == "denied"][-1:] == before["refusals"][-1:]
    assert "denied: denied by the policy" in home
    assert "refused requests1for withheld files, since the proxy started" in home, "of the file with an invalid name"


async def test_the_message_names_the_nearest_approved_version_on_both_pages(tmp_path: Path) -> None:
    async with Index() as index:
        index.add(wheel("widget", "1.0"), upload_time="2026-05-30T12:00:00Z")
        young = index.add(wheel("widget", "2.0"), upload_time="2026-06-30T12:00:00Z")
        async with run_test_proxy(index, tmp_path, policy=YOUNG_POLICY) as proxy:
            for _ in range(3):
                assert (await proxy.get(proxy.files_path(young))).status == 403
            for path, times in (("/", 1), ("/refusals", 3)):
                page = read_harmless_page((await proxy.get(path)).body)
                assert page.text.count("; nearest approved version: 1.0") == times


async def test_a_user_sees_the_refusals_of_the_views_that_the_user_may_use(tmp_path: Path) -> None:
    async with guarded(tmp_path, strict=["alice"], dev=["carol"]) as there:
        refused = await there.proxy.get("/strict" + there.proxy.files_path(there.listed), WHO["alice"])
        assert refused.status == 403
        for who, seen in (("alice", 1), ("carol", 0), ("dave", 0)):
            for query in ("?view=strict", "?view=*", f"?view={quote('*')}&user=alice"):
                assert len(await list_files(there.proxy, query, WHO[who])) == seen, (who, query)
            assert await list_files(there.proxy, "", WHO[who]) == [], "the own view has no refusals"
            page = (await there.proxy.get("/refusals", WHO[who])).body
            assert (b"strict" in page) == (who == "alice"), who
        strict = there.proxy.at_path("/strict/")
        assert len(await list_files(strict, "", WHO["alice"])) == 1
        assert len(await list_files(strict, "?view=default", WHO["alice"])) == 0
        (found,) = (await read(strict, "?user=alice", WHO["alice"]))["refusals"]
        assert (found["user"], found["view"]) == ("alice", "strict")
        assert await list_files(strict, "?user=bob", WHO["alice"]) == []
        assert (await strict.get("/refusals", WHO["carol"])).status == 403
