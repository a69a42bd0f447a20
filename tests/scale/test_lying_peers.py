"""A peer that lies about the file that it downloads: no client gets its bytes, and strangers are never asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import pytest

from assay.store.postgresql.lock_session import make_lock_key
from tests.scale.engines import SharedEngines
from tests.scale.replicas import ClusterSettings, run_cluster
from tests.scale.waiting import check_file, eventually
from tests.world.engines.processes import get_free_port
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index

pytestmark = pytest.mark.scale

SETTINGS = ClusterSettings(replicas=1)
STRANGER = "127.0.0.5"
"""Address that no configured name of a peer resolves to."""


@dataclass
class LyingPeer:
    """Listener for replicas that answers each request with the same bytes, whatever the file."""

    body: bytes
    stated: int
    """Value of Content-Length."""
    requests: list[bytes] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {self.stated}\r\n\r\n".encode() + self.body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def run_peer(peer: LyingPeer, address: str) -> AsyncIterator[None]:
    host, _, port = address.rpartition(":")
    async with await asyncio.start_server(peer.answer, host, int(port)):
        yield


@asynccontextmanager
async def hold_flight(shared: SharedEngines, sha256: str, address: str) -> AsyncIterator[None]:
    """Hold the flight of a file as a replica at `address` does that has access to the database."""
    key = make_lock_key(shared.deployment, f"file:{sha256}")
    connection = await asyncpg.connect(shared.postgres.get_url(shared.database, user="assay_app"))
    try:
        assert await connection.fetchval("SELECT pg_try_advisory_lock($1)", key.hash)
        await connection.execute("INSERT INTO assay.flights (key, address) VALUES ($1, $2)", key.digest, address)
        yield
    finally:
        await connection.close()


LIES = ["other bytes", "other last byte", "too short", "too long", "ends early", "nothing"]


def make_liar(lie: str, content: bytes) -> LyingPeer:
    size = len(content)
    match lie:
        case "other bytes":
            return LyingPeer(bytes(size), size)
        case "other last byte":
            return LyingPeer(content[:-1] + bytes([content[-1] ^ 1]), size)
        case "too short":
            return LyingPeer(content[:-10], size - 10)
        case "too long":
            return LyingPeer(content + b"!", size + 1)
        case "ends early":
            return LyingPeer(content[: size // 2], size)
        case _:
            return LyingPeer(b"", 0)


@pytest.mark.parametrize("lie", LIES)
async def test_the_bytes_of_a_lying_peer_are_never_served(tmp_path: Path, shared: SharedEngines, lie: str) -> None:
    impatient = replace(shared, flight_seconds=2)
    async with Index() as index, run_cluster(index, tmp_path, impatient, settings=SETTINGS) as cluster:
        listed = index.add(wheel("foo", "1.0", padding=300_000))
        (replica,) = cluster.replicas
        assert await replica.fetch_listed("foo") == {listed.built.filename}
        liar = make_liar(lie, listed.built.content)
        async with (
            hold_flight(shared, listed.built.sha256, cluster.peers[-1]),
            run_peer(liar, cluster.peers[-1]),
        ):
            await eventually(check_file, replica, listed)
        assert len(liar.requests) >= 1, "the peer was asked"
        assert index.count(listed.path) == 1


async def test_a_stranger_in_the_database_is_not_asked(tmp_path: Path, shared: SharedEngines) -> None:
    impatient = replace(shared, flight_seconds=2)
    async with Index() as index, run_cluster(index, tmp_path, impatient, settings=SETTINGS) as cluster:
        listed = index.add(wheel("foo", "1.0", padding=300_000))
        (replica,) = cluster.replicas
        stranger = LyingPeer(bytes(listed.built.size), listed.built.size)
        address = f"{STRANGER}:{get_free_port(STRANGER)}"
        async with hold_flight(shared, listed.built.sha256, address), run_peer(stranger, address):
            await check_file(replica, listed)
        assert stranger.requests == []
        assert replica.list_events("peer-unknown")
