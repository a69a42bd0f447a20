"""Tests of stored files whose bytes the disk has changed: never a complete response with wrong bytes, and healed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from assay.ports import ExpectedFile
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlob, DiskBlobStore
from assay.telemetry.metrics import REGISTRY
from tests.world.index.distributions import BuiltDistribution, sdist
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Reply
from tests.world.proxy.running_proxy import ReadResponse, RunningProxy, run_test_proxy

SIZES = [5_000, 200_000, 3_000_000, 9_000_000]
"""Sizes in bytes: held back whole, small, common, and sent while it is hashed."""
PLACES = ["first", "middle", "last"]
HELD_BACK = 8 * 2**20
"""Size up to which a stored file is sent only after its digest is verified."""


def stored_path(tmp_path: Path, built: BuiltDistribution) -> Path:
    return next((tmp_path / "assay" / "blobs").glob(f"*/{built.sha256}.*"))


def spoil(path: Path, place: str) -> None:
    """Change one byte of a file in place."""
    content = bytearray(path.read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[place]] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def count_corrupt() -> float:
    return REGISTRY.get_sample_value("assay_security_events_total", {"event": "blob-corrupt"}) or 0.0


async def stored(index: Index, tmp_path: Path, size: int) -> ListedFile:
    """Return a file that an earlier process has stored."""
    listed = index.add(sdist("foo", "1.0", padding=size))
    async with run_test_proxy(index, tmp_path) as proxy:
        assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
        await proxy.wait_until_stored(listed)
    return listed


async def complete(proxy: RunningProxy, listed: ListedFile, headers: Mapping[str, str] | None = None) -> bytes | None:
    """Return the body of a complete response; None if the connection was aborted, or if the file was found corrupt.

    A large file is found corrupt before or after its response has begun, depending on which is faster.
    """
    try:
        answer = await proxy.get(proxy.files_path(listed), headers)
    except aiohttp.ClientError:
        return None
    if answer.status == 503:
        assert "is corrupt and is removed; the next request downloads it again" in answer.reason
        return None
    assert answer.status == 200
    return answer.body


@pytest.mark.parametrize("size", SIZES)
async def test_the_first_use_after_a_start_gives_the_stored_bytes_and_the_second_has_an_etag(
    tmp_path: Path, size: int
) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, size)
        async with run_test_proxy(index, tmp_path) as proxy:
            first = await proxy.get(proxy.files_path(listed))
            second = await proxy.get(proxy.files_path(listed))
        assert (first.status, first.body) == (second.status, second.body) == (200, listed.built.content)
        begins_verified = size <= HELD_BACK
        assert ("ETag" in first.headers, "Accept-Ranges" in first.headers) == (begins_verified, begins_verified)
        assert (second.headers["ETag"], second.headers["Accept-Ranges"]) == (f'"{listed.built.sha256}"', "bytes")
        assert index.count(listed.path) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", PLACES)
async def test_a_rotten_byte_never_completes_a_response_and_is_gone_after_it(
    tmp_path: Path, size: int, place: str
) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, size)
        spoil(stored_path(tmp_path, listed.built), place)
        before = count_corrupt()
        async with run_test_proxy(index, tmp_path) as proxy:
            bodies = [await complete(proxy, listed) for _ in range(5)]
            await proxy.wait_until_stored(listed)
        assert bodies[1:] == [listed.built.content] * 4
        # A large file may be cut once, since its bytes were sent while they were hashed.
        assert bodies[0] == listed.built.content or (bodies[0] is None and size > HELD_BACK)
        assert index.count(listed.path) == 2
        assert count_corrupt() == before + 1
        assert stored_path(tmp_path, listed.built).read_bytes() == listed.built.content


@pytest.mark.parametrize("size", [200_000, 9_000_000])
@pytest.mark.parametrize("place", ["intact", *PLACES])
async def test_a_range_of_a_stored_file_is_right_at_the_first_use(tmp_path: Path, size: int, place: str) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, size)
        if place != "intact":
            spoil(stored_path(tmp_path, listed.built), place)
        async with run_test_proxy(index, tmp_path) as proxy:
            answer = await proxy.get(proxy.files_path(listed), {"Range": "bytes=0-99"})
            suffix = await proxy.get(proxy.files_path(listed), {"Range": "bytes=-99"})
        content, etag = listed.built.content, f'"{listed.built.sha256}"'
        assert (answer.status, answer.body, answer.headers["ETag"]) == (206, content[:100], etag)
        assert (suffix.status, suffix.body, suffix.headers["ETag"]) == (206, content[-99:], etag)
        assert index.count(listed.path) == (1 if place == "intact" else 2)


@pytest.mark.parametrize("size", [200_000, 9_000_000])
async def test_a_client_that_has_the_file_gets_304_at_the_first_use(tmp_path: Path, size: int) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, size)
        async with run_test_proxy(index, tmp_path) as proxy:
            headers = {"If-None-Match": f'"{listed.built.sha256}"'}
            answer = await proxy.get(proxy.files_path(listed), headers)
            assert (answer.status, answer.body) == (304, b"")
            other = await proxy.get(proxy.files_path(listed), {"If-None-Match": '"other"'})
            assert (other.status, other.body) == (200, listed.built.content)


@pytest.mark.parametrize("rotten", [False, True])
async def test_a_head_promises_no_etag_until_the_bytes_are_verified(tmp_path: Path, *, rotten: bool) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, 200_000)
        if rotten:
            spoil(stored_path(tmp_path, listed.built), "middle")
        async with run_test_proxy(index, tmp_path) as proxy:
            path = proxy.files_path(listed)
            early = await proxy.head(path)
            got = await proxy.get(path)
            await proxy.wait_until_stored(listed)
            late = await proxy.head(path)
        assert (early.status, early.headers["Content-Length"]) == (200, str(listed.built.size))
        assert "ETag" not in early.headers
        assert got.body == listed.built.content
        assert (late.status, late.headers["ETag"]) == (200, f'"{listed.built.sha256}"')


@pytest.mark.parametrize("size", [200_000, 9_000_000])
@pytest.mark.parametrize("rotten", [False, True])
async def test_concurrent_readers_share_one_check(tmp_path: Path, size: int, *, rotten: bool) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, size)
        if rotten:
            spoil(stored_path(tmp_path, listed.built), "last")
        before = count_corrupt()
        async with run_test_proxy(index, tmp_path) as proxy:
            ranges = [{"Range": f"bytes={start}-{start + 9}"} for start in (0, size // 2)]
            requests = [proxy.get(proxy.files_path(listed), each) for each in (*ranges, *ranges)]
            plain = [complete(proxy, listed) for _ in range(8)]
            answers = await asyncio.gather(*requests, *plain, return_exceptions=True)
            after = await complete(proxy, listed)
        content = listed.built.content
        whole = [answer for answer in answers if isinstance(answer, bytes)]
        parts = [answer for answer in answers if isinstance(answer, ReadResponse) and answer.status == 206]
        assert all(each == content for each in whole), "a response is right or cut"
        assert all(each.body in {content[:10], content[size // 2 : size // 2 + 10]} for each in parts)
        if not rotten or size <= HELD_BACK:
            assert (len(whole), len(parts)) == (8, 4)
        assert after == content
        assert count_corrupt() == before + rotten
        assert index.count(listed.path) == 1 + rotten


@pytest.mark.parametrize("size", [200_000, 9_000_000])
async def test_a_file_that_is_replaced_while_the_proxy_runs_is_hashed_again(tmp_path: Path, size: int) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(sdist("foo", "1.0", padding=size))
        await complete(proxy, listed)
        await proxy.wait_until_stored(listed)
        assert await complete(proxy, listed) == listed.built.content
        path = stored_path(tmp_path, listed.built)
        times = path.stat()
        wrong = path.with_name("new")
        wrong.write_bytes(bytes(path.stat().st_size))
        os.utime(wrong, ns=(times.st_atime_ns, times.st_mtime_ns))
        wrong.replace(path)
        bodies = [await complete(proxy, listed) for _ in range(3)]
        assert bodies[1:] == [listed.built.content] * 2
        assert bodies[0] in {None, listed.built.content}
        assert index.count(listed.path) == 2


async def test_a_file_that_is_replaced_by_an_equal_one_stays(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(sdist("foo", "1.0", padding=200_000))
        await complete(proxy, listed)
        await proxy.wait_until_stored(listed)
        path = stored_path(tmp_path, listed.built)
        copy = path.with_name("new")
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
        assert await complete(proxy, listed) == listed.built.content
        assert index.count(listed.path) == 1


async def test_a_rotten_file_that_the_index_no_longer_has_is_refused_and_not_sent(tmp_path: Path) -> None:
    async with Index() as index:
        listed = await stored(index, tmp_path, 200_000)
        spoil(stored_path(tmp_path, listed.built), "middle")
        async with run_test_proxy(index, tmp_path) as proxy:
            index.inject_fault(listed.path, Reply(404))
            answer = await proxy.get(proxy.files_path(listed))
        assert answer.status == 424
        assert listed.built.content not in answer.body


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_file_that_is_stored_while_it_is_looked_up_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(sdist("foo", "1.0", padding=200_000))
        await proxy.get("/simple/foo/")
        downloads = proxy.assembly.gate.resources.files.cache._downloads
        expected = ExpectedFile(
            index=proxy.assembly.gate.resources.pages.indexes[0],
            url=listed.url,
            sha256=Sha256(listed.built.sha256),
            size=len(listed.built.content),
        )
        first = downloads.join(expected)
        await proxy.wait_until_stored(listed)
        while not downloads.has_just_stored(expected):  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        if not is_held:
            downloads.leave(first)
            while downloads.has_just_stored(expected):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        opened, calls = DiskBlobStore.open, list[Sha256]()

        async def open_late(store: DiskBlobStore, sha256: Sha256) -> DiskBlob | None:
            calls.append(sha256)
            return None if len(calls) == 1 else await opened(store, sha256)

        monkeypatch.setattr(DiskBlobStore, "open", open_late)
        assert await complete(proxy, listed) == listed.built.content
        assert index.count(listed.path) == (1 if is_held else 2), "it is downloaded again"
        if is_held:
            downloads.leave(first)
