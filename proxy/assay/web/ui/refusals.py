"""The last refusals, for the page at ``/``: in memory alone, without who asked. The audit trail has all of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from assay.policy.verdict import Withheld

_MAX_REFUSALS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One request for a withheld file."""

    time: datetime
    withheld: Withheld


class RefusalLog:
    """The last ones, newest first, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[Refusal] = deque(maxlen=_MAX_REFUSALS)

    def add(self, withheld: Withheld, time: datetime) -> None:
        """Remember one more; the same file asked for again takes its old place's stead."""
        self.count += 1
        for known in self._recent:
            if known.withheld.file.location == withheld.file.location:
                self._recent.remove(known)
                break
        self._recent.appendleft(Refusal(time=time, withheld=withheld))

    def recent(self) -> tuple[Refusal, ...]:
        """Newest first."""
        return tuple(self._recent)
