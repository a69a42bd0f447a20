"""Two processes of ``assay serve`` over one PostgreSQL and one S3 server have one ledger, and one copy of each file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.object_storage import S3_ENVIRONMENT, S3Server
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.processes import get_free_port
from tests.world.engines.shared_storage import make_shared_table
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.serve_process import files_path, run_serve_process

POLICY = 'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nname = "all"\nprojects = ["*"]\n'
SIMPLE_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@pytest.fixture
async def table(server: PostgresServer, s3: S3Server, tmp_path: Path) -> dict[str, Any]:
    """The table ``[storage.shared]`` over an empty database and an empty prefix of the bucket."""
    database = await create_assay_database(server)
    objects = {"objects": f"s3://{s3.bucket}/{database}/", "endpoint": s3.endpoint}
    return make_shared_table(server, database, tmp_path, **objects)


@dataclass
class Replica:
    origin: str
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, str, bytes]:
        async with self.session.get(f"{self.origin}{path}", headers=SIMPLE_JSON) as answer:
            return answer.status, answer.reason or "", await answer.read()

    async def list_approved(self, project: str) -> set[str]:
        status, _, body = await self.get(f"/simple/{project}/")
        assert status == 200, body
        return {each["filename"] for each in json.loads(body)["files"] if not each["url"].endswith("?withheld")}


def format_table(table: Mapping[str, Any]) -> str:
    """Return the table as TOML."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    inner = [f"{key} = {json.dumps(value)}" for key, value in table.get("deadlines", {}).items()]
    return "\n".join(["[storage.shared]", *lines, "[storage.shared.deadlines]", *inner])


@asynccontextmanager
async def run_replicas(index: Index, directory: Path, table: Mapping[str, Any]) -> AsyncIterator[list[Replica]]:
    addresses = [f"127.0.0.1:{get_free_port()}" for _ in range(2)]
    replicas = []
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for number, address in enumerate(addresses):
            own = directory / f"replica-{number}"
            own.mkdir()
            more = format_table({**table, "peers": addresses, "peer-address": address})
            running = await stack.enter_async_context(
                run_serve_process(
                    index,
                    own,
                    environ=S3_ENVIRONMENT,
                    policy=POLICY,
                    more=f'{more}\n[freshness]\npage = "1 second"',
                )
            )
            replicas.append(Replica(running.origin, session))
        yield replicas


async def test_a_swapped_file_is_refused_by_both_replicas(tmp_path: Path, table: dict[str, Any]) -> None:
    async with Index() as index, run_replicas(index, tmp_path, table) as (first, second):
        swapped, kept = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "2.0"))
        both = {swapped.built.filename, kept.built.filename}
        assert await first.list_approved("foo") == both
        index.replace(swapped, wheel("foo", "1.0", padding=1))
        async with asyncio.timeout(60):
            while await first.list_approved("foo") == both:  # noqa: ASYNC110 - the page is fresh for a second
                await asyncio.sleep(0.1)
        for replica in (first, second):
            assert await replica.list_approved("foo") == {kept.built.filename}
            status, reason, _ = await replica.get(files_path(swapped))
            assert (status, "digest-changed" in reason) == (403, True)
            assert await replica.get(files_path(kept)) == (200, "OK", kept.built.content)


async def test_a_file_is_fetched_once_for_both_replicas(tmp_path: Path, table: dict[str, Any]) -> None:
    async with Index() as index, run_replicas(index, tmp_path, table) as (first, second):
        listed = index.add(wheel("foo", "1.0", padding=300_000))
        answers = await asyncio.gather(*(each.get(files_path(listed)) for each in (first, second) for _ in range(3)))
        assert {(status, body == listed.built.content) for status, _, body in answers} == {(200, True)}
        assert index.count(listed.path) == 1


async def test_known_pages_and_files_go_on_while_the_database_is_away(
    tmp_path: Path, server: PostgresServer, table: dict[str, Any]
) -> None:
    async with Index() as index, run_replicas(index, tmp_path, table) as (first, _):
        listed = index.add(wheel("foo", "1.0"))
        index.add(wheel("bar", "1.0"))
        assert await first.list_approved("foo") == {listed.built.filename}
        fetches = index.count(index.page_path("foo"))
        server.kill()
        try:
            async with asyncio.timeout(60):
                while index.count(index.page_path("foo")) == fetches:  # the page is renewed during the outage
                    assert await first.list_approved("foo") == {listed.built.filename}
                    assert (await first.get(files_path(listed)))[0] == 200
            status, reason, _ = await first.get("/simple/bar/")
            assert (status, "unavailable" in reason) == (503, True), "never judged"
            status, _, body = await first.get("/readyz")
            assert (status, json.loads(body)["degraded"]) == (200, ["ledger"])
            status, _, body = await first.get("/metrics")
            assert b'assay_degraded{what="ledger"} 1.0' in body
        finally:
            server.start()
        async with asyncio.timeout(60):
            while (await first.get("/simple/bar/"))[0] != 200:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.1)
        assert json.loads((await first.get("/readyz"))[2])["degraded"] == []
