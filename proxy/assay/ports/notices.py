"""News of what changed, so that what was computed from it is computed again. Pure: a protocol and its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from assay.simple.model import NormalizedName


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is known of one project changed: its page must be judged again."""

    index: str
    project: NormalizedName


class Notices(Protocol):
    """Notices to every part that subscribed. A lost one costs freshness, never correctness."""

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` in the event loop with every notice from now on."""

    def publish(self, notice: Notice) -> None:
        """Tell all subscribers."""
