"""Replicas with empty local directories: no replica fetches or verifies what another one has fetched or verified."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.published import ATTESTED_POLICY, Publisher
from tests.scale.replicas import LOCAL, Cluster, ClusterSettings, ReplicaStorage, run_cluster
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.proxy_client import SIMPLE_JSON, ProxyClient, ReadResponse
from tests.world.sigstore.private_sigstore import PrivateSigstore

pytestmark = pytest.mark.scale

FILES = 16
REQUESTS_PER_PAGE = 16
SETTINGS = ClusterSettings(policy=ATTESTED_POLICY)
GENEROUS_SECONDS = 60


async def request_everything(cluster: Cluster, listed: list[ListedFile]) -> tuple[list[ReadResponse], list[str]]:
    """Send requests for one page and all its files to each replica at once; return the pages, and the files' ETags."""
    project = listed[0].built.project

    async def fetch(replica: ProxyClient, each: ListedFile) -> str:
        answer = await replica.get(replica.files_path(each))
        assert (answer.status, answer.body) == (200, each.built.content), (answer.status, answer.reason)
        return answer.headers.get("ETag", "")

    pages = [
        replica.get(f"/simple/{project}/", {"Accept": SIMPLE_JSON})
        for replica in cluster.replicas
        for _ in range(REQUESTS_PER_PAGE)
    ]
    files = [fetch(replica, each) for replica in cluster.replicas for each in listed]
    answered, etags = await asyncio.gather(asyncio.gather(*pages), asyncio.gather(*files))
    return answered, etags


@dataclass(frozen=True)
class Fetched:
    """Numbers of requests that the index received."""

    pages: int
    documents: int
    files: int


def count_fetched(index: Index, listed: list[ListedFile]) -> Fetched:
    return Fetched(
        index.count(index.page_path(listed[0].built.project)),
        sum(index.count(each.provenance_path) for each in listed),
        sum(index.count(each.path) for each in listed),
    )


async def fetch_cold(index: Index, directory: Path, storage: ReplicaStorage) -> Fetched:
    """Send 96 requests to three new replicas, and return what they fetched; all answers must be right and alike."""
    sigstore = PrivateSigstore()
    listed = Publisher(index, sigstore).publish_releases("widget", FILES, padding=150_000)
    async with run_cluster(index, directory, storage, sigstore=sigstore, settings=SETTINGS) as cluster:
        pages, _ = await request_everything(cluster, listed)
        assert len(pages) + len(cluster.replicas) * len(listed) == 96
        assert {page.status for page in pages} == {200}
        assert len({page.headers["ETag"] for page in pages}) == 1
        for replica in cluster.replicas:
            assert await replica.fetch_listed("widget") == {each.built.filename for each in listed}
    return count_fetched(index, listed)


async def test_three_cold_replicas_fetch_and_verify_each_thing_once(tmp_path: Path, shared: SharedEngines) -> None:
    async with Index() as index:
        assert await fetch_cold(index, tmp_path, shared) == Fetched(pages=1, documents=FILES, files=FILES)


async def test_three_replicas_that_share_nothing_fetch_each_thing_three_times(tmp_path: Path) -> None:
    async with Index() as index:
        assert await fetch_cold(index, tmp_path, LOCAL) == Fetched(pages=3, documents=3 * FILES, files=3 * FILES)


async def test_a_new_replica_with_an_empty_disk_asks_the_index_nothing(tmp_path: Path, shared: SharedEngines) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index, run_cluster(index, tmp_path, shared, sigstore=sigstore, settings=SETTINGS) as cluster:
        listed = Publisher(index, sigstore).publish_releases("widget", FILES, padding=150_000)
        await request_everything(cluster, listed)
        await shared.wait_until_kept(listed)
        index.reset_log()
        await cluster.spare.start()
        for each in listed:
            answer = await cluster.spare.get(cluster.files_path(each))
            assert (answer.status, answer.body) == (200, each.built.content)
        assert [request.path for request in index.requests] == []
        assert await cluster.spare.read_metric("assay_verified_documents_total") == 0


async def test_a_second_replicas_first_view_of_a_page_verifies_nothing(tmp_path: Path, shared: SharedEngines) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index, run_cluster(index, tmp_path, shared, sigstore=sigstore, settings=SETTINGS) as cluster:
        listed = Publisher(index, sigstore).publish_releases("widget", 100)
        seconds = []
        for replica in cluster.replicas[:2]:
            started = time.monotonic()
            assert len(await replica.fetch_listed("widget")) == len(listed)
            seconds.append(time.monotonic() - started)
        print(f"first view of 100 attested files: {seconds[0]:.2f} s, of a second replica: {seconds[1]:.2f} s")
        first, second, _ = cluster.replicas
        assert await first.read_metric("assay_verified_documents_total") == len(listed)
        assert await second.read_metric("assay_verified_documents_total") == 0
        assert count_fetched(index, listed) == Fetched(pages=1, documents=len(listed), files=0)


_SENT_BYTES = 8 * 2**20
"""Number of bytes that the slow index sends at once."""
_PIECE_BYTES = 2**18


@dataclass
class Downloads:
    """Downloads of one file by many clients, which compare each byte with the right one."""

    listed: ListedFile
    started: float = field(default_factory=time.monotonic)
    first_bytes: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until the first byte, of each client by replica."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def download(self, replica: ProxyClient) -> None:
        """Download the file without an HTTP library, which would use more of the CPU than the replicas do."""
        content, position = memoryview(self.listed.built.content), 0
        host, _, port = replica.origin.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET {replica.files_path(self.listed)} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            while position < len(content):
                piece = await reader.read(_PIECE_BYTES)
                if position == 0:
                    self.first_bytes.setdefault(replica.origin, []).append(time.monotonic() - self.started)
                    self.changed.set()
                assert piece, "the connection ended early"
                assert piece == content[position : position + len(piece)]
                position += len(piece)
        finally:
            writer.close()

    async def wait_for_first_bytes(self, count: int) -> None:
        """Wait until `count` clients have their first byte."""
        async with asyncio.timeout(GENEROUS_SECONDS):
            while sum(map(len, self.first_bytes.values())) < count:
                self.changed.clear()
                await self.changed.wait()


async def share_big_file(directory: Path, storage: ReplicaStorage, *, size: int, clients: int) -> int:
    """Download one big file of a slow index with many clients of three replicas; return the number of fetches.

    Each client must have its first byte while the index has sent only the first 8 MiB of the file.
    """
    async with Index() as index, run_cluster(index, directory, storage) as cluster:
        listed = index.add(wheel("big", padding=size))
        for replica in cluster.replicas:
            assert await replica.fetch_listed("big") == {listed.built.filename}
        before = [replica.read_memory("VmRSS") for replica in cluster.replicas]
        stall = index.stall(listed.path, after=_SENT_BYTES, times=None)
        downloads = Downloads(listed)
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(downloads.download(cluster.replicas[number % 3]))
            await downloads.wait_for_first_bytes(clients)
            stall.release.set()
        first = {origin: round(min(seconds), 3) for origin, seconds in downloads.first_bytes.items()}
        slowest = {origin: round(max(seconds), 3) for origin, seconds in downloads.first_bytes.items()}
        grown = [replica.read_memory("VmHWM") - rss for replica, rss in zip(cluster.replicas, before, strict=True)]
        print(f"seconds to the first byte of the first client: {first}; of the last client: {slowest}")
        print(f"growth in MiB: {[each // 2**20 for each in grown]}")
        assert len(slowest) == 3
        assert max(grown) < min(size // 2, 64 * 2**20) + 16 * 2**20, (
            "the memory does not depend on the size of the file"
        )
        return index.count(listed.path)


async def test_a_big_file_of_a_slow_index_streams_from_all_replicas_and_is_fetched_once(
    tmp_path: Path, shared: SharedEngines
) -> None:
    assert await share_big_file(tmp_path, shared, size=64 * 2**20, clients=30) == 1


async def test_replicas_that_share_nothing_fetch_a_big_file_once_each(tmp_path: Path) -> None:
    assert await share_big_file(tmp_path, LOCAL, size=64 * 2**20, clients=30) == 3


@pytest.mark.long
async def test_200_clients_of_a_file_of_256_mib(tmp_path: Path, shared: SharedEngines) -> None:
    assert await share_big_file(tmp_path, shared, size=256 * 2**20, clients=200) == 1
