"""Tests of several views of one proxy: each serves the files that it lists, and all share the fetched data."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from assay.caching.flights import ProcessFlights
from assay.policy.language.document import load_policy
from assay.simple.model import NormalizedName
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply
from tests.world.proxy.running_proxy import NOW, SIMPLE_JSON, RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import (
    CLOSED_POLICY,
    GENUINE,
    OPEN_POLICY,
    RATCHET_POLICY,
    SIGNED_POLICY,
    STRANGER,
    VIEW_TABLES,
    is_served,
    run_views_world,
)

# Each view decides by its own policy


async def test_a_file_approved_in_one_view_and_withheld_in_another_cold_and_warm(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY) as there:
        plain = there.index.add(wheel("widget", "1.0"))
        signed = there.publish(wheel("widget", "1.1"), NOW - timedelta(days=30))
        for _ in range(2):
            for view, expected in (
                (there.strict, (False, True)),
                (there.dev, (True, True)),
                (there.proxy, (True, True)),
            ):
                assert (await is_served(view, plain), await is_served(view, signed)) == expected
        assert there.index.count(plain.path, "GET") == there.index.count(signed.path, "GET") == 1
        assert await there.strict.fetch_withheld("widget") == {plain.built.filename: ["unattested"]}
        refused = await there.strict.get(there.strict.files_path(plain), {"If-None-Match": f'"{plain.built.sha256}"'})
        assert refused.status == 403
        assert "rule: signed" in refused.reason


async def test_a_view_may_list_withheld_versions_otherwise_than_its_policy_says(tmp_path: Path) -> None:
    """One policy for all three views, whose `withheld` is ``explain``; also for a name that its index does not have."""
    policy = CLOSED_POLICY.replace("version = 1", 'version = 1\nwithheld = "explain"')
    tables = [table | {"withheld": withheld} for table, withheld in zip(VIEW_TABLES, ("stop", "hide"), strict=True)]
    async with Index() as index:
        configuration = make_configuration(
            index,
            tmp_path / "assay",
            views=tables,
            indexes=[{"name": "owner", "url": index.url, "projects": ["widget", "nothing"]}],
        )
        policies = {"default": policy, "strict": policy, "dev": policy}
        async with run_test_proxy(index, tmp_path, policies=policies, configuration=configuration) as proxy:
            refused = index.add(wheel("widget", "1.0"))
            for project in ("widget", "nothing"):
                yanked = {
                    path: [bool(entry["yanked"]) for entry in (await proxy.at_path(path).fetch_page(project))["files"]]
                    for path in ("/", "/strict/", "/teams/dev/")
                }
                assert yanked == {"/": [True], "/strict/": [False], "/teams/dev/": []}
            for path in ("/", "/strict/", "/teams/dev/"):
                assert (await proxy.at_path(path).get(proxy.files_path(refused))).status == 403
            assert proxy.assembly.views[1].gate.policy.digest == proxy.assembly.gate.policy.digest


async def test_every_address_on_a_page_leads_into_the_same_view(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY) as there:
        listed = there.publish(wheel("widget", "1.0"), NOW - timedelta(days=30))
        for view in (there.strict, there.dev, there.proxy):
            [entry] = (await view.fetch_page("widget"))["files"]
            assert entry["url"] == f"../..{view.files_path(listed)}"
            assert entry["provenance"] == f"{view.origin}{listed.provenance_path}"
            html = (await view.get("/simple/widget/", {"Accept": "text/html"})).body.decode()
            assert f'data-provenance="{view.origin}{listed.provenance_path}"' in html
            assert (await view.get(listed.provenance_path)).body == listed.provenance


async def test_a_public_address_stands_before_the_views_path(tmp_path: Path) -> None:
    server = {"port": 0, "public-url": "https://pypi.acme.example/python/"}
    async with run_views_world(tmp_path, strict=OPEN_POLICY, server=server) as there:
        listed = there.publish(wheel("widget", "1.0"), NOW - timedelta(days=30))
        [entry] = (await there.strict.fetch_page("widget"))["files"]
        assert entry["provenance"] == f"https://pypi.acme.example/python/strict{listed.provenance_path}"
        assert b"https://pypi.acme.example/python/strict/simple/" in (await there.strict.get("/")).body


async def test_names_and_slashes_are_put_right_within_the_view(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=OPEN_POLICY) as there:
        there.index.add(wheel("foo-bar", "1.0"))
        for path, to in (
            ("/strict", "strict/"),
            ("/teams/dev", "dev/"),
            ("/strict/simple", "simple/"),
            ("/strict/simple/Foo_Bar/", "../foo-bar/"),
            ("/teams/dev/simple/foo.bar", "foo-bar/"),
        ):
            answer = await there.proxy.get(path)
            assert (answer.status, answer.headers["Location"]) == (301, to), path
        for path in ("/strict/", "/strict/policy", "/strict/project/foo-bar", "/strict/simple/", "/teams/dev/"):
            assert (await there.proxy.get(path)).status == 200, path
        for path in ("/teams/", "/teams", "/strict/healthz", "/strict/readyz", "/strict/metrics", "/strict/strict/"):
            assert (await there.proxy.get(path)).status == 404, path
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await there.proxy.get(path)).status == 200, path


HOSTILE = [
    "/%73trict/",
    "//strict/",
    "/strict/../teams/dev/",
    "/strict%2f",
    "/STRICT/",
    "/strict//",
    "/strict/./",
    "/strict;/",
]


@pytest.mark.parametrize("prefix", HOSTILE)
async def test_a_prefix_written_otherwise_reaches_nothing(tmp_path: Path, prefix: str) -> None:
    async with run_views_world(tmp_path, strict=CLOSED_POLICY, dev=OPEN_POLICY, policy=CLOSED_POLICY) as there:
        listed = there.publish(wheel("widget", "1.0"), NOW - timedelta(days=30))
        file = there.proxy.files_path(listed)
        for rest in ("simple/widget/", "simple/", file.lstrip("/"), f"{file}.metadata"[1:], listed.provenance_path[1:]):
            answer = await there.proxy.get(prefix + rest)
            assert answer.status == 404, (prefix, rest)
            assert b"widget" not in answer.body
        assert there.index.requests == []
        assert await is_served(there.dev, listed), "the lax view serves it"


async def test_a_digest_first_seen_for_one_view_while_another_waits_is_the_first_for_both(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=OPEN_POLICY) as there:
        exchanged = there.index.add(wheel("widget", "1.0"))
        slow = there.publish(wheel("widget", "1.1"), NOW - timedelta(days=30))
        stall = there.index.stall(slow.provenance_path)
        first = asyncio.create_task(there.strict.fetch_listed("widget"))
        await stall.reached.wait()
        there.proxy.clock.now += timedelta(minutes=11)
        there.index.replace(exchanged, wheel("widget", "1.0", padding=10))
        page = there.index.page_path("widget")
        second = asyncio.create_task(there.dev.fetch_listed("widget"))
        async with asyncio.timeout(10):
            while there.index.count(page) < 2:  # noqa: ASYNC110 - no event to await
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # until it waits for the first
        stall.release.set()
        assert await first == {exchanged.built.filename, slow.built.filename}
        assert await second == {slow.built.filename}
        assert await there.dev.fetch_withheld("widget") == {exchanged.built.filename: ["digest-changed"]}


async def test_pages_for_people_are_each_views_own(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=CLOSED_POLICY) as there:
        listed = there.index.add(wheel("widget", "1.0"))
        assert (await there.strict.get(there.strict.files_path(listed))).status == 403
        homes = {path: (await there.proxy.get(path)).body for path in ("/", "/strict/", "/teams/dev/")}
        assert [path for path, home in homes.items() if b"widget-1.0" in home] == ["/strict/"], "its last refusal"
        assert b"the view <code>strict</code>" in homes["/strict/"]
        assert f"{there.strict.origin}/simple/".encode() in homes["/strict/"]
        assert b'<a href="strict/">strict</a>' in homes["/"]
        assert b'<a href="teams/dev/">dev</a>' in homes["/"]
        assert b">dev</a>" not in homes["/strict/"]
        assert b"nothing today" in (await there.strict.get("/policy")).body
        assert b"nothing today" not in (await there.dev.get("/policy")).body
        assert b"closed" in (await there.strict.get("/project/widget")).body
        refusal = (await there.strict.get(there.strict.files_path(listed), {"Accept": "text/html"})).body.decode()
        up = "../" * there.strict.files_path(listed).count("/")
        assert f'href="{up[3:]}project/widget"' in refusal


async def test_the_list_of_projects_is_each_views_own(tmp_path: Path) -> None:
    some = CLOSED_POLICY.replace('["*"]', '["denied"]') + '[[rules]]\nname = "rest"\nprojects = ["*"]\n'
    async with run_views_world(tmp_path, strict=some) as there:
        for name in ("widget", "denied"):
            there.index.add(wheel(name, "1.0"))

        async def names(view: RunningProxy) -> set[str]:
            return {each["name"] for each in (await view.get("/simple/", {"Accept": SIMPLE_JSON})).json()["projects"]}

        assert await names(there.strict) == {"widget"}
        assert await names(there.dev) == await names(there.proxy) == {"widget", "denied"}
        # From now on, one refresh makes the lists of all views.
        there.index.reset_log()
        there.proxy.clock.now += timedelta(minutes=11)
        there.index.add(wheel("new", "1.0"))
        for view in (there.strict, there.dev, there.proxy):
            while "new" not in await names(view):  # noqa: ASYNC110 - the old list is served until then
                await asyncio.sleep(0.01)
        assert there.index.count("/simple/") == 1
        there.proxy.get_gate("dev").policy = load_policy(some, "dev.toml")
        assert "denied" not in await names(there.dev)
        assert "denied" in await names(there.proxy)


# One request for all


async def test_two_views_asked_at_once_for_a_cold_project_cause_one_request_and_one_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY, dev=RATCHET_POLICY) as there:
        signed = [there.publish(wheel("widget", f"1.{number}"), NOW - timedelta(days=30)) for number in range(3)]
        broken, missing = wheel("widget", "2.0"), wheel("widget", "3.0")
        forged = there.sigstore.provenance(broken.filename, "0" * 64, GENUINE, NOW - timedelta(days=20))
        doubtful = [there.index.add(broken, provenance=forged)]
        promised = {"provenance": f"{there.index.origin}/integrity/widget/3.0/{missing.filename}/provenance"}
        doubtful.append(there.index.add(missing, entry=promised))
        verified: list[str] = []
        verifier = there.proxy.assembly.verifier
        real = verifier.verify

        async def counting(jobs: Any) -> Any:
            verified.extend(job.filename for job in jobs)
            return await real(jobs)

        monkeypatch.setattr(verifier, "verify", counting)
        stall = there.index.stall(there.index.page_path("widget"))
        asking = [asyncio.create_task(view.fetch_listed("widget")) for view in (there.strict, there.dev, there.proxy)]
        await stall.reached.wait()
        stall.release.set()
        good = {listed.built.filename for listed in signed}
        assert await asyncio.gather(*asking) == [good] * 3
        assert there.index.count(there.index.page_path("widget")) == 1
        assert [there.index.count(listed.provenance_path) for listed in (*signed, *doubtful)] == [1] * 5
        assert sorted(verified) == sorted([*good, broken.filename])

        # The next renewal fetches forged and missing provenance again, once for all views; valid evidence stays.
        there.index.reset_log()
        there.proxy.clock.now += timedelta(minutes=11)
        assert await asyncio.gather(*(view.fetch_listed("widget") for view in (there.strict, there.dev))) == [good] * 2
        for each in there.proxy.assembly.views:
            await each.gate.resources.provenance.revalidator.wait_until_idle()
        assert there.index.count(there.index.page_path("widget")) == 1
        assert there.index.count(doubtful[1].provenance_path) == 1


async def test_a_view_that_needs_no_evidence_does_not_wait_for_one_that_does(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=CLOSED_POLICY, dev=SIGNED_POLICY) as there:
        listed = there.publish(wheel("widget", "1.0"), NOW - timedelta(days=30))
        stall = there.index.stall(listed.provenance_path)
        slow = asyncio.create_task(there.dev.fetch_listed("widget"))
        await stall.reached.wait()
        assert await there.strict.fetch_listed("widget") == set()
        assert not slow.done()
        stall.release.set()
        assert await slow == {listed.built.filename}


async def test_a_view_takes_over_where_the_one_before_it_failed(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY) as there:
        listed = there.publish(wheel("widget", "1.0"), NOW - timedelta(days=30))
        there.index.inject_fault(listed.provenance_path, Reply(404), times=1)
        there.index.inject_fault(there.index.page_path("widget"), Reply(404), times=1)
        assert (await there.strict.get("/simple/widget/")).status == 404
        assert (await there.dev.get("/simple/widget/")).status == 404, "an absence is cached for all views"
        assert there.index.count(there.index.page_path("widget")) == 1
        there.proxy.clock.now += timedelta(minutes=2)
        assert await there.strict.fetch_withheld("widget") == {listed.built.filename: ["provenance-missing"]}
        assert await there.dev.fetch_withheld("widget") == {listed.built.filename: ["provenance-missing"]}
        there.proxy.clock.now += timedelta(minutes=11)
        assert (
            await there.dev.fetch_listed("widget")
            == await there.strict.fetch_listed("widget")
            == {listed.built.filename}
        )


async def test_one_download_for_clients_of_two_views_each_asked_by_its_own_policy_at_the_end(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=RATCHET_POLICY) as there:
        listed = there.index.add(wheel("widget", "1.0", padding=300_000))
        stall = there.index.stall(listed.path, after=200_000)
        views = (there.strict, there.dev, there.proxy)
        clients = [asyncio.create_task(view.get(view.files_path(listed))) for view in views]
        await stall.reached.wait()
        while (await there.proxy.assembly.store.blobs.stats()).unfinished == 0:  # noqa: ASYNC110 - no event to await
            await asyncio.sleep(0.01)
        there.proxy.get_gate("strict").policy = load_policy(CLOSED_POLICY, "strict.toml")
        stall.release.set()
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await clients[0]
        assert [(await client).body for client in clients[1:]] == [listed.built.content] * 2
        assert there.index.count(listed.path, "GET") == 1
        assert not await is_served(there.strict, listed), "the file is cached, but withheld in this view"


async def test_a_replaced_document_reaches_every_view(tmp_path: Path) -> None:
    named = SIGNED_POLICY.replace(
        'publishers = "any"', 'publishers = [{ kind = "GitHub", repository = "acme/widget" }]'
    )
    async with run_views_world(tmp_path, strict=named.replace("signed", "strict"), dev=named) as there:
        listed = there.publish(wheel("widget", "1.0"), NOW - timedelta(days=30), STRANGER)
        views = (there.strict, there.dev)
        assert [await view.fetch_listed("widget") for view in views] == [set(), set()]
        built = listed.built
        listed.provenance = there.sigstore.provenance(built.filename, built.sha256, GENUINE, NOW - timedelta(days=30))
        there.proxy.clock.now += timedelta(minutes=11)
        for view in views:
            await view.fetch_listed("widget")
        await there.proxy.assembly.gate.resources.provenance.revalidator.wait_until_idle()
        assert [await view.fetch_listed("widget") for view in views] == [{built.filename}] * 2
        assert there.index.count(listed.provenance_path) == 2, "fetched once, and once more for all views"


# The ledger contains facts and no verdicts


async def test_a_digest_that_one_view_saw_first_is_known_to_another_that_waited_for_its_page(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=OPEN_POLICY, dev=OPEN_POLICY, freshness={"page": "0 seconds"}) as there:
        listed = there.index.add(wheel("widget", "1.0"))
        path = there.index.page_path("widget")
        first = there.index.stall(path)
        strict = asyncio.create_task(there.strict.fetch_listed("widget"))
        await first.reached.wait()
        second = there.index.stall(path)
        dev = asyncio.create_task(there.dev.fetch_withheld("widget"))
        flights = cast("ProcessFlights", there.proxy.get_gate("dev")._flights)
        async with asyncio.timeout(10):
            while sum(entry.users for entry in flights._locks.values()) < 2:  # noqa: ASYNC110 - no event to await
                await asyncio.sleep(0.01)
        there.index.replace(listed, wheel("widget", "1.0", padding=1))
        first.release.set()
        await second.reached.wait()
        assert await strict == {listed.built.filename}
        second.release.set()
        assert await dev == {listed.built.filename: ["digest-changed"]}


async def test_a_stranger_whom_one_view_approves_is_not_established_in_another(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=RATCHET_POLICY, dev=OPEN_POLICY) as there:
        for number in range(3):
            there.publish(wheel("widget", f"1.{number}"), NOW - timedelta(days=200 - number))
        strange = there.publish(wheel("widget", "2.0"), NOW - timedelta(days=60), STRANGER)
        genuine = there.publish(wheel("widget", "2.1"), NOW - timedelta(days=5))
        again = there.publish(wheel("widget", "2.2"), NOW - timedelta(days=4), STRANGER)
        for listed in (strange, genuine, again):
            assert await is_served(there.dev, listed), "the lax view judges it first"
        history = await there.proxy.assembly.store.ledger.get_history("test", NormalizedName("widget"))
        assert len({fact.identity for fact in history.signers}) == 1
        assert len({fact.identity for fact in history.publishers}) == 1
        for _ in range(2):
            assert not await is_served(there.strict, strange)
            assert not await is_served(there.strict, again)
            assert await is_served(there.strict, genuine)
            there.proxy.clock.now += timedelta(days=30)
        assert await there.strict.fetch_withheld("widget") == {
            strange.built.filename: ["publisher-changed"],
            again.built.filename: ["publisher-changed"],
        }
