"""Connection limit: slots are counted, shared between addresses, and released once."""

from __future__ import annotations

import resource

import pytest

from assay.web.server.connection_limit import (
    PROBE_SLOTS,
    ConnectionLimit,
    ConnectionSlot,
    cap_connections,
    raise_descriptor_limit,
)


def entered(room: ConnectionLimit, address: str, times: int) -> list[ConnectionSlot | None]:
    return [room.acquire(address) for _ in range(times)]


def kinds(seats: list[ConnectionSlot | None]) -> str:
    """Return a letter for the slot of each connection: S for a regular slot, R for a probe slot, x for no slot."""
    return "".join("x" if seat is None else "R" if seat.is_probe_only else "S" for seat in seats)


def test_one_address_has_half_of_the_seats_and_a_quarter_of_the_reserve() -> None:
    room = ConnectionLimit(8)
    assert kinds(entered(room, "192.0.2.1", 10)) == "SSSSRRRRxx"
    assert kinds(entered(room, "192.0.2.2", 5)) == "SSSSR", "the first address does not use up the slots of others"
    assert kinds(entered(room, "192.0.2.3", 5)) == "RRRRx", "all regular slots are taken, and probe slots remain"
    assert room.open_connections == 8 + 9


def test_the_reserve_is_bounded_too() -> None:
    room = ConnectionLimit(1)
    seats = [room.acquire(f"192.0.2.{number}") for number in range(PROBE_SLOTS + 3)]
    assert kinds(seats) == "S" + "R" * PROBE_SLOTS + "xx"


def test_a_front_proxy_may_take_all() -> None:
    room = ConnectionLimit(8, lambda address: address == "10.0.0.1")
    assert kinds(entered(room, "10.0.0.1", 9)) == "SSSSSSSSR"
    assert kinds(entered(room, "10.0.0.2", 1)) == "R"


def test_an_ipv6_network_is_one_client() -> None:
    room = ConnectionLimit(4)
    seats = [room.acquire(f"2001:db8::{number}") for number in range(1, 4)]
    assert kinds([*seats, room.acquire("2001:db8:0:1::1"), room.acquire("fe80::1%eth0")]) == "SSRSS"


def test_who_leaves_makes_room_once() -> None:
    room = ConnectionLimit(2)
    first, second = entered(room, "192.0.2.1", 2)
    assert first is not None
    assert second is not None
    assert (first.is_probe_only, second.is_probe_only) == (False, True)
    first.release()
    first.release()
    assert room.open_connections == 1
    assert kinds(entered(room, "192.0.2.1", 1)) == "S"
    second.release()
    assert room.open_connections == 1


@pytest.mark.parametrize(
    ("wanted", "limit", "seats"), [(1024, 20_000, 1024), (1024, 1024, 240), (100, 1024, 100), (1024, 256, 1)]
)
def test_seats_are_as_many_as_descriptors_can_bear(wanted: int, limit: int, seats: int) -> None:
    assert cap_connections(wanted, limit) == seats


NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("hard", "refused", "expected", "told"),
    [(4096, set(), 4096, 4096), (NONE, set(), NONE, 2**31 - 1), (NONE, {NONE}, 10_240, 10_240)],
)
def test_open_files_are_as_many_as_the_system_gives(
    monkeypatch: pytest.MonkeyPatch, hard: int, refused: set[int], expected: int, told: int
) -> None:
    taken = []

    def setrlimit(_what: int, limits: tuple[int, int]) -> None:
        if limits[0] in refused:
            raise ValueError("current limit exceeds maximum limit")
        taken.append(limits)

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert raise_descriptor_limit() == told
    assert taken == [(expected, hard)]


def test_a_limit_that_cannot_be_raised_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def setrlimit(_what: int, _limits: tuple[int, int]) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert raise_descriptor_limit() == 256
