"""Tests of projects with very many attested files: verified once, newest first, and recorded despite failures."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.assembly import Tuning
from assay.provenance.fetcher import ByteBudget
from assay.telemetry.metrics import EVIDENCE_OUTCOMES
from tests.paths import ROOT
from tests.world.clients.installers import run_client
from tests.world.index.distributions import BuiltDistribution, make_raw_file, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Fault, Refuse, Reply, Request
from tests.world.index.wire_connection import CannedResponse
from tests.world.proxy.running_proxy import (
    ATTESTED_ONLY_POLICY,
    SIMPLE_JSON,
    retry_documents,
    run_test_proxy,
)
from tests.world.sigstore.private_sigstore import PrivateSigstore

PATH = "/simple/big/"
FIRST = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""Time of the private Sigstore's log entries by default; no file may be older than its attestation."""


def release(number: int) -> BuiltDistribution:
    return make_raw_file(f"big-{number}.0-py3-none-any.whl", b"%d" % number)


def filled(index: Index, sigstore: PrivateSigstore, files: int, attested: int) -> list[ListedFile]:
    """Add `files` releases, of which the newest `attested` have provenance; return the attested ones, newest first."""
    signed = []
    for number in range(files):
        built = release(number)
        document = sigstore.provenance(built.filename, built.sha256) if number >= files - attested else None
        when = FIRST + timedelta(minutes=number)
        listed = index.add(built, provenance=document, metadata=False, upload_time=when)
        if document is not None:
            # By path, because the fake index searches its list for any other request.
            index.serve_fixed(listed.provenance_path, CannedResponse(body=document))
            signed.append(listed)
    return signed[::-1]


def asked(index: Index) -> list[str]:
    return [request.path for request in index.requests if request.path.startswith("/integrity/")]


async def test_newest_first_once_each_and_a_second_client_joins_in(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with (
        Index() as index,
        run_test_proxy(
            index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore, patience=timedelta(seconds=2)
        ) as proxy,
    ):
        signed = filled(index, sigstore, 300, 200)
        stall = index.stall(signed[-1].provenance_path)
        assert await proxy.fetch_listed("big") == {listed.built.filename for listed in signed}, "undecided so far"
        pending = await proxy.get(proxy.files_path(signed[-1]))
        assert (pending.status, pending.headers["Retry-After"]) == (503, "5")
        assert "try again" in pending.reason
        stall.release.set()
        await proxy.assembly.gate.resources.provenance.wait_until_idle()
        assert await proxy.fetch_listed("big") == {listed.built.filename for listed in signed}
        assert Counter(asked(index)).most_common(1)[0][1] == 1, "each document once"
        assert set(asked(index)[:50]) <= {listed.provenance_path for listed in signed[:100]}, "newest first"
        assert index.max_concurrent_requests <= 30
        assert index.count(PATH) == 1


async def test_the_first_documents_are_verified_while_the_next_ones_are_awaited(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    verified = EVIDENCE_OUTCOMES.labels("attested")
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore) as proxy,
    ):
        signed = filled(index, sigstore, 60, 60)
        stall = index.stall(signed[30].provenance_path)
        before = verified._value.get()
        page = asyncio.create_task(proxy.fetch_listed("big"))
        async with asyncio.timeout(30):
            while verified._value.get() - before < 25:  # noqa: ASYNC110 - a counter has no event to await
                await asyncio.sleep(0.01)
        assert stall.reached.is_set()
        assert not stall.release.is_set()
        stall.release.set()
        assert await page == {listed.built.filename for listed in signed}
        assert verified._value.get() - before == 60


@pytest.mark.parametrize(
    "fault",
    [Reply(429, headers={"Retry-After": "3600"}), Reply(503), Refuse(), Reply(200, b"x" * 3_000_000)],
    ids=["429", "503", "refused", "huge"],
)
async def test_what_was_verified_before_a_failure_is_not_asked_for_again(
    tmp_path: Path, fault: Fault, request: pytest.FixtureRequest
) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore) as proxy,
    ):
        signed = filled(index, sigstore, 250, 250)
        broken = signed[120].provenance_path
        stall = index.stall(signed[99].provenance_path)
        index.inject_fault(broken, fault)
        refused = asyncio.create_task(proxy.get(PATH, {"Accept": SIMPLE_JSON}))
        await stall.reached.wait()
        stall.release.set()
        listed = (await refused).json()
        is_unusable = "huge" in request.node.callspec.id
        served = [entry for entry in listed["files"] if not entry["url"].endswith("?withheld")]
        assert len(served) == (249 if is_unusable else 250), "one file's trouble is that file's"
        status = (await proxy.get(proxy.files_path(signed[120]))).status
        assert status == (403 if is_unusable else 424), "no file is served without its evidence"
        first = Counter(asked(index))
        index.clear_faults()
        await retry_documents(proxy, "big")
        assert len(await proxy.fetch_listed("big")) == 250
        assert (await proxy.get(proxy.files_path(signed[120]))).status == 200
        again = set(asked(index)[sum(first.values()) :])
        newest = {listed.provenance_path for listed in signed[:100]}
        assert newest <= set(first)
        assert not again & newest, "the verified evidence is recorded"
        assert broken in again


@pytest.mark.parametrize("most", [1, 100_000, 2**25])
async def test_documents_of_any_size_are_all_proven_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Index that serves the largest permitted documents: 60 of them at once would be 60 MB."""
    sigstore, held, highest = PrivateSigstore(seed=1), 0, 0
    spend = ByteBudget.adjust

    def watched(budget: ByteBudget, size: int) -> None:
        nonlocal held, highest
        spend(budget, size)
        held += size
        highest = max(highest, held)

    monkeypatch.setattr(ByteBudget, "adjust", watched)
    tuning = Tuning(max_unrecorded_bytes=most)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore, tuning=tuning) as proxy,
    ):
        signed = filled(index, sigstore, 120, 120)
        large = signed[::2]
        for listed in large:
            index.serve_fixed(
                listed.provenance_path, CannedResponse(body=b'{"attestation_bundles": "' + b"x" * 1_000_000 + b'"}')
            )
        assert await proxy.fetch_listed("big") == {listed.built.filename for listed in signed[1::2]}
        assert Counter(asked(index)).most_common(1)[0][1] == 1, "each document once"
        assert len(asked(index)) == 120
    assert held == 0
    assert 1_000_000 < highest <= most + 24 * 1_000_100, "the sizes of 24 concurrent responses are unknown in advance"


async def test_a_page_that_fills_the_budget_does_not_hold_up_another_for_ever(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    tuning = Tuning(max_unrecorded_bytes=1)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore, tuning=tuning) as proxy,
    ):
        signed = filled(index, sigstore, 60, 60)
        others = []
        for number in range(5):
            built = wheel(f"other-{number}", "1.0")
            document = sigstore.provenance(built.filename, built.sha256)
            others.append(index.add(built, provenance=document, upload_time=FIRST).built)
        pages = [proxy.fetch_listed("big"), *(proxy.fetch_listed(other.project) for other in others)]
        async with asyncio.timeout(60):
            found = await asyncio.gather(*pages)
        assert found == [{listed.built.filename for listed in signed}, *({other.filename} for other in others)]


async def test_some_429_are_obeyed_and_cost_no_more_than_their_time(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    refused = 0

    def busy(request: Request) -> bool:
        nonlocal refused
        refused += request.path.startswith("/integrity/")
        return request.path.startswith("/integrity/") and refused % 40 == 0

    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore) as proxy,
    ):
        signed = filled(index, sigstore, 150, 150)
        index.inject_fault("*", Reply(429, headers={"Retry-After": "0"}), when=busy)
        answers = await asyncio.gather(*(proxy.get(PATH, {"Accept": SIMPLE_JSON}) for _ in range(3)))
        assert {len(answer.json()["files"]) for answer in answers} == {len(signed)}
        assert max(Counter(asked(index)).values()) <= 4


@pytest.mark.long
async def test_pip_installs_the_newest_of_fifteen_thousand_within_its_own_retries(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    seen = 0

    def busy(request: Request) -> bool:
        nonlocal seen
        seen += request.path.startswith("/integrity/")
        return request.path.startswith("/integrity/") and seen % 500 == 0

    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore) as proxy,
    ):
        filled(index, sigstore, 14_999, 9_999)
        newest = wheel("big", "20000.0")
        document = sigstore.provenance(newest.filename, newest.sha256)
        listed = index.add(newest, provenance=document, upload_time=FIRST + timedelta(days=20))
        index.serve_fixed(listed.provenance_path, CannedResponse(body=document))
        index.latency = 0.03
        index.inject_fault("*", Reply(429, headers={"Retry-After": "1"}), when=busy)

        async def install(number: int) -> None:
            home = tmp_path / f"home-{number}"
            home.mkdir()
            python = ROOT / ".venv/bin/python"
            target = ("--target", str(home / "site"), "--no-cache-dir", "--retries", "5")
            outcome = await run_client(
                str(python), "-m", "pip", "install", *target, "--index-url", proxy.url, "big", home=home
            )
            assert outcome.status == 0, outcome.output
            assert "big-20000.0" in outcome.output

        await asyncio.gather(install(1), install(2))
        assert max(Counter(asked(index)).values()) <= 5
