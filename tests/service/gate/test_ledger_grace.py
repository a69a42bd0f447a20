"""The proxy while the database of the ledger is away: the ledger answers from memory and records nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.errors import LedgerUnavailableError
from assay.policy.language.document import load_policy
from assay.ports import HistoryChanges, Notice, ProjectHistory
from assay.simple.model import NormalizedName
from assay.store.ledger.ledger import SqliteLedger
from tests.world.advisories.snapshots import make_snapshot, malware
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.hosting_proxy import run_hosting_proxy
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy

FOO = NormalizedName("foo")
ALL = """
version = 1
[defaults]
min-age = "0 days"
[[rules]]
name = "all"
projects = ["*"]
"""
STRICT = ALL.replace('"0 days"', '"0 days"\nuploaded-before = 2020-01-01')
PAGE = "/simple/foo/"


@contextmanager
def outage() -> Iterator[None]:
    """Let the ledger answer from memory, as the one in PostgreSQL does while the database is away."""
    read, write = SqliteLedger.get_history, SqliteLedger.record

    async def get_history(self: SqliteLedger, index: str, project: NormalizedName) -> ProjectHistory:
        history = await read(self, index, project)
        if not history.known:
            raise LedgerUnavailableError("the database is unavailable")
        return replace(history, is_confirmed=False)

    async def record(
        self: SqliteLedger, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        if changes:
            raise LedgerUnavailableError("the database is unavailable")
        return await write(self, index, project, changes, known=known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteLedger, "get_history", get_history)
        patch.setattr(SqliteLedger, "record", record)
        yield


def change_policy(proxy: RunningProxy, text: str) -> None:
    proxy.assembly.gate.policy = load_policy(text, "policy.toml")


def pass_freshness(proxy: RunningProxy) -> None:
    proxy.clock.now += timedelta(minutes=12)


async def test_an_unchanged_page_and_its_files_are_served_and_a_page_that_was_never_judged_is_not(
    tmp_path: Path,
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        index.add(wheel("bar", "1.0"))
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        with outage():
            for _ in range(2):
                pass_freshness(proxy)
                assert await proxy.fetch_listed("foo") == {listed.built.filename}
                assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
            refused = await proxy.get("/simple/bar/")
            assert (refused.status, "database is unavailable" in refused.reason) == (503, True)
        assert await proxy.fetch_listed("bar")


async def test_a_page_that_teaches_the_ledger_something_waits(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        index.add(wheel("foo", "2.0"))
        with outage():
            assert await proxy.fetch_listed("foo") == {listed.built.filename}, "from memory"
            pass_freshness(proxy)
            assert (await proxy.get(PAGE)).status == 503
            assert (await proxy.get(proxy.files_path(listed))).status == 503
        assert len(await proxy.fetch_listed("foo")) == 2


async def test_a_stricter_policy_acts_at_once_and_a_laxer_one_waits_for_the_ledger(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        with outage():
            change_policy(proxy, STRICT)
            assert await proxy.fetch_listed("foo") == set()
            assert (await proxy.get(proxy.files_path(listed))).status == 403
            change_policy(proxy, ALL)
            refused = await proxy.get(PAGE)
            assert (refused.status, "approves files that were not approved before" in refused.reason) == (503, True)
            assert (await proxy.get(proxy.files_path(listed))).status == 503
        assert await proxy.fetch_listed("foo") == {listed.built.filename}


async def test_a_policy_that_approves_the_same_files_is_applied(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        with outage():
            change_policy(proxy, ALL.replace('"all"', '"another name"'))
            assert await proxy.fetch_listed("foo") == {listed.built.filename}
            (judged,) = proxy.assembly.gate.list_cached_pages()
            assert (judged.is_confirmed, judged.listing.approved[0].rule) == (False, "another name")


async def test_an_advisory_of_malware_acts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.indexes.IndexSettings.has_pypi_projects", property(lambda _: True))
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        with outage():
            assert (await proxy.get(proxy.files_path(listed))).status == 200
            proxy.assembly.advisories.put(make_snapshot(malware("foo")))
            assert (await proxy.get(proxy.files_path(listed))).status == 403
            assert await proxy.fetch_withheld("foo") == {listed.built.filename: ["malicious"]}


async def test_a_notice_does_not_make_the_gate_forget_what_was_approved(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        with outage():
            proxy.assembly.store.notices.publish(Notice(index="test", project=FOO))
            assert proxy.assembly.gate.peek_page(FOO) is None
            assert await proxy.fetch_listed("foo") == {listed.built.filename}


async def test_a_page_that_is_not_in_memory_waits(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        gate: Any = proxy.assembly.gate
        gate._judged_pages.clear()
        with outage():
            assert (await proxy.get(PAGE)).status == 503
        assert await proxy.fetch_listed("foo")


async def test_an_upload_waits(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(wheel("acme-app", "1.0"))).status == 200
        with outage():
            refused = await world.upload(wheel("acme-app", "2.0"))
            assert (refused.status, "uploads need it" in refused.reason) == (503, True)
        assert (await world.upload(wheel("acme-app", "2.0"))).status == 200
