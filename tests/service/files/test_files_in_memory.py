"""Tests of small files in memory: verdict, digest and ranges are the same as for files on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.assembly import Tuning
from assay.files.cache import FileCacheSettings
from assay.policy.language.document import load_policy
from assay.simple.model import Sha256
from assay.store.blob_directory import FileIdentity
from assay.store.blobs import DiskBlobStore
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy

ALL = 'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\n'


def held(proxy: RunningProxy) -> dict[Sha256, bytes]:
    return proxy.assembly.gate.resources.files.cache._memory_cache.snapshot()


async def warmed(proxy: RunningProxy, listed: ListedFile) -> str:
    """Request the file three times, after which it is in memory."""
    path = proxy.files_path(listed)
    for _ in range(4):
        assert (await proxy.get(path)).body == listed.built.content
        await proxy.wait_until_stored(listed)
    assert held(proxy) == {listed.built.sha256: listed.built.content}
    return path


async def test_a_held_file_is_served_as_a_stored_one_is(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=5000))
        path, content = proxy.files_path(listed), listed.built.content
        asked = [{}, {"Range": "bytes=10-19"}, {"Range": "bytes=-5"}, {"Range": f"bytes={len(content)}-"}]
        asked += [{"Range": "bytes=10-"}, {"Range": "bytes=10-", "If-Range": f'"{listed.built.sha256}"'}]
        asked += [{"If-None-Match": f'"{listed.built.sha256}"'}, {"Range": "bytes=7-", "User-Agent": "Wget/1.2"}]
        assert (await proxy.get(path)).status == 200
        await proxy.wait_until_stored(listed)
        stored = []
        for headers in asked:
            contents_of = proxy.assembly.gate.resources.files.cache
            contents_of._requested_once.clear()  # so that it does not enter memory yet
            stored.append(await proxy.get(path, headers))
        assert not held(proxy)
        await warmed(proxy, listed)
        for headers, before in zip(asked, stored, strict=True):
            now = await proxy.get(path, headers)
            assert (now.status, now.reason, now.body) == (before.status, before.reason, before.body), headers
            for name in ("ETag", "Content-Range", "Cache-Control", "Accept-Ranges", "Content-Length", "Content-Type"):
                assert now.headers.get(name) == before.headers.get(name), (headers, name)
            assert now.headers["X-Request-Id"]
        head = await proxy.head(path)
        assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(content)), b"")
        assert index.count(listed.path) == 1


async def test_a_held_file_that_policy_withholds_now_is_refused(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ALL) as proxy:
        listed = index.add(wheel("foo", padding=5000))
        path = await warmed(proxy, listed)
        proxy.assembly.gate.policy = load_policy(
            f'{ALL}\n[[revocations]]\nsha256 = ["{listed.built.sha256}"]\nreason = "INC-1"\n', "policy.toml"
        )
        refused = await proxy.get(path)
        assert (refused.status, b"INC-1" in refused.body) == (403, True)
        proxy.assembly.gate.policy = load_policy(ALL, "policy.toml")
        assert (await proxy.get(path)).body == listed.built.content


async def test_a_held_file_that_its_index_withdraws_is_gone(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed, _ = index.add(wheel("foo", padding=5000)), index.add(wheel("foo", "2.0"))
        path = await warmed(proxy, listed)
        index.remove(listed)
        proxy.clock.now += proxy.assembly.gate.resources.pages.indexes[0].freshness.page * 2
        assert (await proxy.get(path)).status == 404


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_bytes_that_were_spoilt_on_disk_are_neither_held_nor_sent_but_fetched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_noticed: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=5000))
        path = proxy.files_path(listed)
        assert (await proxy.get(path)).status == 200
        await proxy.wait_until_stored(listed)
        stored = next((tmp_path / "assay" / "blobs").glob(f"*/{listed.built.sha256}.*"))
        assert (await proxy.get(path)).body == listed.built.content
        content = bytearray(stored.read_bytes())
        content[100] ^= 1
        stored.write_bytes(content)
        if not is_noticed:  # as if the disk had changed the byte, and not a program
            blobs = proxy.assembly.store.blobs
            assert isinstance(blobs, DiskBlobStore)
            blobs.directory.mark_verified(Sha256(listed.built.sha256), FileIdentity.from_stat(stored.stat()))
        assert (await proxy.get(path)).body == listed.built.content
        assert "blob-corrupt" in {record.getMessage() for record in caplog.records}
        assert index.count(listed.path) == 2
        await proxy.wait_until_stored(listed)
        assert (await proxy.get(path)).body == listed.built.content
        assert index.count(listed.path) == 2


async def test_large_files_are_not_held_and_all_together_have_a_limit(tmp_path: Path) -> None:
    limits = FileCacheSettings(max_bytes=20_000)
    async with Index() as index, run_test_proxy(index, tmp_path, tuning=Tuning(files=limits)) as proxy:
        large = index.add(wheel("large", padding=limits.max_file_bytes + 1))
        small = [index.add(wheel("foo", f"{number}.0", padding=8_000)) for number in range(4)]
        for _ in range(4):
            for listed in (large, *small):
                assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
        assert large.built.sha256 not in held(proxy)
        assert sum(map(len, held(proxy).values())) <= 20_000
        assert len(held(proxy)) == 2
