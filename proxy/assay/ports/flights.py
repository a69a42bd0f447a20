"""Work that is done once although several callers need it. Pure: a protocol and its value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """One caller's part in work that several callers need at the same time."""

    first: bool
    """This caller does the work. Otherwise another has done it, or this caller has waited long enough: then it looks
    for the result and does the work itself if there is none."""
    holder: str | None = None
    """The address of another process that is doing the work; None where no other is."""


class Flights(Protocol):
    """Mutual exclusion by key, so that work is done once: in one process, or among all that share a storage."""

    def flight(self, key: str, done: Callable[[], Awaitable[bool]]) -> AbstractAsyncContextManager[Flight]:
        """Enter the flight of `key`; one caller at a time is first, until it leaves.

        Args:
            key: names the work.
            done: whether the work has been done meanwhile; asked by callers that had to wait.
        """
