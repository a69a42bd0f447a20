"""Replicas under test: proxies with a listener for other replicas, and a source that asks one of them first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from assay.errors import UpstreamUnavailableError
from assay.files.source_plan import ListedSources
from assay.indexes import IndexSettings
from assay.peers.addresses import PeerAddress
from assay.peers.client import PeerClient, PeerTimeouts
from assay.peers.signing import PeerCredentials
from assay.ports import ExpectedFile, FileBody
from assay.simple.model import Sha256
from assay.web.peers.server import run_peer_server
from assay.web.server.connection_server import ServerTimeouts
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import NOW, ManualClock, RunningProxy, run_test_proxy

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
CREDENTIALS = PeerCredentials(deployment="acme-prod", keys=lambda: [KEY])
ANY_PORT = PeerAddress(IPv4Address("127.0.0.1"), 0)
QUICK = ServerTimeouts(shutdown_grace=0.02)
"""Replicas that end without waiting for the requests of others."""


@asynccontextmanager
async def run_listener(
    proxy: RunningProxy, *, credentials: PeerCredentials = CREDENTIALS, timeouts: ServerTimeouts = QUICK, **options: Any
) -> AsyncIterator[str]:
    """Let a proxy answer other replicas; yield its address for them."""
    gates = [view.gate for view in proxy.assembly.views]
    async with run_peer_server(
        gates, credentials, ANY_PORT, clock=proxy.clock, timeouts=timeouts, **options
    ) as address:
        yield address


@asynccontextmanager
async def run_holder(index: Index, directory: Path, **options: Any) -> AsyncIterator[tuple[RunningProxy, str]]:
    """Run a replica that other replicas can ask; yield it and its address."""
    async with run_test_proxy(index, directory, **options) as proxy, run_listener(proxy) as address:
        yield proxy, address


@asynccontextmanager
async def open_client(
    *peers: str,
    own_address: str | None = None,
    credentials: PeerCredentials = CREDENTIALS,
    clock: Callable[[], datetime] = lambda: NOW,
    timeouts: PeerTimeouts | None = None,
    avoidance_seconds: float = 0,
) -> AsyncIterator[PeerClient]:
    """Open the client of a replica whose configured peers are `peers`; it asks again for a file, unless told else."""
    client = PeerClient(
        credentials=credentials,
        own_address=own_address,
        peers=peers,
        clock=clock,
        timeouts=timeouts,
        avoidance_seconds=avoidance_seconds,
    )
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@dataclass
class PeerSource:
    """Source of downloads that asks one replica."""

    client: PeerClient
    address: str

    def contents(self, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        return self.client.contents(self.address, file, start)

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:
        assert attempt
        assert retry_after is None
        return None


@asynccontextmanager
async def run_follower(
    index: Index, directory: Path, *holders: str, clock: ManualClock | None = None
) -> AsyncIterator[RunningProxy]:
    """Run a replica whose downloads ask `holders` in order, and then the index."""
    async with (
        run_test_proxy(index, directory, clock=clock) as proxy,
        open_client(*holders, clock=proxy.clock, avoidance_seconds=60) as client,
    ):
        downloads = proxy.assembly.gate.resources.files.cache._downloads
        plan_alone = downloads._make_plan

        def plan(file: ExpectedFile) -> ListedSources:
            alone = plan_alone(file)
            assert isinstance(alone, ListedSources)
            return ListedSources([*(PeerSource(client, each) for each in holders), *alone._remaining])

        downloads._make_plan = plan
        yield proxy


def expect(index: Index, listed: ListedFile, timeouts: Mapping[str, str] | None = None, **changes: Any) -> ExpectedFile:
    """Return the file as a replica expects it that has read the page of the index, which has `timeouts`."""
    settings = IndexSettings.model_validate(
        {
            "name": "test",
            "url": index.url,
            "file-hosts": [index.files_host],
            "limits": {"timeouts": timeouts or {}},
        }
    )
    facts = {"url": listed.url, "sha256": Sha256(listed.built.sha256), "size": listed.built.size, **changes}
    return ExpectedFile(index=settings, **facts)


async def receive(
    client: PeerClient, address: str, file: ExpectedFile, start: int = 0
) -> tuple[bytes, UpstreamUnavailableError | None]:
    """Return the bytes that another replica sent, and the error that ended them."""
    received = bytearray()
    try:
        async with client.contents(address, file, start) as body:
            assert body.start == start
            async for chunk in body.chunks:
                received += chunk
    except UpstreamUnavailableError as error:
        return bytes(received), error
    return bytes(received), None


async def collect(chunks: AsyncIterator[bytes | memoryview]) -> bytes:
    """Return all bytes that follow."""
    return b"".join([bytes(chunk) async for chunk in chunks])
