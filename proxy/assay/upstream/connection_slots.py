"""Limit on the connections to each host, with separate slots for each kind of request, shared fairly by clients."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Final, Literal, TypeAlias, get_args

from yarl import URL

from assay.caching.fair_slots import FairSlots
from assay.upstream.addresses import format_host
from assay.users import current_client

ConnectionKind: TypeAlias = Literal["page", "document", "file"]
_KINDS: Final[tuple[ConnectionKind, ...]] = get_args(ConnectionKind)
"""Kinds of requests that have separate connections, so that slow downloads delay no page."""
_RESERVED_SHARE: Final = 0.25
"""Number of connections beyond `limits.connections` for clients that use few, as a share of it."""
_RESERVED_SHARE_EACH: Final = 0.05
"""Number of connections up to which a client uses few, as a share of `limits.connections`."""


class ConnectionSlots:
    """Slots for the connections to all hosts.

    Args:
        connections: number of connections of one kind to one host that any client may use.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._by_key: dict[tuple[str, ConnectionKind], FairSlots] = {}

    @property
    def max_per_host(self) -> int:
        """Number of connections to a host that the slots of all kinds allow together."""
        return len(_KINDS) * (self._connections + math.ceil(self._connections * _RESERVED_SHARE))

    def use(self, target: URL, kind: ConnectionKind) -> ConnectionSlot:
        """Return a context manager that waits for a connection to the host of `target`, and uses it until its end."""
        return ConnectionSlot(self, (format_host(target), kind))

    async def take(self, key: tuple[str, ConnectionKind], client: str | None) -> FairSlots:
        """Wait for a slot of a host and a kind. The caller must call `release` with the returned slots."""
        slots = self._by_key.get(key)
        if slots is None:
            slots = self._by_key[key] = FairSlots(
                self._connections,
                reserved=math.ceil(self._connections * _RESERVED_SHARE),
                reserved_each=math.ceil(self._connections * _RESERVED_SHARE_EACH),
            )
        try:
            await slots.take(client)
        except BaseException:
            self._drop_if_idle(key, slots)
            raise
        return slots

    def release(self, key: tuple[str, ConnectionKind], client: str | None, slots: FairSlots) -> None:
        """End the use of a slot."""
        slots.release(client)
        self._drop_if_idle(key, slots)

    def _drop_if_idle(self, key: tuple[str, ConnectionKind], slots: FairSlots) -> None:
        if slots.is_idle:
            self._by_key.pop(key, None)


class ConnectionSlot:
    """Context manager for one connection (`ConnectionSlots.use`). Enter it once."""

    __slots__ = ("_all", "_client", "_key", "_slots")

    def __init__(self, slots: ConnectionSlots, key: tuple[str, ConnectionKind]) -> None:
        self._all = slots
        self._key = key
        self._client = current_client.get()
        self._slots: FairSlots | None = None

    async def __aenter__(self) -> None:
        """Wait for the connection."""
        self._slots = await self._all.take(self._key, self._client)

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._slots is not None:
            self._all.release(self._key, self._client, self._slots)
