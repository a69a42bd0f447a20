"""A running proxy applies `assay ledger forget` without a restart, logs it and adds it to the audit trail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from assay.cli import run
from assay.config import Configuration
from assay.telemetry.audit_chain import read_trail, verify_trail
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.loggers import preserve_loggers
from tests.world.proxy.running_proxy import ManualClock, make_configuration, run_test_proxy, wait_for_refreshes
from tests.world.proxy.told import Told

FRESH = timedelta(minutes=11)


@pytest.fixture(autouse=True)
def restore_loggers_afterwards() -> Iterator[None]:
    """Restore the root logger, which the commands configure."""
    with preserve_loggers():
        yield


def configure(index: Index, directory: Path, *, audit: bool = False) -> tuple[Configuration, Path]:
    """Return a configuration of a proxy, and the path of the same configuration for commands."""
    tables: dict[str, Any] = {"audit": {"path": str(directory / "audit.jsonl")}} if audit else {}
    lines = [f'[storage]\ndirectory = "{directory / "assay"}"']
    if audit:
        lines.append(f'[audit]\npath = "{directory / "audit.jsonl"}"')
    path = directory / "proxy.toml"
    path.write_text("\n".join(lines), "utf-8")
    return make_configuration(index, directory / "assay", **tables), path


async def forget(config: Path, *arguments: str) -> int:
    command = ["ledger", "forget", "test", "foo", *arguments, "--reason", "a test", "--config", str(config)]
    return await asyncio.to_thread(run, command)


async def read_entries(path: Path) -> list[dict[str, Any]]:
    found = await asyncio.to_thread(lambda: list(read_trail(path)))
    assert verify_trail(found).faults == ()
    return [dict(entry.fields) for entry in found]


async def test_a_running_proxy_accepts_lower_serials_once_the_serial_is_forgotten(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC) - FRESH)
    async with Index() as index:
        configuration, config = configure(index, tmp_path)
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=configuration) as proxy:
            old, new = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "2.0"))
            both = {old.built.filename, new.built.filename}
            index.set_serial("foo", 9_000_000_000_000)
            assert await proxy.fetch_listed("foo") == both
            index.remove(new)
            index.set_serial("foo", 3)
            clock.now += FRESH
            assert await proxy.fetch_listed("foo") == both, "the newer page is kept"
            told = Told("facts-forgotten")
            assert await forget(config, "--serial") == 0
            await told.wait()
            clock.now = datetime.now(UTC)
            assert await proxy.fetch_listed("foo") == {old.built.filename}
            history = await proxy.assembly.store.ledger.get_history("test", canonicalize_name("foo"))
            assert history.serial == 3
            told.unsubscribe()
    assert [(each["what"], each["found"], each["reason"]) for each in told.events] == [
        ("serial", "9000000000000", "a test")
    ]


async def test_a_page_from_before_the_statement_is_fetched_whole_and_its_serial_counts_then(tmp_path: Path) -> None:
    clock, name = ManualClock(datetime.now(UTC) - 2 * FRESH), canonicalize_name("foo")
    async with Index() as index:
        configuration, config = configure(index, tmp_path)
        index.add(wheel("foo", "1.0"))
        index.set_serial("foo", 7)
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=configuration) as proxy:
            ledger = proxy.assembly.store.ledger
            await proxy.fetch_page("foo")
            clock.now += FRESH
            await proxy.fetch_page("foo")
            assert "if-none-match" in index.requests[-1].headers
            told = Told("facts-forgotten")
            assert await forget(config, "--serial") == 0
            await told.wait()
            told.unsubscribe()
            # The page in the cache is still fresh, but it is from before the statement.
            await index.down()
            assert (await proxy.get("/simple/foo/")).status == 200
            assert (await ledger.get_history("test", name)).serial is None, "a page from before does not count"
            await index.up()
            clock.now = datetime.now(UTC)
            await proxy.fetch_page("foo")
            await wait_for_refreshes(proxy)
            assert "if-none-match" not in index.requests[-1].headers
            clock.now += FRESH
            await proxy.fetch_page("foo")
            assert (await ledger.get_history("test", name)).serial == 7


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_statement_is_in_the_audit_trail_once_whether_or_not_a_proxy_runs(
    tmp_path: Path, is_running: bool
) -> None:
    async with Index() as index:
        configuration, config = configure(index, tmp_path, audit=True)
        index.add(wheel("foo", "1.0"))
        told = Told("facts-forgotten")
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            await proxy.fetch_page("foo")
            if is_running:
                assert await forget(config, "--first-seen") == 0
                await told.wait()
        if not is_running:
            assert await forget(config, "--first-seen") == 0
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            await proxy.fetch_page("foo")
            news = await proxy.assembly.store.ledger.poll_forgotten()
            assert news.unannounced == ()
        told.unsubscribe()
    entries = [entry for entry in await read_entries(tmp_path / "audit.jsonl") if entry["event"] == "forgot"]
    (entry,) = entries
    assert len(told.events) == 1
    shown = {name: entry[name] for name in ("index", "project", "what", "found", "version", "reason")}
    assert shown == {
        "index": "test",
        "project": "foo",
        "what": "first-seen",
        "found": "1 files",
        "version": 1,
        "reason": "a test",
    }


async def test_without_an_audit_trail_the_next_start_logs_what_was_forgotten_while_no_proxy_ran(tmp_path: Path) -> None:
    async with Index() as index:
        configuration, config = configure(index, tmp_path)
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            await proxy.fetch_page("foo")
        told = Told("facts-forgotten")
        assert await forget(config, "--first-seen") == 0
        assert told.events == []
        async with run_test_proxy(index, tmp_path, configuration=configuration):
            await told.wait()
        told.unsubscribe()
    assert [each["what"] for each in told.events] == ["first-seen"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["test", "bar", "--serial"], "bar on the index test: the ledger has no facts about this project"),
        (["other", "foo", "--serial"], "foo on the index other: the ledger has no facts about this project"),
        (["test", "foo", "--publishers"], "foo on the index test: the ledger has no publisher of this project"),
        (["test", "foo", "--digest", "foo-9.0.tar.gz"], "the ledger has no file 'foo-9.0.tar.gz' of this project"),
        (["test", "foo", "--evidence", "foo-1.0-py3-none-any.whl"], "the ledger has no provenance document of"),
    ],
)
async def test_what_cannot_be_forgotten_is_exit_2_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    async with Index() as index:
        configuration, config = configure(index, tmp_path)
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            await proxy.fetch_page("foo")
    command = ["ledger", "forget", *arguments, "--reason", "a test", "--config", str(config)]
    assert await asyncio.to_thread(run, command) == 2
    assert said in capsys.readouterr().err
    assert await forget(config, "--digest", "foo-1.0-py3-none-any.whl") == 0
    assert "foo on test: forgot digest of foo-1.0-py3-none-any.whl (" in capsys.readouterr().out


@pytest.mark.parametrize(("reason", "status"), [(" ", 2), ("two\nlines", 2), ("x" * 1001, 2), ("x" * 1000, 0)])
async def test_a_reason_is_one_line_of_limited_length(tmp_path: Path, reason: str, status: int) -> None:
    async with Index() as index:
        configuration, config = configure(index, tmp_path)
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            await proxy.fetch_page("foo")
    command = ["ledger", "forget", "test", "foo", "--serial", "--reason", reason, "--config", str(config)]
    assert await asyncio.to_thread(run, command) == status


async def test_an_export_shows_what_was_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with Index() as index:
        configuration, config = configure(index, tmp_path)
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            await proxy.fetch_page("foo")
    assert await forget(config, "--serial") == 0
    capsys.readouterr()
    assert await asyncio.to_thread(run, ["ledger", "export", "--config", str(config)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["what"], line["reason"]) for line in lines[1:] if line["kind"] == "forgotten"] == [
        ("serial", "a test")
    ]
