"""Tests that a page in memory is judged again as soon as an input of its verdicts has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.attestation.pool.pool import VerifierPool
from assay.files.failed_metadata import _Failures
from assay.indexes import IndexSettings
from assay.policy.language.document import load_policy
from assay.ports import EVERYTHING, Notice, NoticeTopic, ProjectHistory
from assay.provenance.resolver import ProvenanceResolver
from assay.simple.model import NormalizedName
from tests.world.advisories.snapshots import make_snapshot, malware
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy

FOO = NormalizedName("foo")


def change_policy(proxy: RunningProxy, _monkeypatch: pytest.MonkeyPatch) -> None:
    closed = 'version = 1\n[[rules]]\nname = "closed"\nprojects = ["*"]\ndeny = "nothing today"\n'
    proxy.assembly.gate.policy = load_policy(closed, "closed")


def change_roots(_proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifierPool, "roots_digest", property(lambda _: "of other roots"))


def change_wheels(proxy: RunningProxy, _monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.assembly.gate.resources.files.wheels._facts_versions["test", FOO] = 1


def change_metadata(proxy: RunningProxy, _monkeypatch: pytest.MonkeyPatch) -> None:
    failures = proxy.assembly.gate.resources.files.failed_metadata
    failures._raise_version(("test", FOO), _Failures())


def change_evidence(_proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProvenanceResolver, "local_version", property(lambda _: "of other bundles"))


def change_advisories(proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexSettings, "has_pypi_projects", property(lambda _: True))
    proxy.assembly.advisories.put(make_snapshot(malware("foo")))


CHANGES = {
    "policy": change_policy,
    "roots": change_roots,
    "wheels": change_wheels,
    "metadata": change_metadata,
    "evidence": change_evidence,
    "advisories": change_advisories,
}


@pytest.mark.parametrize("name", CHANGES)
async def test_each_dependency_makes_a_page_be_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change: Callable[[RunningProxy, pytest.MonkeyPatch], None] = CHANGES[name]
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        gate = proxy.assembly.gate
        judged = await gate.get_page(FOO)
        assert judged.dependencies.keys() == {*CHANGES, "ledger"}, "each dependency has its change here"
        assert gate.peek_page(FOO) is judged
        change(proxy, monkeypatch)
        assert gate.peek_page(FOO) is None
        again = await gate.get_page(FOO)
        assert (again is not judged, again.dependencies[name] != judged.dependencies[name]) == (True, True)
        assert gate.peek_page(FOO) is again
        assert index.count(index.page_path("foo")) == 1, "judged again, not fetched again"


@pytest.mark.parametrize("version", [0, 1])
async def test_a_renewed_page_is_judged_again_if_the_ledger_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        gate, ledger = proxy.assembly.gate, proxy.assembly.store.ledger
        judged = await gate.get_page(FOO)
        read = ledger.get_history

        async def read_version(index: str, project: NormalizedName) -> ProjectHistory:
            return replace(await read(index, project), version=version)

        monkeypatch.setattr(ledger, "get_history", read_version)
        assert gate.peek_page(FOO) is judged, "the ledger is not read for a page in memory"
        proxy.clock.now += timedelta(minutes=12)
        again = await gate.get_page(FOO)
        assert (again.listing is judged.listing) is (version == 0)
        assert again.dependencies["ledger"] == version


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({}, False),
        ({"version": 7}, False),
        ({"version": 0}, True),
        ({"topic": NoticeTopic.WHEELS}, True),
        ({"project": NormalizedName("other")}, True),
        ({"index": None, "project": None, "topic": None}, False),
    ],
)
async def test_a_notice_discards_the_pages_that_it_names_unless_they_are_known_to_be_current(
    tmp_path: Path, changes: dict[str, Any], *, is_kept: bool
) -> None:
    async with Index() as index:
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path) as proxy:
            await proxy.fetch_page("foo")
            gate = proxy.assembly.gate
            (judged,) = gate.list_cached_pages()
            assert judged.dependencies["ledger"] == 0, "a version that the notice can name"
            gate.handle_notice(replace(Notice(index="test", project=FOO, is_remote=True), **changes))
            assert gate.list_cached_pages() == ((judged,) if is_kept else ())


async def test_a_notice_of_everything_also_discards_a_page_that_is_being_judged(tmp_path: Path) -> None:
    async with Index() as index:
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path) as proxy:
            gate = proxy.assembly.gate
            stall = index.stall(index.page_path("foo"))
            page = asyncio.create_task(proxy.fetch_page("foo"))
            await stall.reached.wait()
            gate.handle_notice(EVERYTHING)
            stall.release.set()
            assert (await page)["files"]
            assert gate.list_cached_pages() == ()
