"""Limit on the number of connections: in total, for one client network, and a few reserved slots for probes.

This module counts the connections. A connection needs a socket, up to two open files and some buffers, so the limit
bounds all three.

A connection beyond the limit is accepted too. In the kernel's queue, it would make later probes wait. The connection
gets a *probe slot* for one request. A probe (``/healthz`` or ``/readyz``) is answered; any other request gets 503. The
number of probe slots is small, and one network may use a quarter of them. If no probe slot is free, the connection is
closed.
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
"""File descriptors of one connection: its socket, and two for the file that it sends. The file is open twice while a
download moves to another disk."""
_OTHER_DESCRIPTORS = 256
"""File descriptors reserved for databases, connections to indexes, pipes of workers, and downloads without a client."""

_DEFAULT_MAX_DESCRIPTORS = 10_240
"""Soft limit on open files for a system that refuses the hard limit as the soft limit. macOS is such a system
(``OPEN_MAX``)."""


class ConnectionSlot:
    """Place of one connection within the connection limit. The connection holds the slot until it ends.

    Attributes:
        is_probe_only: True if the connection may send only one request, which must be a probe.
    """

    __slots__ = ("_release_callbacks", "is_probe_only")

    def __init__(self, release: Callable[[], None], *, probe_only: bool) -> None:
        self._release_callbacks = [release]
        self.is_probe_only = probe_only

    def on_release(self, callback: Callable[[], None]) -> None:
        """Register a callback that runs when the slot is released.

        A slot is released even if the TLS handshake fails, so the callback can free other resources of the connection.
        """
        self._release_callbacks.append(callback)

    def release(self) -> None:
        """Release the slot and run the registered callbacks. Idempotent."""
        while self._release_callbacks:
            self._release_callbacks.pop()()


class ConnectionLimit:
    """Limit on the number of open connections, in total and for one client network (an IPv4 address or an IPv6 /64).

    Args:
        max_connections: maximum number of connections, without those in probe slots. One network may use half of them.
        is_shared_address: returns True for an address that many clients share, for example that of a proxy in front.
            The limit for one network does not apply to such an address.
        on_change: called with the number of open connections after each change of it.
    """

    def __init__(
        self,
        max_connections: int,
        is_shared_address: Callable[[str], bool] = lambda _: False,
        on_change: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.max_connections = max_connections
        self._max_per_address = max(1, max_connections // 2)
        self._is_shared_address = is_shared_address
        self._on_change = on_change
        self._regular_counts = Counter[str]()
        self._probe_counts = Counter[str]()

    @property
    def open_connections(self) -> int:
        """Number of open connections, including those in probe slots."""
        return self._regular_counts.total() + self._probe_counts.total()

    def acquire(self, address: str) -> ConnectionSlot | None:
        """Return a slot for a connection from `address`: a regular slot, else a probe slot, else None."""
        block, shared = _get_client_network(address), self._is_shared_address(address)
        if self._regular_counts.total() < self.max_connections and (
            shared or self._regular_counts[block] < self._max_per_address
        ):
            return self._acquire_slot(self._regular_counts, block, probe_only=False)
        if self._probe_counts.total() < PROBE_SLOTS and (
            shared or self._probe_counts[block] < _PROBE_SLOTS_PER_ADDRESS
        ):
            return self._acquire_slot(self._probe_counts, block, probe_only=True)
        return None

    def _acquire_slot(self, counts: Counter[str], network: str, *, probe_only: bool) -> ConnectionSlot:
        counts[network] += 1
        self._on_change(self.open_connections)

        def leave() -> None:
            counts[network] -= 1
            if not counts[network]:
                del counts[network]  # earlier addresses use no memory
            self._on_change(self.open_connections)

        return ConnectionSlot(leave, probe_only=probe_only)


def _get_client_network(address: str) -> str:
    """Return the network to which a client belongs: its IPv4 address, or the /64 of its IPv6 address."""
    known = ip_address(address)
    return str(int(known) >> 64) if isinstance(known, IPv6Address) else address


def cap_connections(requested: int, max_descriptors: int) -> int:
    """Return how many connections `max_descriptors` open files allow: at most `requested`, and at least 1."""
    return max(1, min(requested, (max_descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION - PROBE_SLOTS))


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files (``RLIMIT_NOFILE``) as far as the system allows, and return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, max(soft, _DEFAULT_MAX_DESCRIPTORS)):
        # macOS reports an unlimited hard limit, but refuses it as a soft limit.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted if wanted != resource.RLIM_INFINITY else 2**31 - 1
    return soft
