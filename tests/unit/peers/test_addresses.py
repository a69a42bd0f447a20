"""Tests of the addresses: which ones are replicas, and that lookups are rare and never awaited for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from assay.peers.addresses import PeerDirectory, parse_peer_address, parse_peer_name, resolve_by_system


class Names:
    """Lookups of a test: addresses by name, or an error; a closed gate makes them wait."""

    def __init__(self, **known: Sequence[str] | Exception) -> None:
        self.known = known
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await self.gate.wait()
        found = self.known[host]
        if isinstance(found, Exception):
            raise found
        return found


@asynccontextmanager
async def open_directory(
    names: Names, *peers: str, interval: float = 60, patience: float = 60
) -> AsyncIterator[PeerDirectory]:
    directory = PeerDirectory(peers, resolve=names.resolve, interval_seconds=interval, timeout_seconds=patience)
    try:
        yield directory
    finally:
        await directory.close()


@pytest.mark.parametrize("address", ["10.0.0.2:8081", "[fd00::2]:8081", "127.0.0.1:1"])
def test_an_address_is_an_ip_and_a_port(address: str) -> None:
    assert str(parse_peer_address(address)) == address


@pytest.mark.parametrize(
    "address",
    [
        "", "10.0.0.2", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:65536", "replica:8081", "10.0.0.2:8081/x", "u@10.0.0.2:1",
        "fd00::2", "[fd00::2]", "169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.169.254]:80", "0.0.0.0:80",
        "224.0.0.1:80", "10.0.0.2:8081\r\nX: y",
    ],
)  # fmt: skip
def test_anything_else_is_no_address_of_a_replica(address: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several modules, with several messages
        parse_peer_address(address)


def test_a_name_has_a_port() -> None:
    assert parse_peer_name("Assay-Peers:8081") == ("assay-peers", 8081)
    with pytest.raises(ValueError, match="port"):
        parse_peer_name("assay-peers")


async def test_only_addresses_of_a_configured_name_at_its_port_are_peers() -> None:
    names = Names(peers=["10.0.0.2", "10.0.0.3", "not an address", "fd00::2"])
    async with open_directory(names, "peers:8081", "10.0.0.9:9000") as directory:
        for address, is_peer in {
            "10.0.0.2:8081": True,
            "10.0.0.3:8081": True,
            "[fd00::2]:8081": True,
            "10.0.0.4:8081": False,
            "10.0.0.2:8082": False,
            "10.0.0.9:9000": True,
            "10.0.0.9:8081": False,
            "10.0.0.2:9000": False,
        }.items():
            assert await directory.contains(parse_peer_address(address)) is is_peer, address
    assert names.asked == ["peers"], "one lookup serves them all, and an IP address needs none"


async def test_a_name_is_looked_up_again_after_the_interval_and_a_failure_counts_as_no_address() -> None:
    names = Names(peers=["10.0.0.2"])
    async with open_directory(names, "peers:8081", interval=0) as directory:
        address = parse_peer_address("10.0.0.2:8081")
        assert await directory.contains(address)
        names.known["peers"] = OSError("no such name")
        assert not await directory.contains(address)
        names.known["peers"] = UnicodeError("label too long")
        assert not await directory.contains(address)
        names.known["peers"] = ["10.0.0.2"]
        assert await directory.contains(address)
    assert len(names.asked) == 4


async def test_a_lookup_that_hangs_delays_a_request_for_a_limited_time_and_is_the_only_one() -> None:
    names = Names(peers=["10.0.0.2"])
    names.gate.clear()
    async with open_directory(names, "peers:8081", patience=0.01) as directory:
        address = parse_peer_address("10.0.0.2:8081")
        assert not await directory.contains(address)
        assert not await directory.contains(address)
        assert names.asked == ["peers"]
        names.gate.set()
        await directory._lookups.wait_until_idle()
        assert await directory.contains(address), "its result counts once it is there"
    assert names.asked == ["peers"]


async def test_a_name_with_very_many_addresses_counts_with_the_first_ones() -> None:
    names = Names(peers=[f"10.0.{number // 256}.{number % 256}" for number in range(1000)])
    async with open_directory(names, "peers:8081") as directory:
        assert await directory.contains(parse_peer_address("10.0.0.255:8081"))
        assert not await directory.contains(parse_peer_address("10.0.1.0:8081"))


async def test_the_system_resolves_loopback() -> None:
    assert {"127.0.0.1", "::1"} & set(await resolve_by_system("localhost"))
