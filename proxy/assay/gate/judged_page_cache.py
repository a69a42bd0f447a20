"""Judged pages in memory, of all views together: what was not asked for longest goes first.

Owns the bound. Each view finds its own pages only; whether one still holds is for its gate to say.
"""

from __future__ import annotations

from collections import OrderedDict

from assay.gate.judged_page import Judged
from assay.simple.model import NormalizedName

_MOST_FILES = 30_000
"""Of all judged pages together: with what is rendered of them about 3 kB each."""


class Memory:
    """Judged pages by view and project."""

    def __init__(self, most_files: int = _MOST_FILES) -> None:
        self._most = most_files
        self._judged: OrderedDict[tuple[str, NormalizedName], Judged] = OrderedDict()
        self._files = 0

    def get(self, view: str, name: NormalizedName) -> Judged | None:
        """What is remembered."""
        return self._judged.get((view, name))

    def used(self, view: str, name: NormalizedName) -> None:
        """It was asked for just now."""
        self._judged.move_to_end((view, name))

    def keep(self, view: str, name: NormalizedName, judged: Judged) -> None:
        """Remember a page in the place of the one before, and forget others where they become too many."""
        self.forget(view, name)
        self._judged[view, name] = judged
        self._files += _weight(judged)
        while self._files > self._most and len(self._judged) > 1:
            self.forget(*next(iter(self._judged)))

    def forget(self, view: str, name: NormalizedName) -> None:
        """Forget a page, if it is there."""
        judged = self._judged.pop((view, name), None)
        if judged is not None:
            self._files -= _weight(judged)

    def of(self, view: str) -> tuple[Judged, ...]:
        """All of one view."""
        return tuple(judged for (whose, _), judged in self._judged.items() if whose == view)


def _weight(judged: Judged) -> int:
    return 1 + len(judged.page.project.files)
