"""Protocol of the advisories in force. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from assay.advisories.snapshot import AdvisorySnapshot


class Advisories(Protocol):
    """Holder of the advisory snapshot in force."""

    def current(self) -> AdvisorySnapshot:
        """Return the snapshot in force. It is empty before the first one, or if no feed is configured."""

    def explain_not_ready(self) -> str | None:
        """Return the reason why nothing may be served: a required feed has no snapshot yet. None: all are ready."""

    def subscribe(self, act: Callable[[AdvisorySnapshot, AdvisorySnapshot], None]) -> None:
        """Call `act` in the event loop with the previous and the new snapshot, at once after each change."""
