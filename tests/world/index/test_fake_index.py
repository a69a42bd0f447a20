"""Test index: it does what its docstring says, since other tests depend on it."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from tests.world.index.distributions import BuiltDistribution, make_raw_file, sdist, wheel
from tests.world.index.fake_index import ABSENT, SIMPLE_JSON, Index
from tests.world.index.faulty_server import (
    CannedResponse,
    ChangeHeaders,
    Chunked,
    Corrupt,
    Fault,
    Gzip,
    Hang,
    NoRange,
    Oversize,
    Redirect,
    Refuse,
    Reply,
    Reset,
    Truncate,
    UntilClose,
    WrongLength,
)
from tests.world.index.threaded_index import run_index_in_thread


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def _body(client: aiohttp.ClientSession, url: str, **headers: str) -> bytes:
    async with client.get(url, headers=headers) as answer:
        return await answer.read()


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert wheel("foo", padding=5000).content == wheel("foo", padding=5000).content
    assert sdist("foo", padding=5000).content == sdist("foo", padding=5000).content
    assert wheel("foo", "1.1").sha256 != wheel("foo", "1.0").sha256


def test_padding_makes_a_distribution_at_least_that_big() -> None:
    assert 100_000 < wheel("foo", padding=100_000).size < 102_000
    assert 100_000 < sdist("foo", padding=100_000).size < 120_000


def test_a_wheel_holds_the_metadata_that_the_index_serves() -> None:
    built = wheel("Foo.Bar", "1.0", requires=["baz>=2"], requires_python=">=3.9")
    with zipfile.ZipFile(BytesIO(built.content)) as archive:
        assert archive.read("foo_bar-1.0.dist-info/METADATA") == built.metadata
    assert built.filename == "foo_bar-1.0-py3-none-any.whl"
    assert b"Requires-Dist: baz>=2\n" in (built.metadata or b"")


async def test_a_page_comes_as_json_or_html_by_accept(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"), provenance=b"{}", yanked="bad")
        page = json.loads(await _body(client, f"{index.url}foo/", Accept=SIMPLE_JSON))
        assert page["files"][0]["url"] == listed.url
        assert page["files"][0]["provenance"] == listed.provenance_url
        assert page["files"][0]["upload-time"] == "2024-01-01T00:00:00.000000Z"
        text = (await _body(client, f"{index.url}foo/", Accept="text/html")).decode()
        assert f'href="{listed.url}#sha256={listed.built.sha256}"' in text
        assert 'data-yanked="bad"' in text


async def test_a_page_is_renewed_by_its_etag_until_it_changes(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        async with client.get(f"{index.url}foo/") as first:
            tag, serial = first.headers["ETag"], int(first.headers["X-PyPI-Last-Serial"])
        async with client.get(f"{index.url}foo/", headers={"If-None-Match": tag}) as same:
            assert same.status == 304
        index.yank(listed, "broken")
        async with client.get(f"{index.url}foo/", headers={"If-None-Match": tag}) as changed:
            assert changed.status == 200
            assert int(changed.headers["X-PyPI-Last-Serial"]) > serial


async def test_files_metadata_and_provenance_are_served_and_counted(client: aiohttp.ClientSession) -> None:
    async with Index(separate_files=True) as index:
        listed = index.add(wheel("foo"), provenance=b'{"version": 1}')
        assert index.files_origin != index.origin
        assert await _body(client, listed.url) == listed.built.content
        assert await _body(client, f"{listed.url}.metadata") == listed.built.metadata
        assert await _body(client, listed.provenance_url) == b'{"version": 1}'
        assert index.count(listed.path) == 1
        assert index.count(listed.path, "HEAD") == 0
        await index.wait_for_requests(listed.path)
        await index.wait_until_idle()


async def test_names_are_normalised_by_redirect_and_unknown_ones_are_404(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        index.add(wheel("Foo_Bar"))
        async with client.get(f"{index.url}Foo_Bar/", allow_redirects=False) as moved:
            assert (moved.status, moved.headers["Location"]) == (301, "/simple/foo-bar/")
        async with client.get(f"{index.url}nothing/") as missing:
            assert missing.status == 404
        root = json.loads(await _body(client, index.url, Accept=SIMPLE_JSON))
        assert [project["name"] for project in root["projects"]] == ["Foo_Bar"]


async def test_ranges_follow_if_range(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        listed = index.add(make_raw_file("foo-1.0.tar.gz", b"0123456789"))
        async with client.get(listed.url, headers={"Range": "bytes=4-"}) as part:
            assert (part.status, await part.read()) == (206, b"456789")
            tag = part.headers["ETag"]
        async with client.get(listed.url, headers={"Range": "bytes=4-", "If-Range": tag}) as part:
            assert part.headers["Content-Range"] == "bytes 4-9/10"
        async with client.get(listed.url, headers={"Range": "bytes=4-", "If-Range": '"other"'}) as whole:
            assert (whole.status, await whole.read()) == (200, b"0123456789")
        async with client.get(listed.url, headers={"Range": "bytes=10-"}) as beyond:
            assert beyond.status == 416
        async with client.head(listed.url) as head:
            assert head.headers["Content-Length"] == "10"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Corrupt(0), b"\xcf123456789"),
        (Corrupt(-1), b"012345678\xc6"),
        (Oversize(2), b"0123456789\0\0"),
        (Chunked(), b"0123456789"),
        (UntilClose(), b"0123456789"),
        (NoRange(), b"0123456789"),
        (ChangeHeaders({"ETag": None, "X-Odd": "1"}), b"0123456789"),
    ],
    ids=repr,
)
async def test_bodies_go_wrong_as_told(client: aiohttp.ClientSession, fault: Fault, expected: bytes) -> None:
    async with Index() as index:
        listed = index.add(make_raw_file("foo-1.0.tar.gz", b"0123456789"))
        index.inject_fault(listed.path, fault, times=1)
        assert await _body(client, listed.url, Range="bytes=0-" if isinstance(fault, NoRange) else "") == expected
        assert await _body(client, listed.url) == b"0123456789"


@pytest.mark.parametrize(
    "fault", [Refuse(), Reset(5), Truncate(5), WrongLength(11), WrongLength(4), Chunked(cut=5)], ids=repr
)
async def test_connections_break_as_told_and_are_good_again(client: aiohttp.ClientSession, fault: Fault) -> None:
    async with Index() as index:
        listed = index.add(make_raw_file("foo-1.0.tar.gz", b"0123456789"))
        index.inject_fault(listed.path, fault)
        with pytest.raises(aiohttp.ClientError):
            await _body(client, listed.url)
        index.clear_faults()
        assert await _body(client, listed.url) == b"0123456789"


async def test_gzip_is_real(client: aiohttp.ClientSession) -> None:
    async with Index() as index, aiohttp.ClientSession(auto_decompress=False) as plain:
        listed = index.add(make_raw_file("foo-1.0.tar.gz", b"0123456789"))
        index.inject_fault(listed.path, Gzip())
        assert gzip.decompress(await _body(plain, listed.url)) == b"0123456789"
        assert await _body(client, listed.url) == b"0123456789"


async def test_other_answers_and_redirects_where_they_apply(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        index.inject_fault("*", Reply(429, headers={"Retry-After": "1"}), when=lambda request: request.method == "HEAD")
        index.inject_fault(listed.path, Redirect("/elsewhere"), when=lambda request: request.method == "GET")
        index.serve_fixed("/elsewhere", CannedResponse(body=b"there"))
        async with client.head(listed.url) as busy:
            assert (busy.status, busy.headers["Retry-After"]) == (429, "1")
        assert await _body(client, listed.url) == b"there"


async def test_a_stalled_answer_goes_on_when_released(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        listed = index.add(make_raw_file("foo-1.0.tar.gz", b"0123456789"))
        stall = index.stall(listed.path, after=4)
        async with client.get(listed.url) as answer:
            await stall.reached.wait()
            assert await answer.content.readexactly(4) == b"0123"
            stall.release.set()
            assert await answer.read() == b"456789"
        silent = index.stall(listed.path)
        waiting = asyncio.create_task(_body(client, listed.url))
        await silent.reached.wait()
        assert not waiting.done()
        silent.release.set()
        assert await waiting == b"0123456789"


async def test_a_hanging_answer_ends_when_the_client_leaves() -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        index.inject_fault(listed.path, Hang())
        async with aiohttp.ClientSession() as session:
            waiting = asyncio.create_task(_body(session, listed.url))
            await index.wait_for_requests(listed.path)
            waiting.cancel()
        await index.wait_until_idle()


async def test_a_server_that_is_down_refuses_and_comes_back_on_its_port(client: aiohttp.ClientSession) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        await index.down()
        with pytest.raises(aiohttp.ClientConnectionError):
            await _body(client, listed.url)
        await index.up()
        assert await _body(client, listed.url) == listed.built.content


async def test_entries_can_lie(client: aiohttp.ClientSession) -> None:
    async with Index(text_serials=True) as index:
        index.add(wheel("foo"), entry={"size": 7, "upload-time": ABSENT, "x-new": [1]}, upload_time=None)
        page = json.loads(await _body(client, f"{index.url}foo/", Accept=SIMPLE_JSON))
        assert page["files"][0]["size"] == 7
        assert page["files"][0]["x-new"] == [1]
        assert "upload-time" not in page["files"][0]
        assert isinstance(page["meta"]["_last-serial"], str)


@pytest.mark.clients
@pytest.mark.parametrize("built", [wheel("assay-probe", "1.2"), sdist("assay-probe", "1.2")], ids=["wheel", "sdist"])
def test_pip_installs_what_we_make(tmp_path: Path, built: BuiltDistribution) -> None:
    with run_index_in_thread() as index:
        index.add(built)
        subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pip",
                    "--isolated",
                    "--disable-pip-version-check",
                    "install",
                    "--no-cache-dir",
                ),
                *("--index-url", index.url, "--target", str(tmp_path), "assay-probe==1.2"),
            ],
            check=True,
            capture_output=True,
            env={"PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"},
        )
        assert (tmp_path / "assay_probe" / "__init__.py").read_text() == "__version__ = '1.2'\n"
        assert index.count(index.page_path("assay-probe")) >= 1


@pytest.mark.clients
def test_uv_installs_from_an_html_index_with_files_elsewhere(tmp_path: Path) -> None:
    with run_index_in_thread(lambda: Index(content="html", separate_files=True)) as index:
        listed = index.add(wheel("assay-probe", "1.2", requires=["assay-dep"]))
        index.add(wheel("assay-dep", "3.0"))
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "install", "--no-config", "--no-cache", "--quiet"),
                *("--default-index", index.url, "--target", str(tmp_path), "assay-probe"),
            ],
            check=True,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )
        assert (tmp_path / "assay_dep" / "__init__.py").read_text() == "__version__ = '3.0'\n"
        assert index.count(listed.metadata_path) == 1
