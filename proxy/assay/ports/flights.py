"""Protocol of single flight: if several callers need the same work at the same time, one of them does it. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """Role of one caller among those that need the same work at the same time."""

    first: bool
    """True if this caller must do the work. False if another caller has done the work, or if the maximum wait has
    passed. In both cases, the caller must look for the result. If no result exists, the caller must do the work
    itself."""
    holder: str | None = None
    """Address of another replica that is doing the work, for callers that follow it (`Flights.flight`); else None."""


class Flights(Protocol):
    """Mutual exclusion by key, in one process or among all processes that share a storage."""

    def flight(
        self, key: str, done: Callable[[], Awaitable[bool]], *, follow: bool = False
    ) -> AbstractAsyncContextManager[Flight]:
        """Enter the context of the work `key`.

        The first caller does the work. The other callers wait until the first caller leaves the context. The callers of
        other replicas wait for a limited time. Then they do the work too (`first` is False).

        Args:
            key: name of the work.
            done: function that returns whether the work has been done. It is called for callers that had to wait, and
                also if a caller of another replica may have done the work just before.
            follow: True if the caller can use the work of another replica while that replica does it. If another
                replica does the work, the caller does not wait, and gets its address as `holder`. All callers of a key
                must agree.
        """
