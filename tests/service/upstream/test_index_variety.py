"""Indexes other than PyPI: their page formats, weak hashes, signed URLs and provenance from another server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import ABSENT, Index, ListedFile
from tests.world.index.faulty_server import CannedResponse, Redirect, Reply, Request
from tests.world.index.upstream_pages import SHAPES, PageShape
from tests.world.proxy.running_proxy import NOW, ManualClock, make_configuration, retry_documents, run_test_proxy
from tests.world.sigstore.private_sigstore import GitHub, GitLab, PrivateSigstore

WIDGET = wheel("widget", "1.0")
COOL_DOWN = """
version = 1
[defaults]
min-age = "3 days"
ratchet = "off"
[[rules]]
name = "cool down"
projects = ["*"]
"""
SIGNED = """
version = 1
[[rules]]
name = "signed by widget's own pipeline"
projects = ["*"]
publishers = [{ kind = "GitHub", repository = "acme/widget" }]
"""


def by_maker(shape: PageShape) -> str:
    return shape.maker


# Pages of other index servers


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.installs], ids=by_maker)
async def test_a_file_of_another_makers_index_is_listed_and_served(tmp_path: Path, shape: PageShape) -> None:
    async with Index() as index:
        path = shape.install(index, WIDGET)
        indexes = [{"name": "theirs", "url": f"{index.origin}{shape.root}"}]
        configuration = make_configuration(index, tmp_path / "assay", indexes=indexes)
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            assert await proxy.fetch_listed("widget") == {WIDGET.filename}
            answer = await proxy.get(f"/files/{index.files_host}{path}")
            assert (answer.status, answer.body) == (200, WIDGET.content)
            again = await proxy.get(f"/files/{index.files_host}{path}")
            assert (again.status, again.body, index.count(path)) == (200, WIDGET.content, 1)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if not shape.installs], ids=by_maker)
async def test_without_a_sha256_nothing_is_served_and_the_page_says_so(tmp_path: Path, shape: PageShape) -> None:
    async with Index() as index:
        path = shape.install(index, WIDGET)
        indexes = [{"name": "theirs", "url": f"{index.origin}{shape.root}"}]
        configuration = make_configuration(index, tmp_path / "assay", indexes=indexes)
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            assert await proxy.fetch_listed("widget") == set()
            assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["no-sha256"]}
            answer = await proxy.get(f"/files/{index.files_host}{path}")
            assert (answer.status, index.count(path)) == (403, 0)
            assert "no-sha256" in answer.reason


@pytest.mark.parametrize("hashes", [{}, {"md5": "d" * 32}, {"sha256": "short"}, {"sha512": "d" * 128}])
async def test_in_json_too_only_a_sha256_will_do(tmp_path: Path, hashes: dict[str, str]) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(WIDGET, entry={"hashes": hashes})
        index.add(wheel("widget", "1.1"), entry={"hashes": {"md5": "d" * 32, "sha256": wheel("widget", "1.1").sha256}})
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["no-sha256"]}
        assert await proxy.fetch_listed("widget") == {"widget-1.1-py3-none-any.whl"}


@pytest.mark.parametrize("content", ["json", "html"])
async def test_relative_addresses_start_at_the_page_that_answered(tmp_path: Path, content: Any) -> None:
    async with Index(content=content, relative_urls=True) as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(WIDGET)
        index.add(wheel("moved", "1.0"))
        index.inject_fault(index.page_path("widget"), Redirect("/mirror/deep/simple/widget/"), times=1)
        index.serve_fixed("/mirror/deep/simple/widget/", _answer_of(index, "widget"))
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}
        # The page's relative URL ../../packages/… now leads to a path that does not exist.
        assert (await proxy.get(proxy.files_path(listed))).status == 404
        (entry,) = (await proxy.fetch_page("widget"))["files"]
        assert entry["url"] == f"../../files/{index.files_host}/mirror/deep{listed.path}"
        assert await proxy.fetch_listed("moved") == {"moved-1.0-py3-none-any.whl"}


def _answer_of(index: Index, project: str) -> Any:
    headers = {"accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.1"}
    request = Request(method="GET", path=index.page_path(project), query="", headers=headers, port=0)
    return index._respond(request)


HTML_PAGE = """<!DOCTYPE html><html><body><h1>Links for widget</h1>
<a href="mailto:admin@index.example">contact</a> <a href="../index.html">up</a>
{links}
</body></html>"""


@pytest.mark.parametrize(
    ("first", "fragment"),
    [
        ("http://other.example/{filename}#sha256={sha256}", "#sha256={sha256}"),
        ("http://user:pw@{host}{path}#sha256={sha256}", "#sha256%3D{sha256}"),
        ("ftp://{host}{path}#sha256={sha256}", "#sha256-{sha256}"),
        ("{path}", "#sha256={sha256}"),
        ("{path}#md5=9f1e", "#SHA256:{sha256}"),
    ],
)
async def test_of_two_links_to_a_file_the_one_that_passes_is_listed_and_served(
    tmp_path: Path, first: str, fragment: str
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(WIDGET)
        values = {"filename": WIDGET.filename, "sha256": WIDGET.sha256, "host": index.files_host, "path": listed.path}
        hrefs = [link.format_map(values) for link in (first, f"{{path}}{fragment}")]
        links = "".join(f'<a href="{href}">x</a>' for href in hrefs)
        body = HTML_PAGE.format(links=links).encode()
        index.serve_fixed(index.page_path("widget"), CannedResponse(body=body, headers={"Content-Type": "text/html"}))
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}
        assert set(await proxy.fetch_withheld("widget")) == {WIDGET.filename}
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, answer.body) == (200, WIDGET.content)


# Files that an index moves

DENIES_ONE = """
version = 1
[[rules]]
name = "not this one"
projects = ["denied"]
deny = "no"
[[rules]]
name = "all"
projects = ["*"]
"""


def move(index: Index, listed: ListedFile, *, host: bool) -> None:
    """Move a file to another path, or to the other host of the index."""
    if host:
        listed.files_origin = index.origin
    else:
        listed.directory = f"moved/{listed.directory}"
    index.bump_serial(listed.built.project)


@pytest.mark.parametrize("host", [True, False], ids=["host", "path"])
async def test_a_moved_file_is_served_at_its_old_address(tmp_path: Path, *, host: bool) -> None:
    clock = ManualClock()
    async with Index(separate_files=True) as index:
        listed, other = index.add(WIDGET), index.add(wheel("widget", "1.1"))
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            await proxy.fetch_page("widget")
            old = proxy.files_path(listed)
            unlisted = old.replace(WIDGET.filename, "widget-9.0-py3-none-any.whl")
            for _ in range(2):
                move(index, listed, host=host)
                clock.now += timedelta(days=1)
                await proxy.fetch_page("widget")
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            new = proxy.files_path(listed)
            assert new != old
            for path in (old, new):
                answer = await proxy.get(path)
                assert (answer.status, answer.body) == (200, WIDGET.content)
                answer = await proxy.get(f"{path}.metadata")
                assert (answer.status, answer.body) == (200, WIDGET.metadata)
            assert index.count(listed.path) == 1, "one blob serves both"
            assert (await proxy.get(unlisted)).status == 404
            assert (await proxy.get(proxy.files_path(other))).status == 200
            (entry, _) = (await proxy.fetch_page("widget"))["files"]
            assert entry["url"] == f"../..{new}", "the page lists the new address only"


async def test_an_old_address_on_a_host_that_the_index_may_no_longer_use_still_leads_to_the_file(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with Index(separate_files=True) as index:
        listed = index.add(WIDGET)
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            await proxy.fetch_page("widget")
            old = proxy.files_path(listed)
        move(index, listed, host=True)
        clock.now += timedelta(days=1)
        configuration = make_configuration(
            index, tmp_path / "assay", indexes=[{"name": "test", "url": index.url, "file-hosts": []}]
        )
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=configuration) as proxy:
            await proxy.fetch_page("widget")
            assert (await proxy.get(old)).body == WIDGET.content
            assert {request.port for request in index.requests if request.path == listed.path} == {index._main.port}


async def test_an_old_address_leads_to_no_other_bytes_and_to_no_withheld_or_withdrawn_file(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Index() as index, run_test_proxy(index, tmp_path, policy=DENIES_ONE, clock=clock) as proxy:
        replaced, withdrawn, moved = index.add(WIDGET), index.add(wheel("gone", "1.0")), index.add(wheel("fine", "1.0"))
        denied = index.add(wheel("denied", "1.0"))
        old = {each.built.project: proxy.files_path(each) for each in (replaced, withdrawn, moved, denied)}
        for project in old:
            await proxy.fetch_page(project)
        index.replace(replaced, wheel("widget", "1.0", padding=10))
        for listed in (replaced, moved, denied):
            move(index, listed, host=False)
        index.remove(withdrawn)
        clock.now += timedelta(days=1)
        statuses = {project: (await proxy.get(path)).status for project, path in old.items()}
        assert statuses == {"widget": 404, "gone": 404, "fine": 200, "denied": 403}
        withdrawn.directory = "back/again"
        index._shelf("gone").listed.append(withdrawn)
        index.bump_serial("gone")
        clock.now += timedelta(days=1)
        assert (await proxy.get(old["gone"])).status == 200, "a page lists the same file again, elsewhere"


# HTTP proxy of an index


async def test_an_index_may_have_an_http_proxy_of_its_own(tmp_path: Path) -> None:
    async with Index() as index, Index() as way:
        index.add(WIDGET)
        way.serve_fixed(f"http://127.0.0.1:9/simple/{WIDGET.project}/", _answer_of(index, "widget"))
        there = {"url": "http://127.0.0.1:9/simple/", "projects": ["widget"], "file-hosts": [index.files_host]}
        indexes = [{"name": "far", "proxy": way.origin, **there}, {"name": "near", "url": index.url}]
        configuration = make_configuration(index, tmp_path / "assay", indexes=indexes)
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            assert await proxy.fetch_listed("widget") == {WIDGET.filename}
            assert (await proxy.get("/simple/other/")).status == 404
            assert [request.path for request in way.requests] == ["http://127.0.0.1:9/simple/widget/"]


# Upload times


async def test_a_file_without_upload_time_cannot_meet_a_cool_down(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=COOL_DOWN) as proxy:
        index.add(WIDGET, upload_time=None)
        index.add(wheel("widget", "0.9"))
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["too-young"]}
        assert await proxy.fetch_listed("widget") == {"widget-0.9-py3-none-any.whl"}


async def test_one_that_appears_later_ages_from_when_it_was_first_seen(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Index(content="html") as index, run_test_proxy(index, tmp_path, policy=COOL_DOWN, clock=clock) as proxy:
        index.add_project("widget")
        await proxy.fetch_page("widget")
        index.add(WIDGET)
        clock.now = NOW.replace(day=2)
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["too-young"]}
        clock.now = NOW.replace(day=6)
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}


async def test_a_clock_that_was_ahead_for_a_moment_makes_no_file_too_young_for_years(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with Index(content="html") as index, run_test_proxy(index, tmp_path, policy=COOL_DOWN, clock=clock) as proxy:
        index.add_project("widget")
        await proxy.fetch_page("widget")
        index.add(WIDGET)
        clock.now = NOW.replace(year=NOW.year + 10)
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["too-young"]}
        clock.now = NOW.replace(day=2)
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["too-young"]}
        assert [each.message for each in caplog.records].count("clock-went-back") == 1
        clock.now = NOW.replace(day=4)  # its age counts from the second, when it was corrected
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["too-young"]}
        clock.now = NOW.replace(day=6)
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}
        assert [each.message for each in caplog.records].count("clock-went-back") == 1


async def test_without_metadata_beside_the_file_none_is_offered(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed, other = index.add(WIDGET, metadata=False), index.add(wheel("widget", "1.1"))
        entries = {entry["filename"]: entry for entry in (await proxy.fetch_page("widget"))["files"]}
        assert entries[WIDGET.filename]["core-metadata"] is False
        assert (await proxy.get(f"{proxy.files_path(listed)}.metadata")).status == 404
        assert (await proxy.get(f"{proxy.files_path(other)}.metadata")).status == 200


# Signed URLs


async def test_a_signed_address_is_fetched_with_its_query_of_the_moment_which_no_client_sees(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Index(separate_files=True) as index, run_test_proxy(index, tmp_path, clock=clock) as proxy:
        listed = index.add(WIDGET)
        listed.entry["url"] = f"{listed.url}?X-Sig=first%2Fone&e=1"
        page = await proxy.get("/simple/widget/")
        assert b"X-Sig" not in page.body
        listed.entry["url"] = f"{listed.url}?X-Sig=second%2Fone&e=2"
        clock.now = NOW.replace(day=2)
        assert (await proxy.fetch_page("widget"))["files"][0]["url"] == f"../..{proxy.files_path(listed)}"
        assert (await proxy.get(proxy.files_path(listed))).body == WIDGET.content
        queries = [request.query for request in index.requests if request.path == listed.path]
        assert queries == ["X-Sig=second%2Fone&e=2"]


async def test_a_query_of_the_clients_own_reaches_nobody(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(WIDGET)
        assert (await proxy.get(f"{proxy.files_path(listed)}?X-Sig=mine")).status == 200
        assert [request.query for request in index.requests if request.path == listed.path] == [""]


# Provenance from another Integrity API


async def judged(
    tmp_path: Path, built: BuiltDistribution, provenance: bytes | None, policy: str
) -> tuple[set[str], Any, ListedFile]:
    """Return listed names, withheld reasons and the file of an index whose provenance is on another server."""
    async with Index() as index, Index() as other:
        sigstore = PrivateSigstore(seed=1)
        listed = index.add(built, upload_time="2026-06-01T12:00:05Z")
        other.add(built, provenance=provenance)
        entry = {"name": "mirror", "url": index.url, "provenance-from": other.origin}
        configuration = make_configuration(index, tmp_path / "assay", sigstore, indexes=[entry])
        async with run_test_proxy(index, tmp_path, policy=policy, configuration=configuration) as proxy:
            found = await proxy.fetch_listed("widget"), await proxy.fetch_withheld("widget"), listed
            assert other.count(listed.provenance_path) >= 1
            assert index.count(listed.provenance_path) == 0
            if listed.built.filename in found[0]:
                served = await proxy.get(listed.provenance_path)
                if provenance is None:
                    assert served.status == 404
                else:
                    assert (served.status, served.body) == (200, provenance)
            return found


def signed(built: BuiltDistribution, signer: Any = None, seed: int = 1) -> bytes:
    return PrivateSigstore(seed=seed).provenance(
        built.filename, built.sha256, signer or GitHub(repository="acme/widget")
    )


async def test_provenance_from_another_integrity_api_approves(tmp_path: Path) -> None:
    listed, withheld, _ = await judged(tmp_path, WIDGET, signed(WIDGET), SIGNED)
    assert (listed, withheld) == ({WIDGET.filename}, {})


async def test_where_that_one_has_none_the_file_is_unattested_and_not_forged(tmp_path: Path) -> None:
    listed, withheld, _ = await judged(tmp_path, WIDGET, None, SIGNED)
    assert (listed, withheld) == (set(), {WIDGET.filename: ["unattested"]})


async def test_and_it_is_approved_where_the_rule_asks_for_none(tmp_path: Path) -> None:
    listed, withheld, _ = await judged(tmp_path, WIDGET, None, COOL_DOWN)
    assert (listed, withheld) == ({WIDGET.filename}, {})


async def test_what_another_root_certified_is_worth_nothing(tmp_path: Path) -> None:
    listed, withheld, _ = await judged(tmp_path, WIDGET, signed(WIDGET, seed=2), SIGNED)
    assert listed == set()
    assert set(withheld[WIDGET.filename]) & {"unverifiable", "forged"}


async def test_another_publishers_certificate_approves_nothing(tmp_path: Path) -> None:
    listed, withheld, _ = await judged(tmp_path, WIDGET, signed(WIDGET, GitLab(repository="acme/widget")), SIGNED)
    assert (listed, withheld) == (set(), {WIDGET.filename: ["publisher"]})


async def test_the_provenance_of_another_file_is_forged(tmp_path: Path) -> None:
    other = wheel("widget", "1.0", padding=10)
    listed, withheld, _ = await judged(tmp_path, WIDGET, signed(other), SIGNED)
    assert (listed, withheld[WIDGET.filename][0]) == (set(), "forged")


@pytest.mark.parametrize("status", [403, 500])
async def test_an_integrity_api_that_cannot_be_asked_decides_nothing(tmp_path: Path, status: int) -> None:
    async with Index() as index, Index() as other:
        listed = index.add(WIDGET, upload_time="2026-06-01T12:00:05Z", entry={"provenance": ABSENT})
        other.add(WIDGET, provenance=signed(WIDGET))
        other.inject_fault(listed.provenance_path, Reply(status))
        entry = {"name": "mirror", "url": index.url, "provenance-from": other.origin}
        configuration = make_configuration(index, tmp_path / "assay", PrivateSigstore(seed=1), indexes=[entry])
        async with run_test_proxy(index, tmp_path, policy=SIGNED, configuration=configuration) as proxy:
            assert await proxy.fetch_listed("widget") == {WIDGET.filename}
            answer = await proxy.get(proxy.files_path(listed))
            assert (answer.status, answer.headers.get("Retry-After")) == (424, None)
            assert answer.reason.startswith(
                "evidence-unavailable: the file's provenance cannot be fetched (next try 2026-"
            )
            other.clear_faults()
            await retry_documents(proxy, "widget")
            assert await proxy.fetch_listed("widget") == {WIDGET.filename}
            assert (await proxy.get(proxy.files_path(listed))).status == 200
