"""Tasks that run in the background, and the one way to end them: cancel all, and wait until each has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

_T = TypeVar("_T")


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until each has ended, whatever its outcome."""
    ended = tuple(tasks)
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)


async def gather_or_cancel(jobs: Iterable[Coroutine[None, None, _T]]) -> list[_T]:
    """Return all results in order; the first failure cancels the rest and is raised as itself, not in a group."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)


class BackgroundTasks:
    """A group of tasks that end with their owner.

    As a context manager it is closed at the end of the block.

    Args:
        report: called once with the name and the error of each task that fails; without it the error goes to the event
            loop's exception handler, as asyncio does it.
    """

    __slots__ = ("_is_closed", "_report", "_tasks")

    def __init__(self, report: Callable[[str, BaseException], None] | None = None) -> None:
        self._report = report
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def spawn(self, work: Coroutine[Any, Any, object], *, name: str) -> None:
        """Run `work` as a task of this group.

        Raises:
            RuntimeError: the group is closed.
        """
        if self._is_closed:
            work.close()
            raise RuntimeError(f"no task is started after its group was closed: {name}")
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait_until_idle(self) -> None:
        """Wait until no task runs, those included that are started meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended. Idempotent."""
        self._is_closed = True
        await cancel_and_wait(self._tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if self._report is not None and not task.cancelled() and (error := task.exception()) is not None:
            self._report(task.get_name(), error)
