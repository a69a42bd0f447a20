"""Progress of long commands on standard error: a bar on a terminal, and otherwise a line every few seconds.

Nothing is printed in the first second, so that a fast command prints only its result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

DELAY_SECONDS: Final = 1.0
"""Time before the first sign of progress, in seconds."""
LINE_INTERVAL_SECONDS: Final = 5.0
"""Time between two lines in a log, in seconds."""
_BAR_INTERVAL_SECONDS: Final = 0.1
_ItemT = TypeVar("_ItemT")


class ProgressReport:
    """Progress of one operation, as a context that removes the bar at its end. It is not thread-safe.

    Args:
        label: what is counted, such as ``files fetched``. It is never text of an index.
        stream: stream to print to; None: standard error.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self, label: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = label
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._due = clock() + DELAY_SECONDS
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        """Return the report itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int | None) -> None:
        """Report `done` of `total` items; a total of None is unknown. Most calls print nothing."""
        if (now := self._clock()) < self._due:
            return
        if not self._stream.isatty():
            self._due = now + LINE_INTERVAL_SECONDS
            of = "" if total is None else f" of {total}"
            print(f"{self._label}: {done}{of} …", file=self._stream, flush=True)
            return
        self._due = now + _BAR_INTERVAL_SECONDS
        if self._bar is None:
            self._start_bar()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
            self._bar.refresh()

    def _start_bar(self) -> None:
        console = Console(file=self._stream)
        if console.is_dumb_terminal:
            print(f"{self._label} …", file=self._stream, flush=True)
            self._due = float("inf")
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        # auto_refresh would start a thread.
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task(self._label, total=None)
        self._bar.start()


def track_items(items: Iterable[_ItemT], label: str) -> Iterator[_ItemT]:
    """Yield all items, and report their number while they are read."""
    with ProgressReport(label) as report:
        for number, item in enumerate(items, start=1):
            report(number, None)
            yield item
