"""Load generator of the mixed benchmark: many clients that pause between requests, in a separate process.

python mixed_clients.py < PLAN > RESULT   (both are JSON: `Plan` and `Result`)

Each client has its own address (127.0.1.1, 127.0.1.2, …), its own credentials and one keep-alive connection. It sends
a request, reads the response to its end, pauses, and repeats. The pause is between half and one and a half times the
mean pause. The class of each request is random with a fixed seed; each path of the class ``cold`` is used once.

The generator must cost little, because it shares the cores with the proxy: it uses only the standard library, reads all
connections into one buffer, parses only the status and the Content-Length, and runs without the garbage collector. A
response counts as an error if its status is not 200, if its length is not the expected one, or if the connection ends
before the length is reached.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import cast

_BUFFER = memoryview(bytearray(2**18))
"""Receive buffer of all connections. Only the lengths of bodies count, and a head is copied out of it at once."""
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE | re.DOTALL)
_MAX_HEAD_BYTES = 2**16
_MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Plan:
    """Load that the generator creates."""

    port: int
    seconds: float
    """Duration. A client sends no request after it, and finishes the one that it has sent."""
    pause: float
    """Mean pause of a client between a response and its next request, in seconds."""
    timeout: float
    """Maximum duration of a response in seconds. A longer one is an error."""
    accept: str
    authorizations: list[str]
    """``Authorization`` header of each client; their number is the number of clients."""
    shares: dict[str, float]
    """Share of each class in the requests; ``cold`` must be one of them."""
    paths: dict[str, list[str]]
    """Paths by class."""
    lengths: dict[str, int]
    """Content-Length of each response by class."""
    seed: int = 1


@dataclass
class Result:
    """Durations of the responses and errors."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from the request to the last byte of each correct response, by class."""
    errors: int = 0
    examples: list[str] = field(default_factory=list)
    """Descriptions of the first errors."""
    late: list[float] = field(default_factory=list)
    """Seconds by which the generator resumed a client too late, after each pause. Durations contain such delays."""
    elapsed: float = 0.0
    cpu: float = 0.0
    """CPU time of the generator in seconds."""


class Connection(asyncio.BufferedProtocol):
    """Client side of a keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, int]] | None = None
        self._head = b""
        self._status = self._length = self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - part of the protocol
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if self._answer is None:
            self._abort("bytes without a request")
        elif self._missing:
            self._missing -= nbytes
            self._finish_if_complete()
        else:
            self._head += _BUFFER[:nbytes]
            self._read_head()

    def _read_head(self) -> None:
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _MAX_HEAD_BYTES:
                self._abort("head is too long")
            return
        found = _HEAD.match(self._head[: end + 2])
        if found is None:
            self._abort(f"head without status or Content-Length: {self._head[:200]!r}")
            return
        self._status, self._length = int(found[1]), int(found[2])
        self._missing = self._length - (len(self._head) - end - 4)
        self._head = b""
        self._finish_if_complete()

    def _finish_if_complete(self) -> None:
        if self._missing < 0:
            self._abort("more bytes than Content-Length")
        elif not self._missing and self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._length))

    def _abort(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(why))
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"connection ended: {exc}"))

    async def request(self, request: bytes) -> tuple[int, int]:
        """Send a request and return status and length of the response after its last byte.

        Raises:
            ConnectionError: the connection is closed, ends before the last byte, or the response is malformed.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection ended between two requests")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def run(plan: Plan) -> Result:
    """Create the load and return its result.

    Raises:
        ExceptionGroup: the plan has too few cold paths (`RuntimeError`).
    """
    result = Result(seconds={name: [] for name in plan.shares})
    cold = iter(plan.paths["cold"])
    started, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as clients:
        for number in range(len(plan.authorizations)):
            clients.create_task(_Client(plan, number, cold, result).run())
    result.elapsed, result.cpu = time.perf_counter() - started, time.process_time() - cpu
    return result


class _Client:
    def __init__(self, plan: Plan, number: int, cold: Iterator[str], result: Result) -> None:
        self._plan, self._cold, self._result = plan, cold, result
        self._connection: Connection | None = None
        self._random = random.Random(f"{plan.seed} {number}")
        self._address = f"127.0.{1 + number // 250}.{1 + number % 250}"
        headers = f"Host: 127.0.0.1:{plan.port}\r\nAuthorization: {plan.authorizations[number]}\r\n"
        self._headers = f" HTTP/1.1\r\n{headers}Accept: {plan.accept}\r\n\r\n".encode()
        self._classes, self._weights = list(plan.shares), list(plan.shares.values())

    async def run(self) -> None:
        until = time.perf_counter() + self._plan.seconds
        pause = self._random.uniform(0, self._plan.pause)  # so that the clients do not begin together
        while (due := time.perf_counter() + pause) < until:
            await asyncio.sleep(pause)
            self._result.late.append(max(0.0, time.perf_counter() - due))
            await self._take_turn()
            pause = self._random.uniform(0.5, 1.5) * self._plan.pause
        if self._connection is not None:
            self._connection.close()

    async def _take_turn(self) -> None:
        kind = self._random.choices(self._classes, self._weights)[0]
        path = self._random.choice(self._plan.paths[kind]) if kind != "cold" else next(self._cold, None)
        if path is None:
            raise RuntimeError(f"the plan has too few cold paths: {len(self._plan.paths['cold'])}")
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._plan.timeout):
                if self._connection is None:
                    self._connection = await self._connect()
                    started = time.perf_counter()
                status, length = await self._connection.request(f"GET {path}".encode() + self._headers)
        except (OSError, TimeoutError) as error:
            self._fail(f"{path} from {self._address} after {time.perf_counter() - started:.3f} s: {error!r}")
            return
        took = time.perf_counter() - started
        if (status, length) == (200, self._plan.lengths[kind]):
            self._result.seconds[kind].append(took)
        else:
            self._fail(f"{path}: status {status} with {length} bytes, expected {self._plan.lengths[kind]}")

    async def _connect(self) -> Connection:
        connect = asyncio.get_running_loop().create_connection
        return (await connect(Connection, "127.0.0.1", self._plan.port, local_addr=(self._address, 0)))[1]

    def _fail(self, what: str) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._result.errors += 1
        if len(self._result.examples) < _MAX_EXAMPLES:
            self._result.examples.append(what)


def main() -> None:
    gc.disable()
    print(json.dumps(asdict(asyncio.run(run(Plan(**json.load(sys.stdin)))))))


if __name__ == "__main__":
    main()
