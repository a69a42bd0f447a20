"""Protocol of notices: messages that the judged pages of a project are outdated. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from assay.simple.model import NormalizedName


class NoticeTopic(Enum):
    """Facts that have changed."""

    PROJECT = "project"
    """Facts of the ledger, or evidence."""
    WHEELS = "wheel"
    """Digests of the METADATA in wheels, and failed promises of METADATA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Message that facts about a project have changed. The project's page must be judged again."""

    index: str | None = None
    """Name of the index; None if the notice concerns all projects."""
    project: NormalizedName | None = None
    """Name of the project; None if the notice concerns all projects."""
    topic: NoticeTopic | None = NoticeTopic.PROJECT
    """Changed facts; None if the notice concerns all facts."""
    version: int | None = None
    """Version of the ledger's facts about the project after the change. None if the sender does not know it."""
    is_remote: bool = False
    """True if another replica has found the facts, so the other replicas need no notice of them."""


EVERYTHING: Final = Notice(topic=None, is_remote=True)
"""Notice that facts about any project may have changed, because notices of other replicas may have been lost."""


class Notices(Protocol):
    """Publish-subscribe channel of notices. A lost notice only delays the next judgement of a page."""

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` in the event loop with each notice that is published after this call.

        If the replicas of a shared storage could not reach each other for some time, `EVERYTHING` is published once
        when they can again.
        """

    def publish(self, notice: Notice) -> None:
        """Send `notice` to all subscribers, in all processes that share the storage."""
