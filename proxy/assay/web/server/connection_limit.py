"""Who gets a connection: so many in all, half of them for one address, and a few beyond for questions of health.

Owns the counting. A connection costs a socket, up to two open files and some buffers, so their number is what bounds
all three. Whoever is one too many is not left in the kernel's queue, where a probe would wait behind him: he stands in
the *reserve* for one request, which is answered if it asks how the proxy is, and with 503 if it asks for anything else.
The reserve is small, one address has a quarter of it, and who finds it full is cut.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

RESERVE = 16
_RESERVE_SHARE = RESERVE // 4
_DESCRIPTORS_EACH = 3
"""A socket, and the blob or the growing download that is sent through it, twice while one moves to another disk."""
_DESCRIPTORS_BESIDE = 256
"""Databases, connections to indexes, workers' pipes, downloads that nobody waits for any more."""

_USUAL_MOST = 10_240
"""Open files that a process can have where the system does not say (macOS, ``OPEN_MAX``)."""


class Seat:
    """What a connection holds until it ends.

    Attributes:
        reserved: it may ask one thing only.
    """

    __slots__ = ("_leave", "reserved")

    def __init__(self, leave: Callable[[], None], *, reserved: bool) -> None:
        self._leave = [leave]
        self.reserved = reserved

    def when_left(self, then: Callable[[], None]) -> None:
        """Do this as well when it is left: what else is held for a connection ends with its seat, however that ends."""
        self._leave.append(then)

    def leave(self) -> None:
        """Make room; once, however often it is said."""
        while self._leave:
            self._leave.pop()()


class Room:
    """Counts connections, by where they come from.

    Args:
        seats: connections in all, beside the reserve.
        shared: whether an address stands for many clients, as a front proxy's does; it may take all seats.
    """

    def __init__(self, seats: int, shared: Callable[[str], bool] = lambda _: False) -> None:
        self.seats = seats
        self._share = max(1, seats // 2)
        self._shared = shared
        self._seated = Counter[str]()
        self._reserved = Counter[str]()

    @property
    def taken(self) -> int:
        """Connections now, those in the reserve included."""
        return self._seated.total() + self._reserved.total()

    def enter(self, address: str) -> Seat | None:
        """A seat for a connection from `address`, or one in the reserve, or None: not even that."""
        block, shared = _block(address), self._shared(address)
        if self._seated.total() < self.seats and (shared or self._seated[block] < self._share):
            return _take(self._seated, block, reserved=False)
        if self._reserved.total() < RESERVE and (shared or self._reserved[block] < _RESERVE_SHARE):
            return _take(self._reserved, block, reserved=True)
        return None


def _take(counted: Counter[str], block: str, *, reserved: bool) -> Seat:
    counted[block] += 1

    def leave() -> None:
        counted[block] -= 1
        if not counted[block]:
            del counted[block]  # addresses of yesterday cost nothing

    return Seat(leave, reserved=reserved)


def _block(address: str) -> str:
    """What one client has: an IPv4 address, or the 64 bits that IPv6 gives to a single network."""
    known = ip_address(address)
    return str(int(known) >> 64) if isinstance(known, IPv6Address) else address


def seats_within(wanted: int, limit: int) -> int:
    """How many of the seats that are wanted the limit on open files can bear; at least one."""
    return max(1, min(wanted, (limit - _DESCRIPTORS_BESIDE) // _DESCRIPTORS_EACH - RESERVE))


def raised_descriptors() -> int:
    """The limit on open files, raised to as many as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, max(soft, _USUAL_MOST)):
        # macOS says that there is no limit, and does not take that for one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted if wanted != resource.RLIM_INFINITY else 2**31 - 1
    return soft
