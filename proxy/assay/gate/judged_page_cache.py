"""Judged pages in memory, of all views together: what was not asked for longest goes first.

Owns the bound. Each view finds its own pages only; whether one still holds is for its gate to say.
"""

from __future__ import annotations

from collections import OrderedDict

from assay.gate.judged_page import JudgedPage
from assay.simple.model import NormalizedName

_MAX_CACHED_FILES = 30_000
"""Of all judged pages together: with what is rendered of them about 3 kB each."""


class JudgedPageCache:
    """Judged pages by view and project."""

    def __init__(self, max_files: int = _MAX_CACHED_FILES) -> None:
        self._max_files = max_files
        self._pages: OrderedDict[tuple[str, NormalizedName], JudgedPage] = OrderedDict()
        self._file_count = 0

    def get(self, view: str, name: NormalizedName) -> JudgedPage | None:
        """What is remembered."""
        return self._pages.get((view, name))

    def touch(self, view: str, name: NormalizedName) -> None:
        """It was asked for just now."""
        self._pages.move_to_end((view, name))

    def put(self, view: str, name: NormalizedName, judged_page: JudgedPage) -> None:
        """Remember a page in the place of the one before, and forget others where they become too many."""
        self.invalidate(view, name)
        self._pages[view, name] = judged_page
        self._file_count += _weigh(judged_page)
        while self._file_count > self._max_files and len(self._pages) > 1:
            self.invalidate(*next(iter(self._pages)))

    def invalidate(self, view: str, name: NormalizedName) -> None:
        """Forget a page, if it is there."""
        judged = self._pages.pop((view, name), None)
        if judged is not None:
            self._file_count -= _weigh(judged)

    def list_pages(self, view: str) -> tuple[JudgedPage, ...]:
        """All of one view."""
        return tuple(judged for (whose, _), judged in self._pages.items() if whose == view)


def _weigh(judged_page: JudgedPage) -> int:
    return 1 + len(judged_page.page.project.files)
