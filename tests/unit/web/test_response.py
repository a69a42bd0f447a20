"""`BufferedResponse` as a client receives it through a socket: a correct HTTP/1.1 response, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from aiohttp import web

from assay.web.response import BufferedResponse, FixedHeaders

BODIES = [b"", b"x", b"y" * 65_536, b"z" * 3_000_000]


@asynccontextmanager
async def answering(make: Callable[[], BufferedResponse]) -> AsyncIterator[int]:
    """Run a server that sends the response of `make` to every request, and yield its port."""

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return make()

    server = web.Server(answer, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(1)


async def told(port: int, *requests: str) -> bytes:
    """Return all bytes received on one connection until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("".join(requests).encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def taken_apart(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize("body", BODIES)
async def test_head_and_body_arrive_whole(body: bytes) -> None:
    async with answering(lambda: BufferedResponse(headers={"ETag": '"a"', "X-Name": "é"}, body=body)) as port:
        status, headers, found = taken_apart(await told(port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert status == "HTTP/1.1 200 OK"
    assert (headers["ETag"], headers["X-Name"], headers["Connection"]) == ('"a"', "é", "close")
    assert headers["Content-Length"] == str(len(body))
    assert headers["Date"].endswith(" GMT")
    assert found == body


async def test_a_head_request_gets_the_length_and_no_body() -> None:
    async with answering(lambda: BufferedResponse(headers={}, body=b"twelve bytes")) as port:
        _, headers, body = taken_apart(await told(port, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert (headers["Content-Length"], body) == ("12", b"")


async def test_what_is_not_modified_has_neither_body_nor_length() -> None:
    async with answering(lambda: BufferedResponse(headers={"ETag": '"a"'}, status=HTTPStatus.NOT_MODIFIED)) as port:
        asked = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = await told(port, *asked)
    first, second, nothing = answer.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert second.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"Content-Length" not in answer
    assert nothing == b""


async def test_a_connection_takes_many_requests_and_an_old_client_is_told_so() -> None:
    async with answering(lambda: BufferedResponse(headers={}, body=b"ok")) as port:
        keeps = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await told(port, keeps, keeps, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        old = await told(port, "GET / HTTP/1.0\r\n\r\n")
        older = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        kept = await told(port, older, "GET / HTTP/1.0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert b"Connection: close" in old
    assert kept.count(b"HTTP/1.1 200 OK") == 2
    assert kept.count(b"Connection: keep-alive") == 1


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb"])
def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        BufferedResponse(headers={"X-Name": value})._serialize_head(is_http10=False)
    assert b"X-Name: ab\r\n" in BufferedResponse(headers={"X-Name": "ab"})._serialize_head(is_http10=False)


def test_fixed_headers_are_sent_as_any_others() -> None:
    fields, own = {"ETag": '"a"', "X-Name": "é", "Vary": "Accept"}, {"X-Request-Id": "1"}
    fixed = FixedHeaders(fields)
    for status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
        first = BufferedResponse(headers=fixed, body=b"abc", status=status)
        second = BufferedResponse(headers={**fields, **own}, body=b"abc", status=status)
        first.header_fields.update(own)
        assert first._serialize_head(is_http10=False) == second._serialize_head(is_http10=False)
        assert first.headers == second.headers
        assert first.to_plain().headers == second.to_plain().headers
    assert (dict(fixed), len(fixed)) == (fields, 3)
    assert BufferedResponse(headers=fixed).header_fields == {}


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb"])
def test_a_fixed_header_cannot_break_out_of_its_line(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        FixedHeaders({"X-Name": value})
    response = BufferedResponse(headers=FixedHeaders({"X-Name": "ab"}))
    assert b"X-Name: ab\r\n" in response._serialize_head(is_http10=False)
    response.header_fields["X-Own"] = value
    with pytest.raises(ValueError, match="line break"):
        response._serialize_head(is_http10=False)


async def test_its_headers_can_be_read_and_its_length_not_changed() -> None:
    answer = BufferedResponse(headers={"etag": '"a"'}, body=b"abc")
    assert (answer.status, answer.reason, answer.headers["ETag"], answer.content_length) == (200, "OK", '"a"', 3)
    assert not answer.prepared
    with pytest.raises(RuntimeError):
        answer.content_length = 4
    with pytest.raises(RuntimeError):
        await answer.write_eof()


async def test_what_a_slow_client_does_not_take_is_not_buffered_for_him_whole() -> None:
    body = b"z" * 30_000_000
    made: list[BufferedResponse] = []

    def make() -> BufferedResponse:
        made.append(BufferedResponse(headers={}, body=body))
        return made[0]

    async with answering(make) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await reader.read(100)
        await asyncio.sleep(0.2)
        (answer,) = made
        assert answer.has_unsent_bytes
        transport = answer._transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 300_000
        size = 100
        while piece := await asyncio.wait_for(reader.read(1_000_000), 10):
            size += len(piece)
        writer.close()
    assert size > len(body)
    assert not answer.has_unsent_bytes


async def test_an_answer_can_be_the_last_of_its_connection() -> None:
    def make() -> BufferedResponse:
        answer = BufferedResponse(headers={}, body=b"ok")
        answer.force_close()
        return answer

    async with answering(make) as port:
        answer = await told(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer


class TransportWithTls(asyncio.Transport):
    """Transport that encrypts: it has no socket to write to, and each call makes a packet."""

    def __init__(self) -> None:
        super().__init__({"sslcontext": object()})
        self.packets: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.packets.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        parts = [bytes(each) for each in list_of_data]
        assert all(parts), "the result of SSL_write_ex for no data is undefined"
        self.packets.append(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_with_tls_the_head_is_sent_together_with_the_beginning_of_the_body(body: bytes) -> None:
    transport = TransportWithTls()
    BufferedResponse(headers={}, body=body).start_sending(transport)
    status, headers, found = taken_apart(b"".join(transport.packets))
    assert (status, headers["Content-Length"], found) == ("HTTP/1.1 200 OK", str(len(body)), body)
    assert len(transport.packets) == max(1, -(-len(body) // 65_536))
