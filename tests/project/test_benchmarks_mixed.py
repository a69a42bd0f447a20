"""The load generator of the mixed benchmark: it measures correct responses, and counts every other one as an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from benchmarks.mixed_clients import Plan, Result, run
from benchmarks.report import percentile

BODY = b"x" * 3_000
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3000\r\nVary: Accept\r\n\r\n" + BODY
PLAN = Plan(
    port=0,
    seconds=0.3,
    pause=0.02,
    timeout=5,
    accept="text/plain",
    authorizations=["Basic one", "Basic two"],
    shares={"page": 0.5, "cold": 0.5},
    paths={"page": ["/page/"], "cold": [f"/cold-{number}/" for number in range(200)]},
    lengths={"page": 3_000, "cold": 3_000},
)
Answer = Callable[[bytes, asyncio.StreamWriter], None]


@asynccontextmanager
async def serving(answer: Answer, heads: list[bytes]) -> AsyncIterator[int]:
    """Run a server that calls `answer` for each request, and yield its port."""

    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                answer(head, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections:
            writer.close()
        for writer in connections:
            with suppress(ConnectionError):
                await writer.wait_closed()


async def load(answer: Answer, plan: Plan = PLAN) -> tuple[Result, list[bytes]]:
    heads: list[bytes] = []
    async with serving(answer, heads) as port:
        return await run(replace(plan, port=port)), heads


def send(content: bytes) -> Answer:
    return lambda _head, writer: writer.write(content)


async def test_correct_responses_are_measured_and_each_cold_path_is_requested_once() -> None:
    result, heads = await load(send(GOOD))

    cold = [head.split()[1] for head in heads if b"/cold-" in head]
    assert (result.errors, result.examples) == (0, [])
    assert len(result.seconds["page"]) + len(result.seconds["cold"]) == len(heads) == len(result.late)
    assert min(map(len, result.seconds.values())) > 0
    assert len(cold) == len(set(cold)) == len(result.seconds["cold"])
    assert {head.split(b"Authorization: ")[1].split(b"\r\n")[0] for head in heads} == {b"Basic one", b"Basic two"}


async def test_a_response_in_two_parts_is_one_response() -> None:
    async def later(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.005)
        writer.write(GOOD[20:])

    tasks = set()

    def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD[:20])
        tasks.add(asyncio.create_task(later(writer)))

    result, heads = await load(answer)
    assert result.errors == 0
    assert sum(map(len, result.seconds.values())) == len(heads) > 0
    assert min(min(each) for each in result.seconds.values()) >= 0.005


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(GOOD.replace(b"200 OK", b"503 Service Unavailable"), "status 503 with 3000 bytes", id="status"),
        pytest.param(GOOD.replace(b": 3000", b": 2999")[:-1], "status 200 with 2999 bytes", id="length"),
        pytest.param(GOOD.replace(b": 3000", b": 2999"), "more bytes than Content-Length", id="too long"),
        pytest.param(GOOD.replace(b"Content-Length", b"X-Length"), "without status or Content-Length", id="no length"),
    ],
)
async def test_another_status_another_length_and_a_malformed_response_are_errors(content: bytes, found: str) -> None:
    result, heads = await load(send(content))

    assert result.errors == len(heads) > 0
    assert sum(map(len, result.seconds.values())) == 0
    assert all(found in example for example in result.examples)


async def test_a_connection_that_ends_is_an_error_within_and_between_responses() -> None:
    def end_within(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD[:-1])
        writer.close()

    def end_between(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD)
        writer.close()

    within, heads = await load(end_within)
    assert within.errors == len(heads) > 0
    assert "connection ended" in within.examples[0]

    between, heads = await load(end_between)
    assert sum(map(len, between.seconds.values())) == len(heads)
    assert between.errors > 0
    assert "the connection ended between two requests" in between.examples[0]


async def test_a_response_that_takes_longer_than_the_timeout_is_an_error() -> None:
    result, heads = await load(lambda _head, _writer: None, replace(PLAN, timeout=0.2))
    assert 0 < len(heads) <= result.errors  # on a slow machine, a connection may take longer than that, too
    assert "TimeoutError" in result.examples[0]


async def test_a_plan_with_too_few_cold_paths_ends_the_load() -> None:
    short = replace(PLAN, paths={**PLAN.paths, "cold": ["/cold-0/"]})
    with pytest.raises(ExceptionGroup) as raised:
        await load(send(GOOD), short)
    assert "too few cold paths: 1" in str(raised.value.exceptions[0])


def test_a_percentile_is_the_value_of_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.01, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.99) == 7
