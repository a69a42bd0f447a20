"""Tests against dependency confusion: the public index cannot provide a project whose name the internal one owns.

Each test of a refusal has a counterpart that is approved, to show that the refusal has the right cause.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from tests.world.clients.installers import ClientResult, pip_install, run_client, uv_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Reply
from tests.world.index.threaded_index import run_index_in_thread
from tests.world.proxy.running_proxy import SIMPLE_JSON, RunningProxy, make_configuration, run_test_proxy

BOTH = pytest.mark.parametrize("installer", [pip_install, uv_install])
OURS = ["acme", "acme-*"]
BELONGS = "the index internal owns the name acme-nothing but has no such project, and Assay asks no other index for it"


@dataclass(frozen=True)
class Company:
    """Internal index, public index, and a proxy in front of both."""

    internal: Index
    public: Index
    proxy: RunningProxy
    stranger: ListedFile


@asynccontextmanager
async def company(
    tmp_path: Path, *, patterns: list[str] | None = None, withheld: str = "hide"
) -> AsyncIterator[Company]:
    """Start the indexes and the proxy. acme-core 1.0 is internal; acme-core 99.0 and acme-nothing are public."""
    async with Index() as internal, Index() as public:
        internal.add(wheel("acme-core", "1.0"))
        stranger = public.add(wheel("acme-core", "99.0"))
        public.add(wheel("acme-nothing", "1.0"))
        public.add(wheel("widget", "1.0"))
        indexes: list[dict[str, Any]] = [
            {"name": "internal", "url": internal.url, "projects": patterns or OURS},
            {"name": "public", "url": public.url},
        ]
        policy = f"""
            version = 1
            withheld = "{withheld}"
            [defaults]
            ratchet = "off"
            [[rules]]
            name = "all"
            projects = ["*"]
            """
        configuration = make_configuration(public, tmp_path / "assay", indexes=indexes)
        async with run_test_proxy(public, tmp_path, policy=policy, configuration=configuration) as proxy:
            yield Company(internal, public, proxy, stranger)


def versions(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("target/*.dist-info"))


# An internal name that exists on the public index with a higher version


async def test_a_higher_version_on_the_public_index_is_neither_listed_nor_served_nor_asked_for(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        assert await there.proxy.fetch_listed("acme-core") == {"acme_core-1.0-py3-none-any.whl"}
        there.public.reset_log()
        for path in (there.proxy.files_path(there.stranger), f"{there.proxy.files_path(there.stranger)}.metadata"):
            assert (await there.proxy.get(path)).status == 404
        assert (await there.proxy.get(there.stranger.provenance_path)).status == 404
        assert there.public.requests == []


async def test_without_the_pattern_the_public_version_is_what_people_would_get(tmp_path: Path) -> None:
    async with company(tmp_path, patterns=["other-*"]) as there:
        assert await there.proxy.fetch_listed("acme-core") == {"acme_core-99.0-py3-none-any.whl"}


@pytest.mark.clients
@BOTH
async def test_installers_get_the_internal_version(tmp_path: Path, installer: Any) -> None:
    async with company(tmp_path) as there:
        outcome: ClientResult = await installer(
            there.proxy.url, "acme-core", "widget", home=tmp_path, target=tmp_path / "target"
        )
        assert outcome.status == 0, outcome.output
        assert there.public.count("/simple/acme-core/") == 0
    assert versions(tmp_path) == ["acme_core-1.0.dist-info", "widget-1.0.dist-info"]


async def test_the_list_of_all_projects_names_it_once_and_as_the_internal_index_has_it(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        root = (await there.proxy.get("/simple/", {"Accept": SIMPLE_JSON})).json()
        assert sorted(project["name"] for project in root["projects"]) == ["acme-core", "widget"]


# The internal index is down


async def test_an_internal_index_that_is_down_is_waited_for_and_never_replaced(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        await there.internal.down()
        answer = await there.proxy.get("/simple/acme-core/", {"Accept": SIMPLE_JSON})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert str(there.internal.files_host) in answer.json()["detail"]
        assert there.public.count("/simple/acme-core/") == 0
        assert await there.proxy.fetch_listed("widget") == {"widget-1.0-py3-none-any.whl"}
        await there.internal.up()
        assert await there.proxy.fetch_listed("acme-core") == {"acme_core-1.0-py3-none-any.whl"}


@pytest.mark.clients
@BOTH
async def test_installers_fail_while_the_internal_index_is_down(tmp_path: Path, installer: Any) -> None:
    async with company(tmp_path) as there:
        await there.internal.down()
        more = ["--retries", "0"] if installer is pip_install else []
        outcome: ClientResult = await installer(
            there.proxy.url, "acme-core", *more, home=tmp_path, target=tmp_path / "target"
        )
        assert outcome.status != 0
        if installer is uv_install:
            assert "Server message:" in outcome.output
            assert there.internal.files_host in outcome.output
    assert versions(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
async def test_no_answer_of_the_internal_index_makes_the_public_one_be_asked(tmp_path: Path, status: int) -> None:
    async with company(tmp_path) as there:
        there.internal.inject_fault("/simple/acme-core/", Reply(status))
        answer = await there.proxy.get("/simple/acme-core/", {"Accept": SIMPLE_JSON})
        assert answer.status == {404: 200, 410: 200, 500: 503}.get(status, 502)
        assert b"99.0" not in answer.body
        assert there.public.count("/simple/acme-core/") == 0


# The name differs only by normalisation


@pytest.mark.parametrize("spelt", ["Acme_Core", "acme.core", "ACME--core", "acme_-.core"])
async def test_every_spelling_is_the_internal_name(tmp_path: Path, spelt: str) -> None:
    async with company(tmp_path) as there:
        answer = await there.proxy.get(f"/simple/{spelt}/", {"Accept": SIMPLE_JSON})
        assert (answer.status, answer.headers["Location"]) == (301, "../acme-core/")
        assert there.public.requests == []


async def test_a_pattern_may_be_spelt_in_any_way_too(tmp_path: Path) -> None:
    async with company(tmp_path, patterns=["Acme_*"]) as there:
        assert await there.proxy.fetch_listed("acme-core") == {"acme_core-1.0-py3-none-any.whl"}


async def test_a_name_that_only_looks_alike_is_another(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        there.public.add(wheel("acmecore", "1.0"))
        assert await there.proxy.fetch_listed("acmecore") == {"acmecore-1.0-py3-none-any.whl"}
        assert there.internal.count("/simple/acmecore/") == 0


@pytest.mark.clients
@BOTH
async def test_installers_get_the_internal_one_by_another_spelling(tmp_path: Path, installer: Any) -> None:
    async with company(tmp_path) as there:
        outcome: ClientResult = await installer(there.proxy.url, "Acme_Core", home=tmp_path, target=tmp_path / "target")
        assert outcome.status == 0, outcome.output
    assert versions(tmp_path) == ["acme_core-1.0.dist-info"]


# A name that an index owns but for which it has no project


async def test_a_reserved_name_is_an_empty_page_with_the_reason(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        page = await there.proxy.fetch_page("acme-nothing")
        assert (page["files"], page["versions"]) == ([], [])
        (entry,) = page["_withheld"]
        assert set(entry) == {"reasons"}
        (reason,) = entry["reasons"]
        assert reason["code"] == "index"
        assert reason["message"].startswith(BELONGS)
        answer = await there.proxy.get("/simple/acme-nothing/", {"Accept": "text/html"})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert BELONGS in answer.body.decode()
        assert b"<a " not in answer.body
        assert there.public.count("/simple/acme-nothing/") == 0


async def test_a_browser_is_told_the_same(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        answer = await there.proxy.get("/project/acme-nothing", {"Accept": "text/html"})
        assert (answer.status, BELONGS in answer.body.decode()) == (200, True)
        other = await there.proxy.get("/project/acme-core", {"Accept": "text/html"})
        assert (other.status, b"no other index" in other.body) == (200, False)


def test_explain_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_index_in_thread() as internal:
        internal.add(wheel("acme-core", "1.0"))
        config = tmp_path / "proxy.toml"
        config.write_text(
            f'[storage]\ndirectory = "storage"\n[trust]\nrefresh = false\n[verification]\nworkers = 0\n'
            f'[[indexes]]\nname = "internal"\nurl = "{internal.url}"\nprojects = ["acme-*"]\n'
            f'[[indexes]]\nname = "public"\nurl = "{internal.url}"\n',
            "utf-8",
        )
        assert run(["explain", "acme-nothing", "--config", str(config)]) == 1
        assert f"[index] {BELONGS}" in capsys.readouterr().out
        assert run(["explain", "acme-nothing", "--config", str(config), "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["index"], told["files"], told["reasons"][0]["code"]) == ("internal", [], "index")
        assert run(["explain", "acme-core", "--config", str(config), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["reasons"] == []


async def test_a_name_that_the_catch_all_does_not_have_is_404(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        assert (await there.proxy.get("/simple/nobodys/", {"Accept": SIMPLE_JSON})).status == 404


async def test_a_reserved_name_is_listed_in_full_once_its_index_has_it(tmp_path: Path) -> None:
    async with company(tmp_path, withheld="explain") as there:
        assert (await there.proxy.fetch_page("acme-nothing"))["files"][0]["yanked"]
        there.internal.add(wheel("acme-nothing", "0.1"))
        there.proxy.clock.now += timedelta(minutes=2)
        page = await there.proxy.fetch_page("acme-nothing")
        assert [file["filename"] for file in page["files"]] == ["acme_nothing-0.1-py3-none-any.whl"]
        assert page["_withheld"] == []


@pytest.mark.parametrize("withheld", ["explain", "stop"])
async def test_it_is_listed_as_one_version_and_a_request_for_the_file_is_403(tmp_path: Path, withheld: str) -> None:
    async with company(tmp_path, withheld=withheld) as there:
        (entry,) = (await there.proxy.fetch_page("acme-nothing"))["files"]
        reason = "withheld, index: the index internal owns the name acme-nothing"
        assert entry["yanked"] is False if withheld == "stop" else entry["yanked"].startswith(reason)
        for method in ("GET", "HEAD"):
            answer = await there.proxy.request(method, entry["url"].removeprefix("../.."))
            assert answer.status == 403
            assert answer.reason.startswith(reason)
        assert there.internal.count("/simple/acme-nothing/") == 1


@pytest.mark.clients
@pytest.mark.parametrize("withheld", ["hide", "explain", "stop"])
@BOTH
async def test_installers_install_nothing_for_a_reserved_name_and_say_why_unless_it_is_hidden(
    tmp_path: Path, installer: Any, withheld: str
) -> None:
    async with company(tmp_path, withheld=withheld) as there:
        outcome: ClientResult = await installer(
            there.proxy.url, "acme-nothing", home=tmp_path, target=tmp_path / "target"
        )
        assert outcome.status != 0
        text = " ".join(outcome.output.split())
        told = "reserved.for.internal.which.has.no.such.project" in text
        assert told == (withheld != "hide"), text
        if withheld == "stop":
            assert "403" in text
        if told and (installer is uv_install or withheld == "stop"):
            assert "withheld, index: the index internal owns the name acme-nothing" in text
    assert versions(tmp_path) == []


async def uv_with_two(first: str, second: str, wanted: str, tmp_path: Path) -> ClientResult:
    """Run uv with the public index configured beside the proxy, which the documentation advises against."""
    return await run_client(
        str(Path(sys.executable).parent / "uv"), "pip", "install", "--no-cache", "--python", sys.executable,
        "--index", first, "--default-index", second, "--target", str(tmp_path / "target"), wanted, home=tmp_path,
    )  # fmt: skip


@pytest.mark.clients
async def test_uv_does_not_fall_through_to_the_next_index_of_its_user(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        outcome = await uv_with_two(there.proxy.url, there.public.url, "acme-nothing", tmp_path)
        assert outcome.status != 0, outcome.output
        assert there.public.count("/simple/acme-nothing/") == 0
        assert versions(tmp_path) == []


@pytest.mark.clients
async def test_uv_does_fall_through_for_a_name_that_is_nobodys(tmp_path: Path) -> None:
    async with company(tmp_path) as there, Index() as third:
        third.add(wheel("nobodys", "1.0"))
        outcome = await uv_with_two(there.proxy.url, third.url, "nobodys", tmp_path)
        assert outcome.status == 0, outcome.output
    assert versions(tmp_path) == ["nobodys-1.0.dist-info"]
