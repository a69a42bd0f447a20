"""Recent refusals and hidden versions of a view, for its home page.

They are kept only in memory and do not contain the client. The audit trail records every refusal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from assay.gate.hidden_versions import HiddenVersion
from assay.policy.verdict import Withheld

_MAX_REFUSALS = 8
"""Maximum number of entries, so that the home page is short on a phone. ``/refusals`` has all recorded refusals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Refused request for a withheld file, or a page that hides a version."""

    time: datetime
    withheld: Withheld
    hidden: HiddenVersion | None = None
    """Version that the page hides. None: a request for the file was refused."""

    @property
    def key(self) -> tuple[object, ...]:
        """Key of entries of which only the latest is kept."""
        return self.withheld.file.location, None if self.hidden is None else self.hidden.hiding


class RefusalLog:
    """Log of the most recent refusals, with a maximum size.

    Attributes:
        count: number of refused requests since the start, including those that are no longer in the log.
    """

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[Refusal] = deque(maxlen=_MAX_REFUSALS)

    def add(self, withheld: Withheld, time: datetime) -> None:
        """Record a refusal at `time`. It replaces an earlier refusal of the same file."""
        self.count += 1
        self._put(Refusal(time=time, withheld=withheld))

    def add_hidden(self, hidden: HiddenVersion, time: datetime) -> None:
        """Record a page that hides a version. It replaces an earlier entry with the same file. It is not counted."""
        self._put(Refusal(time=time, withheld=hidden.withheld, hidden=hidden))

    def _put(self, refusal: Refusal) -> None:
        for known in self._recent:
            if known.key == refusal.key:
                self._recent.remove(known)
                break
        self._recent.appendleft(refusal)

    def recent(self) -> tuple[Refusal, ...]:
        """Return the entries of the log, newest first."""
        return tuple(self._recent)
