"""Circuit breaker: after a failure, a service is not asked for a while, so that requests do not wait for it. Pure."""

from __future__ import annotations

from collections.abc import Callable

BREAK_SECONDS = 10.0
"""Time in seconds for which a service that failed is not asked."""


class Breaker:
    """State of a service: closed while it answers, open after a failure.

    After `break_seconds`, one caller may try. Until its result, or for `trial_seconds`, the others may not.

    Args:
        clock: returns the current time in seconds, monotonic.
        trial_seconds: maximum time in seconds of one try.
        break_seconds: time in seconds until the next try.
    """

    def __init__(
        self, clock: Callable[[], float], *, trial_seconds: float, break_seconds: float = BREAK_SECONDS
    ) -> None:
        self._clock = clock
        self._trial_seconds = trial_seconds
        self._break_seconds = break_seconds
        self._open_until: float | None = None

    @property
    def is_closed(self) -> bool:
        """True if the last call succeeded, or none was made."""
        return self._open_until is None

    def may_call(self) -> bool:
        """Return whether the service may be asked now. If it is open and a try is due, this caller makes the try."""
        if self._open_until is None:
            return True
        now = self._clock()
        if now < self._open_until:
            return False
        self._open_until = now + self._trial_seconds
        return True

    def succeed(self) -> bool:
        """Close the breaker; return True if it was open."""
        was_open, self._open_until = self._open_until is not None, None
        return was_open

    def fail(self) -> bool:
        """Open the breaker; return True if it was closed."""
        was_closed = self._open_until is None
        self._open_until = self._clock() + self._break_seconds
        return was_closed
