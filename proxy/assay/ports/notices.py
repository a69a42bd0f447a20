"""Protocol of notices: messages that the judged pages of a project are outdated. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from assay.simple.model import NormalizedName


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Message that facts about a project have changed. The project's page must be judged again."""

    index: str
    project: NormalizedName


class Notices(Protocol):
    """Publish-subscribe channel of notices. A lost notice only delays the next judgement of a page."""

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` in the event loop with each notice that is published after this call."""

    def publish(self, notice: Notice) -> None:
        """Send `notice` to all subscribers."""
