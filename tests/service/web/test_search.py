"""Search: suggestions from the projects that clients used, and the list of these projects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.assembly import Tuning
from tests.world.clients.html_reader import HtmlReader, read_harmless_page
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import OPEN_POLICY

USED = ("cryptography", "crypto-utils", "numpy")


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with Index() as index:
        for project in (*USED, "unused"):
            index.add(wheel(project, "1.0"))
        tables = [{"name": "other", "path": "/other/"}]
        configuration = make_configuration(index, tmp_path / "assay", views=tables)
        async with run_test_proxy(
            index,
            tmp_path,
            policies={"default": OPEN_POLICY, "other": OPEN_POLICY},
            configuration=configuration,
            tuning=Tuning(overview_seconds=0),
        ) as running:
            for project in USED:
                await running.fetch_page(project)
            yield running


async def search(proxy: RunningProxy, text: str) -> HtmlReader:
    answer = await proxy.get(f"/search?name={text}")
    assert answer.status == 200
    return read_harmless_page(answer.body)


def suggested(page: HtmlReader) -> list[str]:
    return [link.removeprefix("project/") for link in page.links if link.startswith("project/")]


async def test_an_empty_box_shows_the_projects_that_were_used(proxy: RunningProxy) -> None:
    page = await search(proxy, "")
    assert sorted(suggested(page)) == sorted(USED)
    assert suggested(await search(proxy.at_path("/other/"), "")) == [], "another view has seen none"


LOCATIONS = {
    "NumPy": "project/numpy",
    "numpy%5Bx%5D%3E%3D1": "project/numpy",
    "numpy%3D%3D1.0": "project/numpy?version=1.0#version-1.0",
    "https%3A%2F%2Fpypi.org%2Fproject%2Fnumpy%2F": "project/numpy",
    "numpy-1.0-py3-none-any.whl": "project/numpy?version=1.0#version-1.0",
    "unheard-of": "project/unheard-of",
}


async def test_a_search_leads_to_its_project(proxy: RunningProxy) -> None:
    for text, location in LOCATIONS.items():
        answer = await proxy.get(f"/search?name={text}")
        assert (answer.status, answer.headers["Location"]) == (303, location)


async def test_a_part_of_a_name_and_a_misspelt_name_get_suggestions(proxy: RunningProxy) -> None:
    assert suggested(await search(proxy, "crypto")) == ["crypto", "crypto-utils", "cryptography"]
    assert suggested(await search(proxy, "cryptograpy")) == ["cryptograpy", "cryptography"]
    assert suggested(await search(proxy, "utils")) == ["utils", "crypto-utils"]


async def test_what_names_no_project_is_refused_with_an_explanation(proxy: RunningProxy) -> None:
    answer = await proxy.get("/search?name=%3Cscript%3Ealert(1)%3C/script%3E")
    page = read_harmless_page(answer.body)
    assert answer.status == 400
    assert "names no project" in page.text
    assert [attributes["value"] for tag, attributes in page.elements if attributes.get("id") == "name"] == [
        "<script>alert(1)</script>"
    ]
