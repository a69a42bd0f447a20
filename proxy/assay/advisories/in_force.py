"""Holder of the advisory snapshot in force. Pure."""

from __future__ import annotations

from collections.abc import Callable

from assay.advisories.snapshot import EMPTY_SNAPSHOT, AdvisorySnapshot

__all__ = ["AdvisoriesInForce"]

OnChange = Callable[[AdvisorySnapshot, AdvisorySnapshot], None]


class AdvisoriesInForce:
    """Implementation of `ports.Advisories`: one snapshot, replaced as a whole. For the event loop only.

    Args:
        not_ready: reason why nothing may be served until `put` is called; None: nothing has to be waited for.
    """

    def __init__(self, *, not_ready: str | None = None) -> None:
        self._snapshot = EMPTY_SNAPSHOT
        self._not_ready = not_ready
        self._subscribers: list[OnChange] = []

    def current(self) -> AdvisorySnapshot:
        """Return the snapshot in force."""
        return self._snapshot

    def explain_not_ready(self) -> str | None:
        """Return the reason why nothing may be served yet; None if everything may be served."""
        return self._not_ready

    def subscribe(self, act: OnChange) -> None:
        """Call `act` with the previous and the new snapshot, at once after each change."""
        self._subscribers.append(act)

    def put(self, snapshot: AdvisorySnapshot, *, not_ready: str | None = None) -> None:
        """Put `snapshot` in force. The subscribers are called only if its digest is another one.

        Args:
            snapshot: the new snapshot.
            not_ready: reason why nothing may be served yet.
        """
        before, self._snapshot, self._not_ready = self._snapshot, snapshot, not_ready
        if before.digest != snapshot.digest:
            for act in self._subscribers:
                act(before, snapshot)
