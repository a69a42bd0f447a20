"""Client that streams a file from the replica that is downloading it.

The connection is plain HTTP on the network of the replicas. Requests are signed, and the bytes are hashed by the
download that receives them, so an attacker on this network can break a transfer but not change a file.

The client follows no redirect, uses no proxy of the environment, keeps no cookies and decodes no content coding. Each
failure is an `UpstreamUnavailableError`, so the download continues from its next source at the first missing byte.

A replica that has sent the end of a file is not asked for this file again for a minute, because the file would be
stored if the bytes had been right. If its body broke off, the replica may only be asked for the rest. Without this
memory, a replica with wrong bytes would spoil each new download, because a download fails if clients may have received
wrong bytes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import UpstreamError, UpstreamUnavailableError
from assay.peers.addresses import PeerAddress, PeerDirectory, Resolve, parse_peer_address, resolve_by_system
from assay.peers.signing import NONCE_BYTES, PeerCredentials, PeerRequest, format_headers, format_target
from assay.ports import BodyStream, ExpectedFile, FileBody
from assay.simple.location import resolve_address
from assay.simple.model import Sha256
from assay.telemetry import tracing
from assay.upstream.bulk_receiver import can_receive_in_bulk, receive_body
from assay.upstream.transport_errors import as_upstream_error

_PEER: Final = "another replica"
"""Name of the other end in error messages. Its address is not for clients."""
_MAX_CONNECTIONS_PER_PEER: Final = 32
_MAX_HEADERS: Final = 32
_MAX_HEADER_BYTES: Final = 2048
_READ_BUFFER_BYTES: Final = 256 * 1024
_AVOIDANCE_SECONDS: Final = 60.0
"""Time in seconds for which a replica is avoided for a file that it has sent, or has sent in part."""
_MAX_BREAKS: Final = 5
"""Number of bodies of a file that may break off before the replica is avoided for the rest of the file too."""
_MAX_AVOIDED: Final = 2000
_MAX_LOGGED_CHARS: Final = 100
"""Maximum number of characters that are logged of an address, which may be any text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTimeouts:
    """Timeouts of a request to another replica, in seconds. Between two reads, the index's read timeout applies."""

    connect: float = 2.0
    """Time to get a connection."""
    head: float = 2.0
    """Further time to the first byte of the response."""


class PeerClient:
    """Client of the other replicas. Implements `assay.ports.Peers`.

    Args:
        credentials: deployment and keys of this replica.
        own_address: ``IP:port`` of this replica's own listener, which is never asked; None if it has none.
        peers: ``host:port`` of each configured peer.
        clock: returns the current time in UTC.
        timeouts: timeouts of a request; None: the defaults.
        avoidance_seconds: time for which a replica is avoided for a file that it has sent.
        resolve: lookup of a host name.

    Raises:
        ValueError: an address or a name is malformed.
    """

    def __init__(
        self,
        *,
        credentials: PeerCredentials,
        own_address: str | None,
        peers: Iterable[str],
        clock: Callable[[], datetime],
        timeouts: PeerTimeouts | None = None,
        avoidance_seconds: float = _AVOIDANCE_SECONDS,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._credentials = credentials
        self._own_address = None if own_address is None else parse_peer_address(own_address)
        self._directory = PeerDirectory(peers, resolve=resolve)
        self._clock = clock
        self._timeouts = timeouts or PeerTimeouts()
        self._breaks = Lru[tuple[PeerAddress, Sha256], int](max_items=_MAX_AVOIDED, max_age_seconds=avoidance_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._receives_in_bulk = False

    async def start(self) -> None:
        """Open the connection pool."""
        self._receives_in_bulk = await can_receive_in_bulk()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=_MAX_CONNECTIONS_PER_PEER),
            headers={"User-Agent": "assay-proxy", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )

    async def close(self) -> None:
        """Close the connection pool. Idempotent."""
        await self._directory.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def contents(self, address: str, file: ExpectedFile, start: int) -> AsyncIterator[FileBody]:
        """Open the bytes of a file, from offset `start`, that another replica is downloading or has just stored.

        Raises:
            UpstreamUnavailableError: the address is not that of a configured replica; or the replica does not answer in
                time, is busy, has no such file any more, does not approve the file, or sends something else.
        """
        peer = await self._check_address(address)
        breaks = self._breaks.get((peer, file.sha256)) or 0
        if breaks >= _MAX_BREAKS or (breaks and not start):
            raise UpstreamUnavailableError(f"{_PEER} has sent this file before, and it was not usable")
        read_seconds = file.index.limits.timeouts.read.total_seconds()
        async with await self._request(peer, file, start, read_seconds) as response:
            size = _check_response(response, file, start)
            async with receive_body(response, _PEER, read_seconds, in_bulk=self._receives_in_bulk) as chunks:
                relayed = self._relay(chunks, peer, file.sha256)
                yield BodyStream(start=start, length=size, chunks=relayed, content_type="", url=file.url)

    async def _relay(
        self, chunks: AsyncIterator[bytes | memoryview], peer: PeerAddress, sha256: Sha256
    ) -> AsyncIterator[bytes | memoryview]:
        """Yield the chunks of a body; convert each failure to `UpstreamUnavailableError`.

        Remember that the body ended or broke off. If the receiver stops before, remember nothing.
        """
        key, has_begun = (peer, sha256), False
        try:
            async for chunk in chunks:
                has_begun = True
                yield chunk
        except UpstreamError as error:
            if has_begun:
                self._breaks.put(key, (self._breaks.get(key) or 0) + 1)
            raise _as_unavailable(error) from error
        self._breaks.put(key, _MAX_BREAKS)

    async def _check_address(self, address: str) -> PeerAddress:
        try:
            peer = parse_peer_address(address)
        except ValueError:
            peer = None
        if peer is None or peer == self._own_address or not await self._directory.contains(peer):
            telemetry.event("peer-unknown", address=address[:_MAX_LOGGED_CHARS])
            raise UpstreamUnavailableError("the address of the replica that downloads the file is not that of a peer")
        return peer

    async def _request(
        self, peer: PeerAddress, file: ExpectedFile, start: int, read_seconds: float
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client was not started")
        target = format_target(file.sha256, resolve_address(file.url, file.url).route)
        signed = PeerRequest(
            deployment=self._credentials.deployment,
            address=str(peer),
            target=target,
            start=start,
            time=int(self._clock().timestamp()),
            nonce=secrets.token_hex(NONCE_BYTES),
        )
        headers = format_headers(signed, self._credentials.keys()[0])
        if (traceparent := tracing.format_traceparent()) is not None:
            headers["traceparent"] = traceparent
        connect = self._timeouts.connect
        timeouts = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect, sock_read=read_seconds)
        try:
            async with asyncio.timeout(connect + self._timeouts.head):
                return await self._session.get(
                    URL(f"http://{peer}{target}", encoded=True),
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeouts,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _as_unavailable(as_upstream_error(error, _PEER)) from error


def _check_response(response: aiohttp.ClientResponse, file: ExpectedFile, start: int) -> int:
    """Return the size of the whole file, in bytes, as the other replica knows it.

    Raises:
        UpstreamUnavailableError: the response is not the rest of the file from `start`, with its length.
    """
    status, length = response.status, response.content_length
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise UpstreamUnavailableError(f"{_PEER} answered {status}", status=status)
    if length is None or "Transfer-Encoding" in response.headers or "Content-Encoding" in response.headers:
        raise UpstreamUnavailableError(f"{_PEER} sent a body without a length, or with a coding")
    size = start + length
    expected = None if not start else f"bytes {start}-{size - 1}/{size}"
    if response.headers.get("Content-Range") != expected or (status == HTTPStatus.PARTIAL_CONTENT) != bool(start):
        raise UpstreamUnavailableError(f"{_PEER} sent another range than requested")
    if size > file.limit or (file.size is not None and size != file.size):
        raise UpstreamUnavailableError(f"{_PEER} has a file of {size} bytes, expected {file.size or file.limit}")
    return size


def _as_unavailable(error: UpstreamError) -> UpstreamUnavailableError:
    return error if isinstance(error, UpstreamUnavailableError) else UpstreamUnavailableError(str(error))
