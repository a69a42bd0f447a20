"""Hostile clients on raw sockets: their requests are bounded and refused, and do not affect other clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from assay.gate.judged_page import JudgedPage, RenderedPage
from assay.simple.negotiate import PageFormat
from assay.web.server.connection_server import ServerTimeouts
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import ATTESTED_ONLY_POLICY, SIMPLE_JSON, RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore

SECONDS = 10
"""Time in seconds after which a missing response counts as a hang."""
HOST = b"Host: 127.0.0.1\r\n"


@asynccontextmanager
async def connected(proxy: RunningProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = urlsplit(proxy.origin)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(proxy: RunningProxy, sent: bytes) -> bytes:
    """Return all bytes that the proxy sends on a connection until the connection is closed."""
    async with connected(proxy) as (reader, writer):
        writer.write(sent)
        try:
            async with asyncio.timeout(SECONDS):
                return await reader.read()
        except ConnectionError:
            return b""
        except TimeoutError:
            pytest.fail("the connection stays open")


def statuses(answer: bytes) -> list[int]:
    return [int(line.split(b" ")[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


@pytest.mark.parametrize("sent", [b"", b"GET /simple/ HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_connection_without_a_whole_request_is_cut(tmp_path: Path, sent: bytes) -> None:
    soon = ServerTimeouts(first_request=0.2)
    async with Index() as index, run_test_proxy(index, tmp_path, timeouts=soon) as proxy:
        assert await said(proxy, sent) == b""
        async with connected(proxy) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert statuses(await reader.readuntil(b"alive\n")) == [200]
            await asyncio.sleep(
                0.4
            )  # longer than the timeout: this connection stays open, because it has sent a request
            writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert statuses(await reader.readuntil(b"alive\n")) == [200]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(5000)) + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X\r\n\r\n",
        b"GET /health\0z HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/9.9\r\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(15),
)
async def test_what_is_no_request_is_refused_and_the_connection_with_it(tmp_path: Path, head: bytes) -> None:
    """Bytes after a malformed request are not read as another request, which prevents request smuggling."""
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        answer = await said(proxy, head + b"GET /simple/foo/ HTTP/1.1\r\n" + HOST + b"\r\n")
        assert 400 <= min(statuses(answer), default=400) < 500, answer[:300]
        assert len(statuses(answer)) <= 1
        assert index.count("/simple/foo/") == 0
        assert statuses(await said(proxy, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")) == [200]


async def test_what_is_no_request_is_a_line_of_the_log_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "assay")
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        head = b"GET /healthz HTTP/1.1\r\n" + HOST
        await said(proxy, head + b"\r\n" + head + b"X\x1b[31m\r\n\r\n")
        (line,) = [record for record in caplog.records if record.getMessage() == "request-malformed"]
        assert line.__dict__["fields"]["client"] == "127.0.0.1"
        assert str(line.__dict__["fields"]["error"]).isprintable()
        assert not [record for record in caplog.records if record.exc_info]

        # Counter-check: an error in Assay is still logged with its traceback.
        def broken(*_: object) -> None:
            raise ZeroDivisionError("ours")

        monkeypatch.setattr("assay.web.server.server.send_paced", broken)
        await said(proxy, head + b"Connection: close\r\n\r\n")
        assert [record for record in caplog.records if record.exc_info and record.name == "assay.http"]


async def test_a_request_with_a_body_is_one_request(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        inner = b"GET /simple/foo/ HTTP/1.1\r\n" + HOST + b"\r\n"
        sized = (
            b"GET /healthz HTTP/1.1\r\n"
            + HOST
            + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(inner)
            + inner
        )
        chunked = b"POST /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked += b"%x\r\n" % len(inner) + inner + b"\r\n0\r\n\r\n"
        for sent in (sized, chunked):
            assert len(statuses(await said(proxy, sent))) == 1
        assert index.count("/simple/foo/") == 0


PATHS = [
    "/files/{host}/..%2f..%2fetc/passwd",
    "/files/{host}/../../etc/passwd",
    "/files/{host}/%2e%2e/%2e%2e/etc/passwd",
    "/files/{host}/packages%2Ffoo-1.0-py3-none-any.whl",
    "/files/{host}/packages/foo-1.0-py3-none-any.whl%00.txt",
    "/files/{host}/packages/%00foo-1.0-py3-none-any.whl",
    "/files/{host}/packages\\foo-1.0-py3-none-any.whl",
    "/files/{host}//etc/passwd",
    "/files/169.254.169.254/latest/meta-data/foo-1.0-py3-none-any.whl",
    "/files/user:secret@{host}/foo-1.0-py3-none-any.whl",
    "/files/{host}:80/foo-1.0-py3-none-any.whl",
    "/files/http:/{host}/foo-1.0-py3-none-any.whl",
    "/files/%0d%0aX-Evil:%201/foo-1.0-py3-none-any.whl",
    "/files/{host}/%c0%ae%c0%ae/foo-1.0-py3-none-any.whl",
    "/files/{host}/%ff%fe-1.0.tar.gz",
    "/simple/..%2f..%2fetc/",
    "/simple/%00/",
    "/simple/foo%0d%0aX-Evil:1/",
    "/simple/.../",
    "/simple/" + "a" * 5000 + "/",
    "/integrity/foo/1.0/..%2f..%2fpasswd/provenance",
    "/integrity/%00/%00/%00/provenance",
    "/integrity/foo/" + "1" * 5000 + "/foo.whl/provenance",
    "/attestations/..%2f..%2fpasswd?project=foo",
    "/attestations/" + "0" * 64 + "?project=..%2f..%2fetc",
    "/attestations/" + "0" * 64 + "?project=%0d%0aX-Evil:%201",
    "/attestations/" + "0" * 64 + "?project=" + "a" * 5000,
    "/attestations/" + "0" * 5000,
    "//simple/foo/",
    "/simple//foo/",
    "/%",
    "/simple/%",
    "*",
]


@pytest.mark.parametrize("path", PATHS)
async def test_paths_that_lead_elsewhere_lead_nowhere(tmp_path: Path, path: str) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        target = path.format(host=index.files_host)
        answer = await said(proxy, b"GET " + target.encode() + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert statuses(answer) in ([404], [400], [403], [301], []), answer[:300]
        assert not any(line.startswith(b"X-Evil") for line in answer.split(b"\r\n"))
        assert b"root:" not in answer
        assert {request.path for request in index.requests} <= {"/simple/foo/"}, "nothing else is requested"


async def test_a_version_of_thousands_of_digits_is_a_version_that_does_not_exist(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        for version in ("1" * 5000, "2.0"):
            answer = await proxy.get(f"/integrity/foo/{version}/foo-1.0-py3-none-any.whl/provenance")
            assert answer.status == 404
            assert (await proxy.get(f"/project/foo?version={version}")).status == 200


@pytest.mark.parametrize(
    "query", ["format=%0d%0aX-Evil:%201", "%0d%0aX-Evil:%201", "a=b%00", "x" * 5000, "format=" + "&format=" * 500]
)
async def test_a_query_writes_no_header(tmp_path: Path, query: str) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        for path in ("/simple/Foo/", "/simple/foo", "/simple/foo/", "/simple"):
            answer = await proxy.get(f"{path}?{query}")
            assert answer.status in {200, 301}
            assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "x" * 8000},
        {"Accept": ",".join(["application/json;q=" + "9" * 50] * 60)},
        {"Accept": "text/html;" * 500},
        {"Accept-Encoding": "gzip;q=nan, *;q=inf"},
        {"If-None-Match": '"' * 4000},
        {"If-None-Match": ",".join(['W/"x"'] * 1000)},
        {"Host": "evil.example\t"},
        {"Host": "a" * 4000},
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"},
        {"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(1000))},
        {"Range": "bytes=" + "9" * 5000 + "-"},
        {"If-Range": '"' + "x" * 5000 + '"', "Range": "bytes=0-1"},
    ],
    ids=range(12),
)
async def test_headers_of_any_kind_are_answered(tmp_path: Path, headers: dict[str, str]) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"))
        for path in ("/simple/foo/", proxy.files_path(listed), "/simple/"):
            answer = await proxy.get(path, headers)
            assert answer.status in {200, 400, 416}
            assert b"evil.example" not in answer.body


async def test_a_client_that_reads_nothing_holds_up_nobody(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=20_000_000))
        path = proxy.files_path(listed)
        async with connected(proxy) as (_, writer), connected(proxy) as (_, other):
            for each in (writer, other):
                each.write(b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n")
                await each.drain()
            assert (await proxy.get(path)).body == listed.built.content
            assert (await proxy.get("/healthz")).status == 200
        assert index.count(listed.path) == 1


async def test_invented_ports_of_an_allowed_host_do_not_have_pages_rendered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigstore, rendered, render = PrivateSigstore(seed=1), list[str | None](), JudgedPage._render_uncached

    def counting(page: JudgedPage, form: PageFormat, origin: str | None, coding: str) -> RenderedPage:
        rendered.append(origin)
        return render(page, form, origin, coding)

    monkeypatch.setattr(JudgedPage, "_render_uncached", counting)
    policy = ATTESTED_ONLY_POLICY
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy, sigstore=sigstore) as proxy:
        built = wheel("foo", "1.0")
        provenance = sigstore.provenance(built.filename, built.sha256)
        index.add(built, upload_time=SIGNING_TIME, provenance=provenance)

        async def fetch_provenance_url(host: str | None) -> str | None:
            answer = await proxy.get("/simple/foo/", {"Accept": SIMPLE_JSON} | ({"Host": host} if host else {}))
            (entry,) = answer.json()["files"]
            url = entry.get("provenance")
            assert url is None or isinstance(url, str)
            return url

        own = await fetch_provenance_url(None)
        assert own is not None
        assert own.startswith(proxy.origin)
        for port in range(20_000, 20_100):
            url = await fetch_provenance_url(f"localhost:{port}")
            assert (url is None) == (port > 20_000)
        assert await fetch_provenance_url(None) == own
        assert await fetch_provenance_url("localhost") is not None
        assert len(rendered) == 4, "for the port of the proxy, the first other one, none, and the default one"
