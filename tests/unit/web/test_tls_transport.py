"""`TlsTransport` between a protocol and clients with TLS, over sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from assay.web.tls_transport import RECORD_BYTES, TlsTransport, create_receive_buffer
from tests.world.clients.raw_client import TIMEOUT_SECONDS
from tests.world.proxy.certificate_authority import CertificateAuthority

_RECORD_HEAD_BYTES = 5
_APPLICATION_DATA = 23


class Recorder(asyncio.Protocol):
    """Protocol that records what its transport calls."""

    def __init__(self) -> None:
        self.transport: TlsTransport | None = None
        self.received = bytearray()
        self.pauses = 0
        self.is_paused = False
        self.has_ended = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.has_ended = True

    def pause_writing(self) -> None:
        self.pauses += 1
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    @property
    def connected(self) -> TlsTransport:
        assert self.transport is not None
        return self.transport


class Client:
    """Client whose TLS records a test can see, divide and change."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self.plain = plain
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.records: list[int] = []
        """Types of the records that were received."""
        self._unparsed = b""

    async def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self.receive()
            else:
                await self.flush()
                return

    def encrypt(self, data: bytes) -> bytes:
        """Return one or more records with `data`."""
        self.tls.write(data)
        return self.outgoing.read()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.get_running_loop().sock_sendall(self.plain, data)

    async def flush(self) -> None:
        await self.send(self.outgoing.read())

    async def receive(self) -> None:
        """Receive some bytes; raise ConnectionError at the end of the connection."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            found = await asyncio.get_running_loop().sock_recv(self.plain, 2**20)
        if not found:
            raise ConnectionResetError
        self.incoming.write(found)
        self._unparsed += found
        while len(self._unparsed) >= _RECORD_HEAD_BYTES:
            length = _RECORD_HEAD_BYTES + int.from_bytes(self._unparsed[3:5])
            if len(self._unparsed) < length:
                break
            self.records.append(self._unparsed[0])
            self._unparsed = self._unparsed[length:]

    async def read(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer if the server closes the connection by an alert."""
        found = b""
        while len(found) < count:
            try:
                part = self.tls.read(count - len(found))
            except ssl.SSLWantReadError:
                await self.receive()
                continue
            if not part:
                break
            found += part
        return found


class Connections:
    """Connections of clients to `Recorder` protocols."""

    def __init__(self, tmp_path: Path) -> None:
        authority = CertificateAuthority.create()
        authority.issue(tmp_path / "tls.crt", tmp_path / "tls.key")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
        self.trusting = ssl.create_default_context(cafile=authority.write_certificate(tmp_path / "ca.pem"))
        self.trusting.check_hostname = False
        self._buffer = create_receive_buffer()
        self._open: list[socket.socket | TlsTransport] = []

    async def accept(self) -> tuple[Recorder, TlsTransport, socket.socket]:
        """Return the protocol and the transport of a new connection before its handshake, and the client's socket."""
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
        make = partial(TlsTransport, self.context, Recorder, self._buffer)
        _, tls = await asyncio.get_running_loop().connect_accepted_socket(make, ours)
        self._open += [tls, theirs]
        protocol = tls.get_protocol()
        assert isinstance(protocol, Recorder)
        return protocol, tls, theirs

    async def connect(self) -> tuple[Recorder, Client]:
        """Return the protocol of a new connection after its handshake, and its client."""
        protocol, tls, theirs = await self.accept()
        client = Client(theirs, self.trusting)
        await client.shake_hands()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await tls.handshake
        return protocol, client

    def close(self) -> None:
        for each in self._open:
            if isinstance(each, TlsTransport):
                each.abort()
            else:
                each.close()


@pytest.fixture
async def connections(tmp_path: Path) -> AsyncIterator[Connections]:
    found = Connections(tmp_path)
    yield found
    found.close()
    await asyncio.sleep(0)


async def until_received(protocol: Recorder, count: int) -> bytes:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(protocol.received) < count:  # noqa: ASYNC110 - the protocol under test has no event for it
            await asyncio.sleep(0.001)
    return bytes(protocol.received)


@asynccontextmanager
async def reading_everything(client: Client) -> AsyncIterator[asyncio.Task[bytes]]:
    task = asyncio.create_task(client.read(10**9))
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError, ConnectionError, ssl.SSLError):
        await task


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, RECORD_BYTES, RECORD_BYTES + 1, 3_000_000])
async def test_bytes_arrive_whole_in_both_directions(
    connections: Connections, version: ssl.TLSVersion, size: int
) -> None:
    connections.context.maximum_version = connections.context.minimum_version = version
    protocol, client = await connections.connect()
    data = bytes(number % 251 for number in range(size))
    sending = asyncio.create_task(client.send(client.encrypt(data)))
    assert await until_received(protocol, size) == data
    await sending
    protocol.connected.write(data)
    protocol.connected.writelines([data[:1], b"", memoryview(data)[1:]])
    assert await client.read(2 * size) == 2 * data
    assert protocol.connected.get_extra_info("ssl_object").version() == client.tls.version()
    assert protocol.connected.get_extra_info("cipher") == client.tls.cipher()
    assert protocol.connected.get_extra_info("sslcontext") is connections.context
    assert protocol.connected.get_extra_info("nothing", "default") == "default"


async def test_bytes_that_arrive_one_by_one_and_records_that_arrive_together_are_read(connections: Connections) -> None:
    protocol, client = await connections.connect()
    for each in client.encrypt(b"first"):
        await client.send(bytes([each]))
        await asyncio.sleep(0)
    assert await until_received(protocol, 5) == b"first"
    together = client.encrypt(b"second") + client.encrypt(b"third") + client.encrypt(b"fourth")
    await client.send(together[:-3])
    assert await until_received(protocol, 16) == b"firstsecondthird"
    await client.send(together[-3:])
    assert await until_received(protocol, 22) == b"firstsecondthirdfourth"


@pytest.mark.parametrize(
    ("sizes", "records"),
    [([400, 9000], 1), ([400, 100_000], 7), ([RECORD_BYTES, 1], 2), ([RECORD_BYTES + 1, 400, 9000], 2), ([0, 9], 1)],
)
async def test_several_parts_take_as_few_records_as_possible(
    connections: Connections, sizes: list[int], records: int
) -> None:
    protocol, client = await connections.connect()
    protocol.connected.write(b"ready")
    assert await client.read(5) == b"ready"
    client.records.clear()
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    protocol.connected.writelines(parts)
    assert await client.read(sum(sizes)) == b"".join(parts)
    assert client.records == records * [_APPLICATION_DATA]


async def test_the_caller_may_change_its_buffer_after_a_write(connections: Connections) -> None:
    protocol, client = await connections.connect()
    buffer = bytearray(b"a" * 100_000)
    async with reading_everything(client) as reading:
        for letter in b"abc":
            buffer[:] = bytes([letter]) * len(buffer)
            protocol.connected.write(memoryview(buffer))
        protocol.connected.close()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await reading == b"".join(letter * len(buffer) for letter in (b"a", b"b", b"c"))


async def test_a_paused_protocol_gets_nothing_until_it_reads_on(connections: Connections) -> None:
    protocol, client = await connections.connect()
    protocol.connected.pause_reading()
    await client.send(client.encrypt(b"kept"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert protocol.received == b""
    assert not protocol.connected.is_reading()
    protocol.connected.resume_reading()
    assert await until_received(protocol, 4) == b"kept"
    assert protocol.connected.is_reading()


async def test_a_protocol_that_pauses_while_it_receives_gets_the_rest_later(connections: Connections) -> None:
    protocol, client = await connections.connect()

    def receive_and_pause(data: bytes) -> None:
        protocol.received.extend(data)
        protocol.connected.pause_reading()

    protocol.data_received = receive_and_pause  # type: ignore[method-assign]
    protocol.connected.set_protocol(protocol)
    await client.send(client.encrypt(b"one") + client.encrypt(b"two"))
    assert await until_received(protocol, 3) == b"one"
    for _ in range(10):
        await asyncio.sleep(0)
    assert protocol.received == b"one"
    protocol.connected.resume_reading()
    assert await until_received(protocol, 6) == b"onetwo"


async def test_a_client_that_does_not_read_pauses_the_protocol_and_is_not_read(connections: Connections) -> None:
    protocol, client = await connections.connect()
    while not protocol.is_paused:
        protocol.connected.write(b"x" * 100_000)
    unsent = protocol.connected.get_write_buffer_size()
    assert unsent > 0
    await client.send(client.encrypt(b"request"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert protocol.received == b""
    async with reading_everything(client):
        assert await until_received(protocol, 7) == b"request"
    assert (protocol.is_paused, protocol.pauses) == (False, 1)
    assert protocol.connected.get_write_buffer_size() < unsent


async def test_a_closed_connection_sends_everything_and_ends_with_an_alert(connections: Connections) -> None:
    protocol, client = await connections.connect()
    protocol.connected.write(b"x" * 2_000_000)
    protocol.connected.close()
    protocol.connected.close()
    assert protocol.connected.is_closing()
    protocol.connected.write(b"ignored")
    assert await client.read(10**9) == b"x" * 2_000_000, "read returns at the alert"
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await protocol.lost is None


async def test_an_aborted_connection_ends_without_an_alert(connections: Connections) -> None:
    protocol, client = await connections.connect()
    protocol.connected.abort()
    with pytest.raises(ConnectionError):
        await client.read(1)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await protocol.lost is None


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_disconnects_is_noticed(connections: Connections, politely: bool) -> None:
    protocol, client = await connections.connect()
    protocol.connected.write(b"ready")
    assert await client.read(5) == b"ready"
    await client.send(client.encrypt(b"last"))
    if politely:
        with suppress(ssl.SSLWantReadError):
            client.tls.unwrap()
        await client.flush()
    else:
        client.plain.close()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await protocol.lost is None
    assert (bytes(protocol.received), protocol.has_ended) == (b"last", True)


async def test_a_changed_record_is_not_read_and_ends_the_connection(connections: Connections) -> None:
    protocol, client = await connections.connect()
    record = bytearray(client.encrypt(b"right") + client.encrypt(b"wrong"))
    record[-1] ^= 1
    await client.send(bytes(record))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await protocol.lost is None
    assert protocol.received == b"right"
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        await client.read(1)


async def test_a_failed_handshake_connects_no_protocol(connections: Connections) -> None:
    protocol, tls, plain = await connections.accept()
    await asyncio.get_running_loop().sock_sendall(plain, b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(ssl.SSLError):
            await tls.handshake
    assert protocol.transport is None
    assert not protocol.lost.done()
    assert tls.is_closing()


async def test_a_client_that_leaves_during_the_handshake_fails_it(connections: Connections) -> None:
    protocol, tls, plain = await connections.accept()
    plain.close()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(ConnectionError):
            await tls.handshake
    assert protocol.transport is None
