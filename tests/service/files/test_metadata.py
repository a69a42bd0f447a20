"""Tests of METADATA: that in the wheel counts, whatever the index serves beside it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from assay.files import wheel_metadata
from assay.files.index_metadata import MAX_METADATA_BYTES
from assay.simple.model import NormalizedName
from tests.world.index.distributions import BuiltDistribution, make_raw_file, sdist, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Fault, Redirect, Reply, UntilClose
from tests.world.index.wire_connection import CannedResponse
from tests.world.proxy.running_proxy import RunningProxy, fetch_body_or_none, run_test_proxy

LIE = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nRequires-Dist: evil\n"
FROM_WHEEL = """
version = 1
[[rules]]
name = "its own word"
projects = ["*"]
metadata = "wheel"
"""
WAIVED = """
version = 1
[[rules]]
name = "all"
projects = ["*"]
[[waivers]]
projects = ["foo"]
versions = ">=0"
uploaded-before = 2030-01-01
lifts = ["metadata"]
expires = 2030-01-01
reason = "known"
approved-by = "me"
"""


def lying(index: Index, built: BuiltDistribution) -> ListedFile:
    """Add a wheel whose METADATA differs from the digest that the index gives."""
    said = {"sha256": hashlib.sha256(LIE).hexdigest()}
    listed = index.add(built, entry={"core-metadata": said, "data-dist-info-metadata": said})
    index.serve_fixed(listed.metadata_path, CannedResponse(body=LIE))
    return listed


async def entry(proxy: RunningProxy, filename: str) -> dict[str, Any]:
    page = await proxy.fetch_page("foo")
    found: dict[str, Any] = next(each for each in page["files"] if each["filename"] == filename)
    return found


@pytest.mark.parametrize("padding", [0, 300_000])
async def test_a_wheel_whose_index_lies_about_its_dependencies_never_arrives(
    tmp_path: Path, padding: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "assay.security")
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed, good = lying(index, wheel("foo", padding=padding)), index.add(wheel("foo", "2.0", padding=padding))
        path = proxy.files_path(listed)
        # Until the wheel is downloaded, the index's METADATA is served.
        assert (await proxy.get(f"{path}.metadata")).body == LIE
        assert await proxy.fetch_listed("foo") == {listed.built.filename, good.built.filename}
        answers = await asyncio.gather(*(fetch_body_or_none(proxy, path) for _ in range(3)))
        assert answers == [None] * 3
        assert [record.getMessage() for record in caplog.records].count("metadata-mismatch") == 1
        assert await proxy.fetch_listed("foo") == {good.built.filename}
        assert await proxy.fetch_withheld("foo") == {listed.built.filename: ["metadata-mismatch"]}
        for target in (path, f"{path}.metadata"):
            assert (await proxy.get(target)).status == 403
        assert (await proxy.get(proxy.files_path(good))).body == good.built.content


async def test_what_a_wheel_says_counts_before_it_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed, good = lying(index, wheel("foo")), index.add(wheel("foo", "2.0"))
        known, release = asyncio.Event(), asyncio.Event()
        put_many = proxy.assembly.store.records.put_many

        async def stalled(items: Mapping[str, bytes]) -> None:
            if any(key.startswith("own-metadata:") for key in items):
                known.set()
                await release.wait()
            await put_many(items)

        monkeypatch.setattr(proxy.assembly.store.records, "put_many", stalled)
        first = asyncio.create_task(fetch_body_or_none(proxy, proxy.files_path(listed)))
        await asyncio.wait_for(known.wait(), 10)
        # The fact is known but not on disk yet: the old verdict must not be used.
        assert await fetch_body_or_none(proxy, proxy.files_path(listed)) is None
        assert await proxy.fetch_listed("foo") == {good.built.filename}
        release.set()
        assert await first is None
        assert (await proxy.get(proxy.files_path(good))).body == good.built.content


async def test_a_fact_that_was_lost_is_learned_again_before_the_wheel_is_served(tmp_path: Path) -> None:
    async with Index() as index:
        listed = lying(index, wheel("foo"))
        async with run_test_proxy(index, tmp_path) as proxy:
            assert await fetch_body_or_none(proxy, proxy.files_path(listed)) is None
            await proxy.wait_until_stored(listed)
        async with run_test_proxy(index, tmp_path) as proxy:
            assert await proxy.fetch_listed("foo") == set(), "the fact is recorded"
        (tmp_path / "assay/records/cache.db").unlink()
        async with run_test_proxy(index, tmp_path) as proxy:
            assert await proxy.fetch_listed("foo") == {listed.built.filename}
            for _ in range(2):
                answer = await proxy.get(proxy.files_path(listed))
                assert (answer.status, answer.json()["reasons"][0]["code"]) == (403, "metadata-mismatch")
            assert index.count(listed.path) == 1, "its blob was cached all the time"
            assert await proxy.fetch_listed("foo") == set()


async def test_who_waives_it_gets_the_wheel_and_its_own_metadata(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=WAIVED) as proxy:
        listed = lying(index, wheel("foo", padding=300_000))
        path = proxy.files_path(listed)
        assert (await proxy.get(path)).body == listed.built.content
        said = await entry(proxy, listed.built.filename)
        assert said["core-metadata"] == {"sha256": listed.built.metadata_sha256}
        assert (await proxy.get(f"{path}.metadata")).body == listed.built.metadata


async def test_metadata_is_back_filled_byte_by_byte_for_an_index_without_it(tmp_path: Path) -> None:
    async with Index(content="html") as index:
        listed = index.add(wheel("foo", requires=["bar>=1"]), metadata=False)
        async with run_test_proxy(index, tmp_path) as proxy:
            path = f"{proxy.files_path(listed)}.metadata"
            assert (await proxy.get(path)).status == 404
            assert not (await entry(proxy, listed.built.filename)).get("core-metadata")
            await proxy.get(proxy.files_path(listed))
            await proxy.wait_until_stored(listed)
            said = await entry(proxy, listed.built.filename)
            assert said["core-metadata"] == said["data-dist-info-metadata"] == {"sha256": listed.built.metadata_sha256}
            answer = await proxy.get(path)
            assert (answer.status, answer.body) == (200, listed.built.metadata)
            html = await proxy.get("/simple/foo/", {"Accept": "application/vnd.pypi.simple.v1+html"})
            assert f'data-core-metadata="sha256={listed.built.metadata_sha256}"'.encode() in html.body
        async with run_test_proxy(index, tmp_path) as proxy:
            assert (await proxy.get(path)).body == listed.built.metadata
            # If the document is lost but the fact is not, the document is read from the wheel again.
            await proxy.assembly.store.records.delete(f"metadata:{listed.built.metadata_sha256}")
            assert (await proxy.get(path)).body == listed.built.metadata
        assert index.count(listed.metadata_path) == 0


async def test_an_index_that_promises_metadata_without_a_digest_gets_one(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"), entry={"core-metadata": True, "data-dist-info-metadata": True})
        assert (await entry(proxy, listed.built.filename))["core-metadata"] is True
        await proxy.get(proxy.files_path(listed))
        assert (await entry(proxy, listed.built.filename))["core-metadata"] == {"sha256": listed.built.metadata_sha256}


async def test_a_rule_may_ask_for_the_wheels_own_word(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=FROM_WHEEL) as proxy:
        good, bad = index.add(wheel("foo", "2.0", padding=200_000)), lying(index, wheel("foo"))
        for _ in range(2):
            answer = await proxy.get(f"{proxy.files_path(good)}.metadata")
            assert (answer.status, answer.body) == (200, good.built.metadata)
        assert index.count(good.metadata_path) == 0, "the index is not asked for it"
        assert index.count(good.path) == 1
        answer = await proxy.get(f"{proxy.files_path(bad)}.metadata")
        assert (answer.status, answer.json()["reasons"][0]["code"]) == (403, "metadata-mismatch")
        broken = index.add(make_raw_file("foo-3.0-py3-none-any.whl", b"no archive"), entry={"core-metadata": True})
        proxy.clock.now = proxy.clock.now.replace(month=8)
        assert (await proxy.get(f"{proxy.files_path(broken)}.metadata")).status == 424


HTML_ANSWER = CannedResponse(body=b"<!DOCTYPE html><title>Sign in</title>", headers={"Content-Type": "text/html"})
PROMISES: list[object] = [True, {"sha256": "digest"}]


def promised(index: Index, built: BuiltDistribution, promise: object) -> ListedFile:
    """Add a file whose page promises METADATA: with the right digest, or without one."""
    said = promise if promise is True else {"sha256": hashlib.sha256(built.metadata or LIE).hexdigest()}
    return index.add(built, entry={"core-metadata": said, "data-dist-info-metadata": said})


@pytest.mark.parametrize("promise", PROMISES, ids=["without digest", "with digest"])
@pytest.mark.parametrize(
    "fault",
    [
        Reply(404),
        Reply(410),
        Reply(403),
        Reply(400),
        Redirect("http://elsewhere.example/"),
        Reply(200, HTML_ANSWER.body, HTML_ANSWER.headers),
        Reply(200, b"Metadata-Version: 2.1\nName: bar\nVersion: 1.0\n"),
        Reply(200, b"Metadata-Version: 2.1\nName: foo\nVersion: 2.0\n"),
        Reply(200, b"Metadata-Version: 2.1\nName: foo\nVersion: one\n"),
        pytest.param(Reply(200, b"Metadata-Version: 2.1\nName: foo\nVersion: " + b"1" * 5000), id="5000 digits"),
        Reply(200, b"Name: foo\nVersion: 1.0\n"),
        Reply(200, b"Metadata-Version: 2.1\n\nName: foo\nVersion: 1.0\n"),
        UntilClose(b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"),
    ],
    ids=repr,
)
async def test_metadata_that_the_index_promises_but_does_not_give_is_read_from_the_wheel(
    tmp_path: Path, fault: Fault, promise: object
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = promised(index, wheel("foo", requires=["bar>=1"]), promise)
        index.inject_fault(listed.metadata_path, fault)
        path = proxy.files_path(listed)
        for _ in range(2):
            answer = await proxy.get(f"{path}.metadata")
            assert (answer.status, answer.body) == (200, listed.built.metadata)
        assert (index.count(listed.metadata_path), index.count(listed.path)) == (1, 1)
        assert (await entry(proxy, listed.built.filename))["core-metadata"] == {"sha256": listed.built.metadata_sha256}
        assert (await proxy.get(path)).body == listed.built.content


async def test_metadata_without_a_digest_is_served_if_it_describes_the_file(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = promised(index, wheel("foo"), promise=True)
        said = b"Metadata-Version: 2.1\r\nname: Foo\r\nVersion: 1.0.0\r\n\r\nfoo"
        index.inject_fault(listed.metadata_path, Reply(200, said))
        answer = await proxy.get(f"{proxy.files_path(listed)}.metadata")
        assert (answer.status, answer.body, index.count(listed.path)) == (200, said, 0)


@pytest.mark.parametrize("promise", PROMISES, ids=["without digest", "with digest"])
@pytest.mark.parametrize("is_wheel", [True, False], ids=["wheel", "source archive"])
@pytest.mark.parametrize("content", ["json", "html"])
async def test_metadata_that_is_known_to_fail_is_no_longer_promised(
    tmp_path: Path, promise: object, content: Any, *, is_wheel: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Index(content=content) as index, run_test_proxy(index, tmp_path) as proxy:
        listed = promised(index, wheel("foo") if is_wheel else sdist("foo"), promise)
        good = promised(index, wheel("foo", "2.0"), promise)
        index.inject_fault(listed.metadata_path, Reply(404))
        index.inject_fault(listed.path, Reply(404))
        path = f"{proxy.files_path(listed)}.metadata"
        assert (await entry(proxy, listed.built.filename))["core-metadata"]
        answer = await proxy.get(path)
        assert (answer.status, answer.headers.get("Retry-After")) == (424, None)
        assert f"offers metadata for {listed.built.filename}, but the index has none" in answer.reason
        assert caplog.messages.count("metadata-unavailable") == 1
        assert (await entry(proxy, listed.built.filename)).get("core-metadata", False) is False
        assert (await proxy.get(path)).status == 404
        assert (await proxy.get(f"{proxy.files_path(good)}.metadata")).body == good.built.metadata
        assert (await entry(proxy, good.built.filename))["core-metadata"]
        assert index.count(listed.metadata_path) == 1


async def test_a_promise_that_failed_counts_again_once_the_wheel_is_inspected(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = promised(
            index, wheel("foo", padding=300_000), {"sha256": wheel("foo", padding=300_000).metadata_sha256}
        )
        index.inject_fault(listed.metadata_path, Reply(404))
        proxy.assembly.gate.resources.files._wheel_timeout_seconds = 0.01
        stall, path = index.stall(listed.path, after=100_000), proxy.files_path(listed)
        download = asyncio.create_task(proxy.get(path))
        await stall.reached.wait()
        assert (await proxy.get(f"{path}.metadata")).status == 424
        assert (await entry(proxy, listed.built.filename)).get("core-metadata", False) is False
        stall.release.set()
        assert (await download).body == listed.built.content
        assert (await entry(proxy, listed.built.filename))["core-metadata"] == {"sha256": listed.built.metadata_sha256}
        assert (await proxy.get(f"{path}.metadata")).body == listed.built.metadata


async def test_metadata_that_is_unavailable_at_present_stays_promised(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = promised(index, sdist("foo"), promise=True)
        index.inject_fault(listed.metadata_path, Reply(503))
        assert (await proxy.get(f"{proxy.files_path(listed)}.metadata")).status == 503
        assert (await entry(proxy, listed.built.filename))["core-metadata"] is True


async def test_a_promise_that_the_index_changes_is_believed_again(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = promised(index, sdist("foo"), promise=True)
        index.inject_fault(listed.metadata_path, Reply(404))
        assert (await proxy.get(f"{proxy.files_path(listed)}.metadata")).status == 424
        digest = {"sha256": hashlib.sha256(LIE).hexdigest()}
        listed.entry |= {"core-metadata": digest, "data-dist-info-metadata": digest}
        index.bump_serial("foo")
        index.clear_faults()
        index.serve_fixed(listed.metadata_path, CannedResponse(body=LIE))
        proxy.clock.now = proxy.clock.now.replace(month=8)
        assert (await entry(proxy, listed.built.filename))["core-metadata"] == digest
        assert (await proxy.get(f"{proxy.files_path(listed)}.metadata")).body == LIE


def zipped(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


ONE = ("foo-1.0.dist-info/METADATA", b"Name: foo\n")


@pytest.mark.parametrize(
    ("content", "document"),
    [
        (zipped(ONE, ("foo/__init__.py", b"")), ONE[1]),
        (zipped(("foo/x.dist-info/METADATA", b"no"), ONE), ONE[1]),
        (zipped(ONE, ONE), None),
        (zipped(ONE, ("bar-1.0.dist-info/METADATA", b"")), None),
        (zipped(("foo-1.0.dist-info/RECORD", b"")), None),
        (zipped(("x", b"")), None),
        (zipped((ONE[0], b"\0" * (MAX_METADATA_BYTES + 1))), None),
        (zipped(ONE)[:-30], None),
        (zipped(ONE)[:40], None),
        (b"", None),
        (b"PK\x05\x06", None),
        (b"PK\x05\x06" + b"\xff" * 18, None),
    ],
    ids=range(12),
)
def test_any_bytes_are_a_wheel_or_none(content: bytes, document: bytes | None) -> None:
    fact, found = wheel_metadata._read_wheel(io.BytesIO(content))
    assert found == document
    assert (fact == hashlib.sha256(document).hexdigest()) if document is not None else fact in {"", "-"}


async def test_source_archives_are_not_looked_into(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(make_raw_file("foo-1.0.tar.gz", b"anything"))
        try:
            assert (await proxy.get(proxy.files_path(listed))).body == b"anything"
        except aiohttp.ClientError as error:
            pytest.fail(repr(error))
        resources, name = proxy.assembly.gate.resources, NormalizedName("foo")
        assert await resources.files.wheels.load_facts(resources.pages.require_owner(name), name) == {}
