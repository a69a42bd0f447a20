"""Addresses of the other replicas: a replica is asked only if a configured name resolves to its address.

The address of the replica that holds a flight comes from the database, which a hostile client of the database could
write. Requests therefore go only to addresses that the operator's own names resolve to, at the configured port.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from assay.caching.lru import Lru
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.indexes import split_host
from assay.upstream.addresses import is_link_local

_LOOKUP_INTERVAL_SECONDS: Final = 3.0
"""Time in seconds for which the addresses of a name are kept, also if the lookup failed."""
_LOOKUP_TIMEOUT_SECONDS: Final = 2.0
"""Maximum time in seconds that a request waits for a lookup. A lookup that takes longer continues, and no second one of
the same name begins meanwhile."""
_MAX_ADDRESSES: Final = 256
"""Maximum number of addresses of a name that count."""

IPAddress: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""Function that returns the addresses of a host name, or raises OSError."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Address and port of a replica's listener for other replicas."""

    ip: IPAddress
    port: int

    def __str__(self) -> str:
        """Return ``IP:port``, with brackets around an IPv6 address. Equal addresses have equal texts."""
        return f"[{self.ip}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{self.ip}:{self.port}"


def parse_peer_name(text: str) -> tuple[str, int]:
    """Split ``host:port`` into the host, without brackets, and the port.

    Raises:
        ValueError: `text` is not ``host:port``.
    """
    host, port = split_host(text)
    if port is None:
        raise ValueError("host:port, with a port from 1 to 65535")
    return host.strip("[]"), port


def parse_peer_address(text: str) -> PeerAddress:
    """Return the address that ``IP:port`` names.

    Raises:
        ValueError: `text` is not ``IP:port``, or the address is one that no replica can have (link-local, multicast,
            unspecified).
    """
    host, port = parse_peer_name(text)
    ip = ip_address(host)
    if is_link_local(host) or ip.is_multicast or ip.is_unspecified:
        raise ValueError("an address of a replica")
    return PeerAddress(ip, port)


async def resolve_by_system(host: str) -> Sequence[str]:
    """Return the addresses of a host name, as the operating system resolves it, in a thread.

    Raises:
        OSError: the lookup failed.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class PeerDirectory:
    """Directory of the addresses that the configured names resolve to.

    Args:
        names: ``host:port`` of each configured peer. The name of a headless service has the addresses of all replicas.
        resolve: lookup of a host name.
        interval_seconds: time for which a result is kept.
        timeout_seconds: maximum time that `contains` waits for a lookup.

    Raises:
        ValueError: a name is not ``host:port``.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        resolve: Resolve = resolve_by_system,
        interval_seconds: float = _LOOKUP_INTERVAL_SECONDS,
        timeout_seconds: float = _LOOKUP_TIMEOUT_SECONDS,
    ) -> None:
        self._names = tuple(dict.fromkeys(map(parse_peer_name, names)))
        self._resolve = resolve
        self._timeout_seconds = timeout_seconds
        self._known = Lru[str, frozenset[IPAddress]](
            max_items=max(1, len(self._names)), max_age_seconds=interval_seconds
        )
        self._lookups = SingleFlight[str, frozenset[IPAddress]]("resolve peers")

    async def contains(self, address: PeerAddress) -> bool:
        """Return whether a configured name with the port of `address` resolves to it."""
        hosts = [host for host, port in self._names if port == address.port]
        if any(address.ip == _parse_ip(host) for host in hosts):
            return True
        for host in hosts:
            if _parse_ip(host) is None and address.ip in await self._find_addresses(host):
                return True
        return False

    async def _find_addresses(self, host: str) -> frozenset[IPAddress]:
        if (known := self._known.get(host)) is not None:
            return known
        with suppress(StillRunningError):
            return await self._lookups.join(host, lambda: self._look_up(host), timeout_seconds=self._timeout_seconds)
        return frozenset()

    async def _look_up(self, host: str) -> frozenset[IPAddress]:
        try:
            found = await self._resolve(host)
        except (OSError, ValueError):  # ValueError: the name has a label that is too long
            found = ()
        parsed = (_parse_ip(each) for each in found[:_MAX_ADDRESSES])
        addresses = frozenset(each for each in parsed if each is not None)
        self._known.put(host, addresses)
        return addresses

    async def close(self) -> None:
        """Stop waiting for lookups."""
        await self._lookups.close()


def _parse_ip(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
