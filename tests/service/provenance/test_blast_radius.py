"""Blast radius of trouble with one file: the other files, the project and the host stay available."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faults import Gzip, Hang, Redirect, Refuse, Reply, Reset
from tests.world.index.faulty_server import Fault
from tests.world.proxy.running_proxy import RunningProxy, retry_documents, run_test_proxy
from tests.world.sigstore.private_sigstore import PrivateSigstore

POLICY = """
version = 1
[defaults]
min-age = "0 days"
attestations = "if-present"
ratchet = "warn"
[[rules]]
name = "all"
projects = ["*"]
"""
UPLOADED = "2026-06-01T12:00:05Z"
MINUTES = 10


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Trouble with one document and its effect on the file."""

    make: Callable[[Index], Fault]
    code: str
    """``provenance-unusable`` (withheld, 403) or ``evidence-unavailable`` (listed, 424)."""
    tries: range
    """Requests for the document in ten minutes of requests for the page and the file, once a minute."""


def reply(status: int, body: bytes = b"", **headers: str) -> Callable[[Index], Fault]:
    return lambda _: Reply(status, body, headers={key.replace("_", "-"): value for key, value in headers.items()})


REFUSED, UNUSABLE, GONE = range(3, 6), range(3, 6), range(3, 31)
TROUBLES = {
    "400": Trouble(make=reply(400), code="provenance-unusable", tries=UNUSABLE),
    "401": Trouble(make=reply(401), code="evidence-unavailable", tries=REFUSED),
    "403": Trouble(make=reply(403), code="evidence-unavailable", tries=REFUSED),
    "451": Trouble(make=reply(451), code="provenance-unusable", tries=UNUSABLE),
    "204": Trouble(make=reply(204), code="provenance-unusable", tries=UNUSABLE),
    "login page": Trouble(make=reply(200, b"<html>login"), code="provenance-unusable", tries=UNUSABLE),
    "other JSON": Trouble(make=reply(200, b"{}"), code="provenance-unusable", tries=UNUSABLE),
    "coding": Trouble(make=reply(200, b"x", Content_Encoding="br"), code="provenance-unusable", tries=UNUSABLE),
    "too large": Trouble(make=reply(200, b"x" * 3_000_000), code="provenance-unusable", tries=UNUSABLE),
    "foreign redirect": Trouble(
        make=lambda _: Redirect("http://127.0.0.9:1/elsewhere"), code="provenance-unusable", tries=UNUSABLE
    ),
    "redirect loop": Trouble(
        make=lambda index: Redirect(f"{index.origin}/loop"), code="provenance-unusable", tries=range(3, 31)
    ),
    "500": Trouble(make=reply(500), code="evidence-unavailable", tries=GONE),
    "503 for an hour": Trouble(make=reply(503, Retry_After="3600"), code="evidence-unavailable", tries=range(1, 2)),
    "429 for an hour": Trouble(make=reply(429, Retry_After="3600"), code="evidence-unavailable", tries=range(1, 2)),
    "reset": Trouble(make=lambda _: Reset(0), code="evidence-unavailable", tries=GONE),
    "refused": Trouble(make=lambda _: Refuse(), code="evidence-unavailable", tries=GONE),
}


@dataclass(frozen=True)
class World:
    """A proxy in front of a project with a good and a troubled file, and another project of the same host."""

    index: Index
    proxy: RunningProxy
    good: ListedFile
    troubled: ListedFile
    other: ListedFile

    async def status(self, listed: ListedFile) -> int:
        return (await self.proxy.get(self.proxy.files_path(listed))).status


def signed(sigstore: PrivateSigstore, built: BuiltDistribution) -> dict[str, Any]:
    return {"provenance": sigstore.provenance(built.filename, built.sha256), "upload_time": UPLOADED}


@pytest.mark.parametrize("is_served", [False, True], ids=["new", "served"])
@pytest.mark.parametrize("name", TROUBLES)
async def test_trouble_with_a_document_concerns_its_file(tmp_path: Path, name: str, is_served: bool) -> None:
    trouble, sigstore = TROUBLES[name], PrivateSigstore(seed=1)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        builds = wheel("foo", "1.0"), wheel("foo", "2.0"), wheel("bar", "1.0")
        good = index.add(builds[0], **signed(sigstore, builds[0]))
        if is_served:
            assert await proxy.fetch_listed("foo") == {builds[0].filename}
            proxy.clock.now += timedelta(hours=1)
        troubled = index.add(builds[1], **signed(sigstore, builds[1]))
        other = index.add(builds[2], **signed(sigstore, builds[2]))
        world = World(index, proxy, good, troubled, other)
        index.inject_fault("/loop", Redirect(f"{index.origin}/loop"))
        index.inject_fault(troubled.provenance_path, trouble.make(index))
        is_unusable = trouble.code == "provenance-unusable"
        for _ in range(MINUTES):
            listed = await proxy.fetch_listed("foo")
            assert listed == {builds[0].filename} | (set() if is_unusable else {builds[1].filename})
            assert await proxy.fetch_withheld("foo") == ({builds[1].filename: [trouble.code]} if is_unusable else {})
            answer = await proxy.get(proxy.files_path(troubled))
            assert (answer.status, answer.headers.get("Retry-After")) == (403 if is_unusable else 424, None)
            assert trouble.code in answer.reason
            assert (await proxy.get(proxy.provenance_path(troubled))).status == answer.status
            # A hold that the host asks for concerns all of its documents, and no page and no file.
            is_held = "for an hour" in name
            people = (await proxy.get("/project/foo", {"Accept": "text/html"})).body.decode()
            assert ("1 file is undecided" in people) == (not is_unusable)
            assert builds[1].filename in people
            assert [await world.status(good), await world.status(other)] == [200, 424 if is_held else 200]
            assert await proxy.fetch_listed("bar") == {builds[2].filename}
            proxy.clock.now += timedelta(minutes=1)
        assert index.count(troubled.provenance_path) in trouble.tries
        index.clear_faults()
        for project in ("foo", "bar"):
            await retry_documents(proxy, project)
        assert await proxy.fetch_listed("foo") == {builds[0].filename, builds[1].filename}
        assert [await world.status(troubled), await world.status(other)] == [200, 200]


async def test_a_silent_document_is_listed_and_pending_and_then_unavailable(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    patience = timedelta(seconds=2)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore, patience=patience) as proxy,
    ):
        built = [wheel("foo", "1.0"), wheel("foo", "2.0")]
        good, silent = [index.add(each, **signed(sigstore, each)) for each in built]
        stall = index.stall(silent.provenance_path)
        page = await proxy.fetch_page("foo")
        entries = {entry["filename"]: entry for entry in page["files"]}
        assert set(entries) == {each.filename for each in built}
        assert (entries[built[1].filename]["core-metadata"], entries[built[1].filename]["provenance"]) == (False, None)
        assert (await proxy.get(proxy.files_path(good))).status == 200
        pending = await proxy.get(proxy.files_path(silent))
        assert (pending.status, pending.headers["Retry-After"]) == (503, "5")
        assert "is being fetched" in pending.reason
        stall.release.set()
        await proxy.assembly.gate.resources.provenance.wait_until_idle()
        assert (await proxy.get(proxy.files_path(silent))).status == 200


async def test_a_refusal_is_unusable_after_an_hour(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        built = wheel("foo", "1.0")
        listed = index.add(built, **signed(sigstore, built))
        index.inject_fault(listed.provenance_path, Reply(401))
        assert await proxy.fetch_listed("foo") == {built.filename}
        await retry_documents(proxy, "foo")
        assert await proxy.fetch_withheld("foo") == {built.filename: ["provenance-unusable"]}
        index.clear_faults()
        await retry_documents(proxy, "foo")
        assert await proxy.fetch_listed("foo") == {built.filename}


async def test_provenance_is_fetched_before_the_day_of_a_file_that_is_too_young(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    policy = POLICY.replace("0 days", "60 days")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy, sigstore=sigstore) as proxy:
        built = wheel("foo", "1.0")
        listed = index.add(built, **signed(sigstore, built))
        assert await proxy.fetch_withheld("foo") == {built.filename: ["too-young"]}
        await proxy.assembly.gate.resources.provenance.wait_until_idle()
        assert index.count(listed.provenance_path) == 1
        index.inject_fault(listed.provenance_path, Refuse())
        proxy.clock.now += timedelta(days=61)
        assert await proxy.fetch_listed("foo") == {built.filename}
        assert (await proxy.get(proxy.files_path(listed))).status == 200


ENTRIES: dict[str, dict[str, object]] = {
    "negative size": {"size": -1},
    "size as text": {"size": "711"},
    "yanked as number": {"yanked": 7},
    "deep key": {"x": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
}


@pytest.mark.parametrize("is_served", [False, True], ids=["new", "served"])
@pytest.mark.parametrize("name", ENTRIES)
async def test_a_malformed_entry_concerns_its_file(tmp_path: Path, name: str, is_served: bool) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        good = index.add(wheel("foo", "1.0"), upload_time=UPLOADED)
        if is_served:
            assert await proxy.fetch_listed("foo") == {good.built.filename}
            proxy.clock.now += timedelta(hours=1)
        broken = index.add(wheel("foo", "2.0"), upload_time=UPLOADED, entry=ENTRIES[name])
        assert await proxy.fetch_listed("foo") == {good.built.filename}
        codes = (await proxy.fetch_withheld("foo"))[broken.built.filename]
        assert codes == ["bad-entry"]
        assert (await proxy.get(proxy.files_path(broken))).status == 403
        assert (await proxy.get(proxy.files_path(good))).status == 200


@pytest.mark.parametrize("fault", [Reply(404), Reply(500), Reply(403), Reset(0), Gzip()], ids=repr)
async def test_trouble_with_a_file_or_its_metadata_concerns_that_file(tmp_path: Path, fault: Fault) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        good, broken = (index.add(wheel("foo", f"{number}.0"), upload_time=UPLOADED) for number in (1, 2))
        other = index.add(wheel("bar", "1.0"), upload_time=UPLOADED)
        for path in (f"{proxy.files_path(broken)}.metadata", proxy.files_path(broken)):
            index.inject_fault(path.removeprefix(f"/files/{index.files_host}"), fault)
        for _ in range(2):
            assert await proxy.fetch_listed("foo") == {good.built.filename, broken.built.filename}
            assert (await proxy.get(proxy.files_path(good))).status == 200
            assert (await proxy.get(f"{proxy.files_path(good)}.metadata")).status == 200
            assert (await proxy.get(proxy.files_path(other))).status == 200


async def test_hanging_documents_do_not_hold_up_the_page(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    patience = timedelta(seconds=1)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore, patience=patience) as proxy,
    ):
        builds = [wheel("foo", f"{number}.0") for number in range(30)]
        for built in builds:
            index.add(built, **signed(sigstore, built))
        index.inject_fault("*", Hang(), when=lambda request: request.path.startswith("/integrity/"))
        assert await proxy.fetch_listed("foo") == {built.filename for built in builds}


@pytest.mark.parametrize("broken", [8, 40], ids=["some", "the newest batch"])
async def test_many_broken_documents_leave_the_others_served(tmp_path: Path, broken: int) -> None:
    """A source that gives no answer for many documents is asked for the others at the next try at the latest."""
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        builds = [wheel("foo", f"{number}.0") for number in range(90)]
        listed = []
        for number, built in enumerate(builds):
            when = f"2026-06-01T12:{number // 60:02}:{number % 60:02}Z"
            provenance = sigstore.provenance(built.filename, built.sha256)
            listed.append(index.add(built, provenance=provenance, upload_time=when))
        for troubled in listed[-broken:]:
            index.inject_fault(troubled.provenance_path, Reply(500))
        for _ in range(2):
            await proxy.fetch_listed("foo")
            await proxy.assembly.gate.resources.provenance.wait_until_idle()
            proxy.clock.now += timedelta(minutes=1, seconds=1)
        good = [(await proxy.get(proxy.files_path(each))).status for each in listed[:-broken]]
        assert good == [200] * len(good)
        assert {(await proxy.get(proxy.files_path(each))).status for each in listed[-broken:]} == {424}


async def test_an_hour_of_failures_is_no_hour_of_refusals(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        built = wheel("foo", "1.0")
        listed = index.add(built, **signed(sigstore, built))
        index.inject_fault(listed.provenance_path, Reply(500))
        assert await proxy.fetch_listed("foo") == {built.filename}
        index.clear_faults()
        index.inject_fault(listed.provenance_path, Reply(403))
        await retry_documents(proxy, "foo")
        assert await proxy.fetch_listed("foo") == {built.filename}, "the first refusal"
        await retry_documents(proxy, "foo")
        assert await proxy.fetch_withheld("foo") == {built.filename: ["provenance-unusable"]}


async def test_a_silent_document_beside_recorded_ones_delays_a_retry_by_a_second_at_most(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        builds = [wheel("foo", f"{number}.0") for number in range(3)]
        listed = [index.add(built, **signed(sigstore, built)) for built in builds]
        index.inject_fault(listed[0].provenance_path, Reply(500))
        await proxy.fetch_listed("foo")
        index.clear_faults()
        stall = index.stall(listed[0].provenance_path)
        proxy.clock.now += timedelta(minutes=2)
        started = asyncio.get_running_loop().time()
        assert await proxy.fetch_listed("foo") == {built.filename for built in builds}
        assert asyncio.get_running_loop().time() - started < 3
        answer = await proxy.get(proxy.files_path(listed[0]))
        assert answer.status == 424, "until a try succeeds"
        stall.release.set()
