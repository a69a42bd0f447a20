"""Audit trails of replicas: stored once before they are removed, whole after kill -9, and equal to their heads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from assay.telemetry.audit_chain import read_trail, verify_trail
from tests.world.engines.assay_database import DEPLOYMENT, create_assay_database
from tests.world.engines.object_storage import (
    HAS_OBJECT_STORAGE,
    MISSING_OBJECT_STORAGE,
    S3_ENVIRONMENT,
    ConditionBlindServer,
)
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.engines.shared_storage import make_shared_table
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.serve_process import ServeProcess, files_path, run_serve_process

POLICY = 'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nname = "all"\nprojects = ["*"]\n'
END_SECONDS = 60


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if not HAS_POSTGRESQL:
        pytest.skip(MISSING_POSTGRESQL)
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def table(postgres: PostgresServer, tmp_path: Path) -> dict[str, Any]:
    return make_shared_table(postgres, await create_assay_database(postgres), tmp_path)


def format_tables(table: Mapping[str, Any], audit: str) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    inner = [f"{key} = {json.dumps(value)}" for key, value in table.get("deadlines", {}).items()]
    return "\n".join(["[storage.shared]", *lines, "[storage.shared.deadlines]", *inner, "[audit]", audit])


@asynccontextmanager
async def run_replica(
    index: Index, directory: Path, table: Mapping[str, Any], part_age: str = "1 hour"
) -> AsyncIterator[ServeProcess]:
    """Run a replica with its trail in `directory`, which may have been used before."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    audit = f'sink = "objects"\npath = "{directory / "audit.jsonl"}"\n[audit.upload]\npart-age = "{part_age}"'
    async with run_serve_process(index, directory, policy=POLICY, more=format_tables(table, audit)) as running:
        yield running


async def fetch(replica: ServeProcess, listed: ListedFile, count: int) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.get(f"{replica.origin}{files_path(listed)}") as answer:
                assert answer.status == 200
                await answer.read()


def list_stored(directory: Path) -> dict[str, int]:
    """Return the number of entries of each stored trail, all of them valid."""
    found = {}
    for trail in sorted((directory / "objects" / DEPLOYMENT / "audit").iterdir()):
        report = verify_trail(read_trail(trail))
        assert report.faults == ()
        found[trail.name] = report.entries
    return found


def remove_newest(trail: Path) -> None:
    max(trail.iterdir()).unlink()


async def run_command(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run ``assay`` with the configuration of the replica in `directory`; return its status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "assay",
        *arguments,
        "--config",
        str(directory / "proxy.toml"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), END_SECONDS)
    return process.returncode or 0, printed.decode()


async def test_the_trails_of_two_replicas_verify_and_equal_their_heads(tmp_path: Path, table: dict[str, Any]) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        async with (
            run_replica(index, tmp_path / "a", table, "1 second") as first,
            run_replica(index, tmp_path / "b", table) as second,
        ):
            await fetch(first, listed, 3)
            await fetch(second, listed, 5)
            async with asyncio.timeout(END_SECONDS):
                while not any(line["event"] == "audit-part-stored" for line in first.log):  # noqa: ASYNC110 - a process
                    await asyncio.sleep(0.05)
            await fetch(first, listed, 1)
            assert [await first.stop(), await second.stop()] == [0, 0]
    trails = await asyncio.to_thread(list_stored, tmp_path)
    assert sorted(trails.values()) == [4, 5]
    stored = tmp_path / "objects" / DEPLOYMENT / "audit"
    for name in trails:
        status, printed = await run_command(
            tmp_path / "a", "audit-log", "verify", "--trail", str(stored / name), "--heads", name
        )
        assert (status, f"{trails[name]} entries" in printed) == (0, True), printed
    shorter = next(name for name, count in trails.items() if count == 4)
    await asyncio.to_thread(remove_newest, stored / shorter)
    cut = await run_command(tmp_path / "a", "audit-log", "verify", "--trail", str(stored / shorter), "--heads", shorter)
    assert (cut[0], "entry 4 with the recorded hash" in cut[1]) == (1, True)
    unknown = await run_command(tmp_path / "a", "audit-log", "verify", "--trail", str(stored / shorter), "--heads", "x")
    assert (unknown[0], "no part of a replica 'x'" in unknown[1]) == (2, True)


async def test_entries_of_a_killed_replica_are_stored_at_its_next_start(tmp_path: Path, table: dict[str, Any]) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        async with run_replica(index, tmp_path / "a", table) as replica:
            await fetch(replica, listed, 3)
            replica.process.send_signal(signal.SIGKILL)
            await replica.process.wait()
        async with run_replica(index, tmp_path / "a", table) as replica:
            await fetch(replica, listed, 2)
            assert await replica.stop() == 0
    assert list((await asyncio.to_thread(list_stored, tmp_path)).values()) == [5]


async def test_an_object_storage_that_ignores_conditions_ends_the_start_with_status_2(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    if not HAS_OBJECT_STORAGE:
        pytest.skip(MISSING_OBJECT_STORAGE)
    with ConditionBlindServer() as blind:
        place = {"objects": f"s3://{blind.bucket}/", "endpoint": blind.endpoint}
        table = make_shared_table(postgres, await create_assay_database(postgres), tmp_path, **place)
        audit = f'sink = "objects"\npath = "{tmp_path / "audit.jsonl"}"'
        config = tmp_path / "proxy.toml"
        text = f'{format_tables(table, audit)}\n[storage]\ndirectory = "{tmp_path / "tier"}"\n[server]\nport = 0\n'
        await asyncio.to_thread(config.write_text, text + "[trust]\nrefresh = false\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "assay", "serve", "--config", str(config)),
            env={**os.environ, **S3_ENVIRONMENT},
            stderr=subprocess.PIPE,
        )
        _, printed = await asyncio.wait_for(process.communicate(), END_SECONDS)
    assert (process.returncode, b"audit.sink: the object storage overwrites" in printed) == (2, True), printed
