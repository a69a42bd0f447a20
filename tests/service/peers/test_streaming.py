"""Tests of a running download that another replica streams: whole, broken, withdrawn and refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from assay.errors import UpstreamUnavailableError
from assay.files.download import WITHHELD_TAIL_BYTES
from assay.policy.language.document import load_policy
from assay.simple.model import Sha256
from tests.service.peers.replicas import (
    collect,
    expect,
    open_client,
    receive,
    run_follower,
    run_holder,
    run_listener,
)
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import ManualClock, fetch_body_or_none, make_configuration, run_test_proxy

BIG = 300_000
"""Bytes of padding, far more than the tail that is withheld."""
BULK = 9 * 2**20
"""Bytes of padding of a file that is received in bulk."""
DENY_FOO = """
version = 1
[[rules]]
name = "not this one"
projects = ["foo"]
deny = "we use another library"
"""


@pytest.mark.parametrize(("padding", "after"), [(BIG, 200_000), (BULK, 5_000_000)], ids=["parsed", "in bulk"])
async def test_a_second_replica_streams_what_the_first_one_has_while_the_index_stalls(
    tmp_path: Path, padding: int, after: int
) -> None:
    async with Index() as index, run_holder(index, tmp_path / "a") as (holder, address):
        listed = index.add(wheel("foo", "1.0", padding=padding))
        stall = index.stall(listed.path, after=after)
        async with run_follower(index, tmp_path / "b", address) as follower:
            path = holder.files_path(listed)
            async with holder.open("GET", path) as first, follower.open("GET", path) as second:
                await stall.reached.wait()
                early = await second.content.readexactly(after - WITHHELD_TAIL_BYTES)
                assert early == listed.built.content[: len(early)]
                stall.release.set()
                assert early + await second.read() == listed.built.content
                assert await first.read() == listed.built.content
            await follower.wait_until_stored(listed)
        assert index.count(listed.path) == 1


async def test_a_small_file_comes_whole_after_its_verification(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path / "a") as (holder, address):
        listed = index.add(wheel("foo", "1.0"))
        stall = index.stall(listed.path, after=10)
        async with run_follower(index, tmp_path / "b", address) as follower:
            path = holder.files_path(listed)
            first = asyncio.create_task(holder.get(path))
            await stall.reached.wait()
            second = asyncio.create_task(follower.get(path))
            await index.wait_for_requests(index.page_path("foo"), 2)
            stall.release.set()
            assert (await first).body == (await second).body == listed.built.content
        assert index.count(listed.path) == 1


@pytest.mark.parametrize("start", [0, 1, 200_000, BIG])
async def test_a_stored_file_comes_from_any_offset(tmp_path: Path, start: int) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        await holder.get(holder.files_path(listed))
        await holder.wait_until_stored(listed)
        assert await receive(client, address, expect(index, listed), start) == (listed.built.content[start:], None)
        assert index.count(listed.path) == 1


async def test_a_running_download_comes_from_any_offset(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        stall = index.stall(listed.path, after=200_000)
        async with holder.open("GET", holder.files_path(listed)):
            await stall.reached.wait()
            for start in (1, 150_000, 299_000):
                async with client.contents(address, expect(index, listed), start) as body:
                    assert (body.start, body.length) == (start, listed.built.size)
            rest = asyncio.create_task(receive(client, address, expect(index, listed), 100_000))
            stall.release.set()
            assert await rest == (listed.built.content[100_000:], None)


async def test_an_offset_beyond_the_end_is_refused(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        listed = index.add(wheel("foo", "1.0"))
        await holder.get(holder.files_path(listed))
        await holder.wait_until_stored(listed)
        file = expect(index, listed)
        assert await receive(client, address, file, listed.built.size - 1) == (listed.built.content[-1:], None)
        _, error = await receive(client, address, file, listed.built.size)
        assert error is not None
        assert error.status == 416


async def test_a_replica_that_ends_leaves_the_download_to_the_next_source_at_the_missing_byte(tmp_path: Path) -> None:
    async with Index() as index, AsyncExitStack() as stack, run_test_proxy(index, tmp_path / "a") as holder:
        address = await stack.enter_async_context(run_listener(holder))
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        stall = index.stall(listed.path, after=200_000)
        async with (
            run_follower(index, tmp_path / "b", address) as follower,
            holder.open("GET", holder.files_path(listed)),
            follower.open("GET", follower.files_path(listed)) as second,
        ):
            await stall.reached.wait()
            early = await second.content.readexactly(200_000 - WITHHELD_TAIL_BYTES)
            await stack.aclose()
            assert early + await second.read() == listed.built.content
        ranges = [each.headers.get("range") for each in index.requests if each.path == listed.path]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert len(early) <= int(ranges[1].removeprefix("bytes=").removesuffix("-")) < listed.built.size


async def test_a_replica_that_ends_breaks_the_body_with_an_error(tmp_path: Path) -> None:
    async with Index() as index, AsyncExitStack() as stack, run_test_proxy(index, tmp_path) as holder:
        address = await stack.enter_async_context(run_listener(holder))
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        stall = index.stall(listed.path, after=200_000)
        async with open_client(address) as client, holder.open("GET", holder.files_path(listed)):
            await stall.reached.wait()
            async with client.contents(address, expect(index, listed), 0) as body:
                first = bytes(await anext(body.chunks))
                await stack.aclose()
                with pytest.raises(UpstreamUnavailableError):
                    await collect(body.chunks)
            assert first == listed.built.content[: len(first)]
            _, error = await receive(client, address, expect(index, listed))
            assert error is not None, "the port is closed"


@pytest.mark.parametrize("is_withdrawn", [True, False])
async def test_the_tail_of_a_file_that_its_index_withdraws_meanwhile_is_never_sent(
    tmp_path: Path, *, is_withdrawn: bool
) -> None:
    clock = ManualClock()
    async with (
        Index() as index,
        run_holder(index, tmp_path, clock=clock) as (holder, address),
        open_client(address, clock=clock) as client,
    ):
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        stall = index.stall(listed.path, after=200_000)
        async with holder.open("GET", holder.files_path(listed)):
            await stall.reached.wait()
            async with client.contents(address, expect(index, listed), 0) as body:
                received = bytearray(await anext(body.chunks))
                if is_withdrawn:
                    index.remove(listed)
                clock.now += timedelta(hours=1)
                stall.release.set()
                error = None
                try:
                    async for chunk in body.chunks:
                        received += chunk
                except UpstreamUnavailableError as raised:
                    error = raised
        if is_withdrawn:
            assert error is not None
            assert len(received) <= listed.built.size - WITHHELD_TAIL_BYTES
            _, error = await receive(client, address, expect(index, listed))
            assert error is not None
            assert error.status == 404
        else:
            assert (bytes(received), error) == (listed.built.content, None)


async def test_a_replica_that_does_not_download_the_file_answers_404_and_sends_no_request(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        listed, other = index.add(wheel("foo", "1.0")), index.add(wheel("bar", "1.0"))
        await holder.get(holder.files_path(other))
        await holder.wait_until_stored(other)
        before = len(index.requests)
        received, error = await receive(client, address, expect(index, listed))
        assert (received, error is not None and error.status) == (b"", 404)
        assert len(index.requests) == before
        assert await receive(client, address, expect(index, other)) == (other.built.content, None)


async def test_bytes_that_the_holder_has_not_hashed_since_its_start_are_not_offered(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path) as earlier:
            await earlier.get(earlier.files_path(listed))
            await earlier.wait_until_stored(listed)
        async with run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
            _, error = await receive(client, address, expect(index, listed))
            assert error is not None
            assert error.status == 404
            await holder.get(holder.files_path(listed))
            assert await receive(client, address, expect(index, listed)) == (listed.built.content, None)
        assert index.count(listed.path) == 1


async def test_a_file_that_no_view_of_the_holder_approves_any_more_is_refused(tmp_path: Path) -> None:
    views = [{"name": "strict", "path": "/strict/", "policy": str(tmp_path / "strict.toml")}]
    (tmp_path / "strict.toml").write_text(DENY_FOO, "utf-8")
    async with Index() as index:
        chosen = make_configuration(index, tmp_path / "assay", views=views)
        holding = run_holder(index, tmp_path, configuration=chosen, policies={"strict": DENY_FOO})
        async with holding as (holder, address), open_client(address) as client:
            listed = index.add(wheel("foo", "1.0"))
            await holder.get(holder.files_path(listed))
            await holder.wait_until_stored(listed)
            assert await receive(client, address, expect(index, listed)) == (listed.built.content, None)
            holder.assembly.gate.policy = load_policy(DENY_FOO, "default.toml")
            received, error = await receive(client, address, expect(index, listed))
            assert (received, error is not None and error.status) == (b"", 403)


async def test_the_digest_of_one_file_does_not_open_another(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        foo, bar = index.add(wheel("foo", "1.0")), index.add(wheel("bar", "1.0"))
        for listed in (foo, bar):
            await holder.get(holder.files_path(listed))
            await holder.wait_until_stored(listed)
        _, error = await receive(client, address, expect(index, foo, sha256=Sha256(bar.built.sha256)))
        assert error is not None
        assert error.status == 403
        unlisted = expect(index, foo, url=f"{index.files_origin}/packages/elsewhere/foo-1.0-py3-none-any.whl")
        _, error = await receive(client, address, unlisted)
        assert error is not None
        assert error.status == 404
        assert await receive(client, address, expect(index, foo)) == (foo.built.content, None)


async def test_a_file_of_unknown_size_waits_until_its_size_is_known(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        listed = index.add(wheel("foo", "1.0", padding=BIG), entry={"size": None})
        stall = index.stall(listed.path)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(fetch_body_or_none(holder, holder.files_path(listed)))
            await stall.reached.wait()
            second = tasks.create_task(receive(client, address, expect(index, listed, size=None)))
            stall.release.set()
        assert first.result() == listed.built.content
        assert second.result() == (listed.built.content, None)
        assert index.count(listed.path) == 1


async def test_a_holder_that_cannot_judge_now_answers_503_and_continues_when_it_can(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        Index() as index,
        run_holder(index, tmp_path, clock=clock) as (holder, address),
        open_client(address, clock=clock) as client,
    ):
        listed = index.add(wheel("foo", "1.0"))
        await holder.get(holder.files_path(listed))
        await holder.wait_until_stored(listed)
        clock.now += timedelta(days=30)
        await index.down()
        received, error = await receive(client, address, expect(index, listed))
        assert (received, error is not None and error.status) == (b"", 503)
        await index.up()
        assert await receive(client, address, expect(index, listed)) == (listed.built.content, None)
