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

PROBE_SLOTS = 16
_PROBE_SLOTS_PER_ADDRESS = PROBE_SLOTS // 4
_DESCRIPTORS_PER_CONNECTION = 3
"""A socket, and the blob or the growing download that is sent through it, twice while one moves to another disk."""
_OTHER_DESCRIPTORS = 256
"""Databases, connections to indexes, workers' pipes, downloads that nobody waits for any more."""

_DEFAULT_MAX_DESCRIPTORS = 10_240
"""Open files that a process can have where the system does not say (macOS, ``OPEN_MAX``)."""


class ConnectionSlot:
    """What a connection holds until it ends.

    Attributes:
        probe_only: it may ask one thing only.
    """

    __slots__ = ("_release_callbacks", "is_probe_only")

    def __init__(self, release: Callable[[], None], *, probe_only: bool) -> None:
        self._release_callbacks = [release]
        self.is_probe_only = probe_only

    def on_release(self, callback: Callable[[], None]) -> None:
        """Do this as well when it is left: what else is held for a connection ends with its seat, however that ends."""
        self._release_callbacks.append(callback)

    def release(self) -> None:
        """Make room; once, however often it is said."""
        while self._release_callbacks:
            self._release_callbacks.pop()()


class ConnectionLimit:
    """Counts connections, by where they come from.

    Args:
        max_connections: connections in all, beside the reserve.
        is_shared_address: whether an address stands for many clients, as a front proxy's does; it may take all seats.
    """

    def __init__(self, max_connections: int, is_shared_address: Callable[[str], bool] = lambda _: False) -> None:
        self.max_connections = max_connections
        self._max_per_address = max(1, max_connections // 2)
        self._is_shared_address = is_shared_address
        self._regular_counts = Counter[str]()
        self._probe_counts = Counter[str]()

    @property
    def open_connections(self) -> int:
        """Connections now, those in the reserve included."""
        return self._regular_counts.total() + self._probe_counts.total()

    def acquire(self, address: str) -> ConnectionSlot | None:
        """A seat for a connection from `address`, or one in the reserve, or None: not even that."""
        block, shared = _get_client_network(address), self._is_shared_address(address)
        if self._regular_counts.total() < self.max_connections and (
            shared or self._regular_counts[block] < self._max_per_address
        ):
            return _acquire_slot(self._regular_counts, block, probe_only=False)
        if self._probe_counts.total() < PROBE_SLOTS and (
            shared or self._probe_counts[block] < _PROBE_SLOTS_PER_ADDRESS
        ):
            return _acquire_slot(self._probe_counts, block, probe_only=True)
        return None


def _acquire_slot(counts: Counter[str], network: str, *, probe_only: bool) -> ConnectionSlot:
    counts[network] += 1

    def leave() -> None:
        counts[network] -= 1
        if not counts[network]:
            del counts[network]  # addresses of yesterday cost nothing

    return ConnectionSlot(leave, probe_only=probe_only)


def _get_client_network(address: str) -> str:
    """What one client has: an IPv4 address, or the 64 bits that IPv6 gives to a single network."""
    known = ip_address(address)
    return str(int(known) >> 64) if isinstance(known, IPv6Address) else address


def cap_connections(requested: int, max_descriptors: int) -> int:
    """How many of the seats that are wanted the limit on open files can bear; at least one."""
    return max(1, min(requested, (max_descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION - PROBE_SLOTS))


def raise_descriptor_limit() -> int:
    """The limit on open files, raised to as many as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, max(soft, _DEFAULT_MAX_DESCRIPTORS)):
        # macOS says that there is no limit, and does not take that for one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted if wanted != resource.RLIM_INFINITY else 2**31 - 1
    return soft
