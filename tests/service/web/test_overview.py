"""Overview: provenance of the used projects, refusals, waivers; from records, also after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.assembly import Tuning
from tests.world.advisories.snapshots import make_snapshot, malware
from tests.world.clients.html_reader import HtmlReader, read_harmless_page
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import NOW, ManualClock, RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import CLOSED_POLICY, OPEN_POLICY
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore
from tests.world.sigstore.signers import GitHub

SCRIPT = "<script>alert(1)</script>"
POLICY = (
    OPEN_POLICY.replace('name = "open"', f"name = '''open {SCRIPT}'''")
    + f"""
[[waivers]]
name = "soon"
projects = ["numpy"]
versions = "==1.0"
uploaded-before = 2026-06-20
lifts = ["min-age"]
expires = 2026-07-08
reason = "{SCRIPT}"
"""
)
JSON = {"Accept": "application/json"}


@dataclass
class World:
    proxy: RunningProxy
    index: Index
    files: Mapping[str, ListedFile]

    async def read(self, prefix: str = "") -> dict[str, Any]:
        answer = await self.proxy.get(f"{prefix}/overview", JSON)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        found: dict[str, Any] = answer.json()
        return found

    async def show(self) -> HtmlReader:
        answer = await self.proxy.get("/overview")
        assert answer.status == 200
        return read_harmless_page(answer.body)


def fill(index: Index, sigstore: PrivateSigstore) -> dict[str, ListedFile]:
    """Add three projects: one always attested, one whose provenance is lost in 2.0, one without."""
    files = {}
    for project, version, repository in (
        ("good", "1.0", "acme/good"),
        ("good", "2.0", "acme/good"),
        ("lost", "1.0", "acme/lost"),
        ("lost", "2.0", None),
        ("moved", "1.0", "acme/moved"),
        ("moved", "2.0", "mallory/moved"),
        ("bare", "1.0", None),
    ):
        built = wheel(project, version)
        signer = None if repository is None else GitHub(repository=repository)
        provenance = None if signer is None else sigstore.provenance(built.filename, built.sha256, signer)
        days = timedelta(days=1) if version == "2.0" else timedelta(0)
        files[f"{project}-{version}"] = index.add(built, upload_time=SIGNING_TIME + days, provenance=provenance)
    return files


@asynccontextmanager
async def run_world(
    tmp_path: Path, clock: ManualClock | None = None, *, ecosystem: str = "PyPI", max_judged_files: int = 1_000
) -> AsyncIterator[World]:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        files = fill(index, sigstore)
        tables = [{"name": "strict", "path": "/strict/"}]
        pypi = {"name": "test", "url": index.url, "file-hosts": [index.files_host], "ecosystem": ecosystem}
        configuration = make_configuration(index, tmp_path / "assay", sigstore, views=tables, indexes=[pypi])
        async with run_test_proxy(
            index,
            tmp_path,
            policy=POLICY,
            policies={"strict": CLOSED_POLICY},
            configuration=configuration,
            clock=clock,
            tuning=Tuning(overview_seconds=0, max_judged_files=max_judged_files),
        ) as proxy:
            yield World(proxy, index, files)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with run_world(tmp_path) as made:
        yield made


def words_of(overview: dict[str, Any]) -> dict[str, list[str]]:
    return {f"{each['project']} {each['version']}": each["provenance"] for each in overview["releases"]}


async def test_nothing_was_used(world: World) -> None:
    found = await world.read()
    assert (found["projects"], found["releases"], found["refusals"], found["advisories"]) == (0, [], [], None)
    assert "No request was refused" in (await world.show()).text


async def test_the_newest_release_stands_for_a_project_whose_page_was_used(world: World) -> None:
    for project in ("good", "lost", "moved", "bare"):
        await world.proxy.fetch_page(project)
    found = await world.read()
    assert words_of(found) == {
        "bare 1.0": ["no"],
        "good 2.0": ["full"],
        "lost 2.0": ["no", "lost"],
        "moved 2.0": ["full", "changed"],
    }
    assert [f"{each['project']} {each['version']}" for each in found["alarms"]] == ["lost 2.0", "moved 2.0"]
    publishers = {each["name"]: each["projects"] for each in found["publishers"]}
    assert publishers == {"acme/good": ["good"], "acme/lost": ["lost"], "mallory/moved": ["moved"]}
    text = (await world.show()).text
    for shown in ("lost", "changed", "mallory/moved", "newest release", "PyPI's words"):
        assert shown in text


async def test_the_highest_used_version_stands_for_a_project_of_which_a_file_was_used(world: World) -> None:
    await world.proxy.fetch_page("lost")
    assert (await world.proxy.get(world.proxy.files_path(world.files["lost-1.0"]))).status == 200
    found = await world.read()
    assert words_of(found) == {"lost 1.0": ["full"]}
    assert [each["used"] for each in found["releases"]] == [True]
    assert (await world.proxy.get(world.proxy.files_path(world.files["lost-2.0"]))).status == 200
    assert words_of(await world.read()) == {"lost 2.0": ["no", "lost"]}


async def test_a_view_shows_its_own_projects_and_refusals(world: World) -> None:
    await world.proxy.fetch_page("good")
    strict = world.proxy.at_path("/strict/")
    await strict.fetch_page("bare")
    assert (await strict.get(world.proxy.files_path(world.files["bare-1.0"]))).status == 403
    default, other = await world.read(), await world.read("/strict")
    assert set(words_of(default)) == {"good 2.0"}
    assert default["refusals"] == []
    assert {each["project"] for each in other["releases"]} | set(other["not-examined"]) == {"bare"}
    assert other["refusals"] == [{"day": "2026-07-01", "rule": "closed", "reason": "denied", "count": 1}]
    assert other["waivers"] == []


async def test_refusals_are_drawn_and_hostile_text_shows_as_text(world: World) -> None:
    strict = world.proxy.at_path("/strict/")
    await strict.get(world.proxy.files_path(world.files["bare-1.0"]))
    page = read_harmless_page((await strict.get("/overview")).body)
    assert "closed" in page.text
    bars = [attributes for tag, attributes in page.elements if tag == "rect"]
    assert len(bars) == 1
    assert SCRIPT in (await world.show()).text, "the reason of a waiver"
    assert "numpy" in (await world.show()).text


async def test_the_overview_survives_a_restart_and_asks_no_index(tmp_path: Path) -> None:
    async with run_world(tmp_path) as world:
        for project in ("good", "lost"):
            await world.proxy.fetch_page(project)
        before = await world.read()
        await world.proxy.at_path("/strict/").get(world.proxy.files_path(world.files["bare-1.0"]))
    async with run_world(tmp_path, ManualClock(NOW + timedelta(days=1))) as world:
        after = await world.read()
        assert [after[key] for key in ("releases", "alarms", "publishers")] == [
            before[key] for key in ("releases", "alarms", "publishers")
        ]
        assert [each["count"] for each in (await world.read("/strict"))["refusals"]] == [1]
        assert world.index.requests == []


async def test_projects_that_were_used_long_ago_are_left_out(tmp_path: Path) -> None:
    clock = ManualClock()
    async with run_world(tmp_path, clock) as world:
        await world.proxy.fetch_page("good")
        await world.proxy.assembly.store.usage.flush()
        clock.now += timedelta(days=29)
        assert (await world.read())["projects"] == 1
        clock.now += timedelta(days=2)
        assert (await world.read())["projects"] == 0


async def test_a_project_without_a_summary_is_not_examined(world: World) -> None:
    world.proxy.assembly.store.usage.note("test", NormalizedName("good"), view="default")
    assert (await world.read())["not-examined"] == ["good"]
    assert "not examined" in (await world.show()).text
    await world.proxy.fetch_page("good")
    assert (await world.read())["not-examined"] == []


async def test_pages_that_the_cache_evicted_are_examined_too(tmp_path: Path) -> None:
    async with run_world(tmp_path, max_judged_files=1) as world:
        await world.proxy.fetch_page("good")
        assert (await world.proxy.get(world.proxy.files_path(world.files["lost-2.0"]))).status == 200
        await world.proxy.fetch_page("moved")
        cached = world.proxy.assembly.gate.list_cached_pages()
        assert [each.page.project.name for each in cached] == ["moved"]
        found = await world.read()
        assert (found["not-examined"], words_of(found)) == (
            [],
            {"good 2.0": ["full"], "lost 2.0": ["no", "lost"], "moved 2.0": ["full", "changed"]},
        )


async def test_advisories_on_used_versions_are_shown_when_there_are_any(world: World) -> None:
    await world.proxy.fetch_page("bare")
    await world.proxy.get(world.proxy.files_path(world.files["bare-1.0"]))
    assert (await world.read())["advisories"] is None
    world.proxy.assembly.advisories.put(make_snapshot(malware("bare", "2.0", record="GHSA-2")))
    assert (await world.read())["advisories"] == []
    world.proxy.assembly.advisories.put(make_snapshot(malware("bare", "1.0", record="GHSA-1")))
    found = (await world.read())["advisories"]
    assert [(each["id"], each["project"], each["versions"]) for each in found] == [("GHSA-1", "bare", ["1.0"])]
    assert "GHSA-1" in (await world.show()).text


async def test_records_about_projects_of_another_ecosystem_are_not_shown(tmp_path: Path) -> None:
    async with run_world(tmp_path, ecosystem="none") as world:
        await world.proxy.get(world.proxy.files_path(world.files["bare-1.0"]))
        world.proxy.assembly.advisories.put(make_snapshot(malware("bare")))
        assert (await world.read())["advisories"] == []


async def test_a_file_without_a_request_for_its_page_is_enough_and_a_page_for_people_is_not(world: World) -> None:
    await world.proxy.get("/project/moved")
    assert (await world.read())["projects"] == 0
    assert (await world.proxy.get(world.proxy.files_path(world.files["good-1.0"]))).status == 200
    assert words_of(await world.read()) == {"good 1.0": ["full"]}
