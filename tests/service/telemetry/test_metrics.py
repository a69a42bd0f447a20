"""``/metrics``: the samples that Prometheus reads, under load too, and the bound on their number."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from assay.policy_reload import PolicyWatch
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Corrupt, Reply
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy

VIEW = (("view", "default"),)
POLICY = """
version = 1
[[rules]]
name = "not this one"
projects = ["denied"]
deny = "we use another library"
[[rules]]
name = "everything else"
projects = ["*"]
[[waivers]]
name = "old numpy"
projects = ["numpy"]
uploaded-before = 2026-01-01
lifts = ["min-age"]
expires = 2026-12-15
reason = "a fix is needed"
"""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(body: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


async def scraped(proxy: RunningProxy) -> Samples:
    answer = await proxy.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return parsed(answer.body)


def grown(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """Return the growth of a sample since `before`, because other tests of this process use the same registry."""
    key = (f"assay_{name}", tuple(sorted(labels.items())))
    assert key in after, sorted(found for found in after if found[0] == key[0])
    return after[key] - before.get(key, 0.0)


async def test_what_happens_is_counted_by_route_rule_reason_and_host(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        before = await scraped(proxy)
        good, denied, bad = (index.add(wheel(name, "1.0")) for name in ("foo", "denied", "bad"))
        index.inject_fault(bad.path, Corrupt(at=10))
        for listed, status in ((good, 200), (denied, 403), (bad, 424)):
            assert (await proxy.get(proxy.files_path(listed))).status == status
        await proxy.fetch_page("foo")
        after = await scraped(proxy)
        assert grown(before, after, "requests_total", route="file", outcome="2xx") == 1
        assert grown(before, after, "requests_total", route="file", outcome="403") == 1
        assert grown(before, after, "requests_total", route="file", outcome="424") == 1
        assert grown(before, after, "requests_total", route="page", outcome="2xx") == 1
        assert grown(before, after, "sent_bytes_total", route="file") >= good.built.size
        assert (
            grown(before, after, "refusals_total", view="default", route="file", rule="not this one", reason="denied")
            == 1
        )
        assert (
            grown(
                before,
                after,
                "verdicts_total",
                view="default",
                verdict="withheld",
                rule="not this one",
                reason="denied",
            )
            == 1
        )
        assert (
            grown(
                before, after, "verdicts_total", view="default", verdict="approved", rule="everything else", reason=""
            )
            == 2
        )
        assert grown(before, after, "security_events_total", event="digest-mismatch") == 1
        assert grown(before, after, "upstream_responses_total", host=index.files_host, outcome="2xx") == 5
        assert grown(before, after, "upstream_response_duration_seconds_count", host=index.files_host) == 5
        assert grown(before, after, "page_lookups_total", result="changed") == 3
        assert grown(before, after, "file_requests_total", cache="miss") == 2


async def test_what_is_looked_at_is_of_now(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        index.add(wheel("foo", "1.0"))
        index.add(wheel("denied", "1.0"))
        for name in ("foo", "denied"):
            await proxy.fetch_page(name)
        now = await scraped(proxy)
        assert now["assay_files_listed", (("verdict", "approved"), ("view", "default"))] == 1
        assert now["assay_files_listed", (("verdict", "withheld"), ("view", "default"))] == 1
        assert (
            now["assay_waiver_expires_timestamp_seconds", (("view", "default"), ("waiver", "old numpy"))] == 1797379200
        )
        assert (
            now[
                "assay_policy",
                (("digest", proxy.assembly.gate.policy.digest[:12]), ("mode", "enforce"), ("view", "default")),
            ]
            == 1
        )
        assert now["assay_stored_limit_bytes", (("kind", "blobs"),)] == 50 * 2**30
        assert ("assay_trust_root_age_seconds", (("root", "sigstore"),)) in now
        assert now["process_resident_memory_bytes", ()] > 2**20
        proxy.assembly.gate.policy = proxy.assembly.gate.policy.model_copy(update={"waivers": ()})
        assert not [key for key in await scraped(proxy) if key[0] == "assay_waiver_expires_timestamp_seconds"]


async def test_the_durations_of_pages_tell_hits_from_misses_and_no_other_route_does(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        before = await scraped(proxy)
        await proxy.fetch_page("foo")
        assert (await proxy.get(proxy.files_path(listed))).status == 200
        after = await scraped(proxy)
        timed = "request_duration_seconds_count"
        assert grown(before, after, timed, route="page", cache="hit") == 1
        assert grown(before, after, timed, route="page", cache="miss") == 0
        assert grown(before, after, timed, route="file", cache="") == 1
        index.add(wheel("bar", "1.0"))
        await proxy.fetch_page("bar")
        assert grown(after, await scraped(proxy), timed, route="page", cache="miss") == 1
        assert {dict(key[1])["cache"] for key in after if key[0] == f"assay_{timed}"} == {"", "hit", "miss"}


async def test_the_build_is_named_by_version_and_revision(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        [labels] = [dict(key[1]) for key in await scraped(proxy) if key[0] == "assay_build_info"]
        assert labels == {"version": version("assay-proxy"), "revision": "unknown"}, "a checkout has no revision"


async def test_a_policy_that_is_refused_or_obeyed_shows(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        watch = PolicyWatch(file, proxy.assembly.gate, settle_seconds=0)
        for content, refused in ((POLICY, 0), ("version = 2", 1), (f'mode = "audit"\n{POLICY}', 0)):
            file.write_text(content)
            await watch.reload_if_changed()
            assert (await scraped(proxy))["assay_policy_invalid", VIEW] == refused
        now = await scraped(proxy)
        assert (
            now[
                "assay_policy",
                (("digest", proxy.assembly.gate.policy.digest[:12]), ("mode", "audit"), ("view", "default")),
            ]
            == 1
        )
        assert len([key for key in now if key[0] == "assay_policy"]) == 1, "the one before is gone"
        assert abs(now["assay_policy_loaded_timestamp_seconds", VIEW] - time.time()) < 3600


async def test_an_index_that_fails_is_counted(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        before = await scraped(proxy)
        index.inject_fault("*", Reply(500))
        assert (await proxy.get("/simple/foo/")).status == 503
        await index.down()
        assert (await proxy.get("/simple/bar/")).status == 503
        after = await scraped(proxy)
        assert grown(before, after, "upstream_responses_total", host=index.files_host, outcome="5xx") == 3
        assert grown(before, after, "upstream_responses_total", host=index.files_host, outcome="error") == 3
        assert grown(before, after, "events_total", event="upstream-retry", level="info") == 4


async def test_a_scrape_under_load_is_whole(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        loaded = asyncio.Event()

        async def client() -> None:
            while not loaded.is_set():
                assert (await proxy.get(proxy.files_path(listed))).status == 200

        before = await scraped(proxy)
        clients = [asyncio.create_task(client()) for _ in range(8)]
        scrapes = [await scraped(proxy) for _ in range(8)]
        loaded.set()
        await asyncio.gather(*clients)
        served = [
            grown(before, scrape, "requests_total", route="file", outcome="2xx")
            for scrape in scrapes
            if ("assay_requests_total", (("outcome", "2xx"), ("route", "file"))) in scrape
        ]
        assert served == sorted(served), "a counter never goes back"
        assert served[-1] > 0


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_thousands_of_names_paths_and_methods_add_nothing(tmp_path: Path, count: int) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:

        async def ask(number: int) -> None:
            paths = (
                f"/simple/name-{number}/",
                f"/project/name-{number}",
                f"/files/{index.files_host}/packages/name_{number}-1.0.tar.gz",
                f"/files/host-{number}.example/name-{number}-1.0.tar.gz",
                f"/nowhere/{number}",
            )
            path = paths[number % len(paths)]
            await proxy.request("GET" if number % 7 else f"M{number}", path)

        # All tests of this process share the registry, so earlier tests may have added samples.
        earlier = set(await scraped(proxy))
        for number in range(35):
            await ask(number)
        before = set(await scraped(proxy))
        gate = asyncio.Semaphore(50)

        async def bounded(number: int) -> None:
            async with gate:
                await ask(number)

        await asyncio.gather(*(bounded(number) for number in range(35, 35 + count)))
        assert set(await scraped(proxy)) == before
        assert len(before - earlier) < 200


async def test_an_answer_names_its_request_and_so_does_every_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        good, denied = index.add(wheel("foo", "1.0")), index.add(wheel("denied", "1.0"))
        answers = [
            await proxy.get(path)
            for path in (
                proxy.files_path(good),
                proxy.files_path(denied),
                "/simple/foo/",
                "/simple/",
                "/",
                "/no",
                "/metrics",
            )
        ]
        ids = [answer.headers["X-Request-Id"] for answer in answers]
        assert len(set(ids)) == len(ids)
        logged = {
            (record.getMessage(), record.__dict__["fields"].get("request"))
            for record in caplog.records
            if "fields" in record.__dict__
        }
        assert {("request", found) for found in ids} <= logged
        assert ("file-refused", ids[1]) in logged
        assert ("page-fetched", ids[0]) in logged, "what a request sets going is its own"


async def test_an_engine_that_is_away_is_in_readyz_and_in_a_metric_and_the_proxy_stays_ready(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        store: Any = proxy.assembly.store
        for degraded, value in (((), "0"), (("ledger",), "1"), ((), "0")):
            store.degraded = degraded
            answer = await proxy.get("/readyz")
            assert (answer.status, answer.json()["degraded"]) == (200, list(degraded))
            text = (await proxy.get("/metrics")).body.decode()
            assert f'assay_degraded{{what="ledger"}} {value}.0' in text
            assert 'assay_degraded{what="objects"} 0.0' in text
