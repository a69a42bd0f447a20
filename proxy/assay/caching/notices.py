"""Channel of notices within one process."""

from __future__ import annotations

from collections.abc import Callable

from assay.ports import Notice


class LocalNotices:
    """Implementation of `assay.ports.Notices` for a single process."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Notice], None]] = []

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` with each notice that is published after this call."""
        self._subscribers.append(act)

    def publish(self, notice: Notice) -> None:
        """Call all subscribers in the order in which they subscribed."""
        for act in self._subscribers:
            act(notice)
