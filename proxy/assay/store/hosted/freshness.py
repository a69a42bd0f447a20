"""Freshness of the facts that a process has from a shared store: the time for which they count without another check.

A check asks the store whether another process has changed something, and loads the changes. Its result counts for
`LEASE_SECONDS` after the beginning of the check. A process that has changed the store waits for `VISIBLE_SECONDS`
before it says so: by then, no process uses facts from before the change. Processes need no common clock for this, and a
process that has ended delays nothing.

If the store cannot be reached, the last known facts count for a limited time more. The result of a failed check is used
for `LEASE_SECONDS` too. As long as checks fail, callers wait only `AWAY_WAIT_SECONDS` for one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from assay import telemetry
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.errors import AssayError, StorageError

LEASE_SECONDS: Final = 0.1
"""Time in seconds for which the result of a check counts. A later version of Assay must not increase it, because
replicas of two versions may use one store."""
VISIBLE_SECONDS: Final = 0.125
"""Time in seconds after which no process uses facts from before a change. It is longer than `LEASE_SECONDS`, because
clocks do not run equally fast."""
AWAY_WAIT_SECONDS: Final = 0.1
"""Maximum time in seconds for which a caller waits for a check while checks fail."""
_CHECK: Final = "check"


class Freshness:
    """Checks of the known facts, shared by all callers.

    Args:
        check: function that loads the changes of other processes. It raises `StorageError` if that is not possible.
        grace_seconds: time in seconds for which the last check counts while checks fail.
        clock: returns the current time in seconds, monotonic.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], *, grace_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._checked_at = float("-inf")
        """Beginning of the last successful check."""
        self._failed_at: float | None = None
        """Time of the last failed check; None if the last check succeeded."""
        self._checks = SingleFlight[str, None]("check of hosted files", report=_report)

    @property
    def is_away(self) -> bool:
        """True if the last check failed."""
        return self._failed_at is not None

    def is_current(self) -> bool:
        """Return whether `refresh` has nothing to do now."""
        now = self._clock()
        if now - self._checked_at < LEASE_SECONDS:
            return True
        return self._failed_at is not None and now - self._failed_at < LEASE_SECONDS and self._is_in_grace(now)

    async def refresh(self) -> None:
        """Learn all changes for which another process has waited `VISIBLE_SECONDS` before this call.

        Raises:
            StorageError: the store cannot be reached, and the last successful check is too old.
        """
        since = self._clock() - LEASE_SECONDS
        while not (self.is_current() or self._checked_at > since):
            try:
                await self._checks.join(_CHECK, self._run, timeout_seconds=AWAY_WAIT_SECONDS if self.is_away else None)
            except StillRunningError as error:
                self._failed_at = self._clock()
                self._require_grace(StorageError("the hosted files cannot be read now"), error)
                return
            except StorageError as error:
                self._require_grace(error)
                return

    async def check(self) -> None:
        """Begin a check after this call, and wait for it.

        Raises:
            StorageError: the store cannot be reached.
        """
        began_at = self._clock()
        while self._checked_at < began_at:
            await self._checks.join(_CHECK, self._run)

    async def close(self) -> None:
        """Cancel a running check. Idempotent."""
        await self._checks.close()

    async def _run(self) -> None:
        began_at = self._clock()
        try:
            await self._check()
        except StorageError as error:
            if not self.is_away:
                telemetry.warning("hosted-unconfirmed", error=str(error))
            self._failed_at = self._clock()
            raise
        if self.is_away:
            telemetry.event("hosted-confirmed")
        self._checked_at, self._failed_at = began_at, None

    def _is_in_grace(self, now: float) -> bool:
        return now - self._checked_at < self._grace_seconds

    def _require_grace(self, error: StorageError, cause: Exception | None = None) -> None:
        """Raise the error of a failed check, unless the last successful check still counts.

        Raises:
            StorageError: it does not count.
        """
        if not self._is_in_grace(self._clock()):
            raise error from cause


def _report(_: str, error: BaseException) -> None:
    if not isinstance(error, AssayError):  # a failure of the store was logged when the checks began to fail
        telemetry.failure("hosted-check-failed", error)
