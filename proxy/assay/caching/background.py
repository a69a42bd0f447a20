"""Background tasks with an owner. To end them, the owner cancels all of them and waits until each has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

_T = TypeVar("_T")


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until each has ended. Ignore the results and exceptions of the tasks."""
    running = []
    for task in tuple(tasks):
        if not task.done():
            task.cancel()
            running.append(task)
        elif not task.cancelled():
            task.exception()  # without this call, asyncio would log the exception
    if running:
        await asyncio.gather(*running, return_exceptions=True)


async def gather_or_cancel(jobs: Iterable[Coroutine[None, None, _T]]) -> list[_T]:
    """Run coroutines concurrently and return their results in order.

    If a coroutine raises an exception, cancel the other coroutines and raise this exception, without an
    `ExceptionGroup`.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)


class BackgroundTasks:
    """Group of background tasks, which `close` ends together.

    As a context manager, the group closes itself at the end of the block.

    Args:
        report: called with the name and the exception of each task that fails. None: asyncio passes the exception to
            the exception handler of the event loop.
    """

    __slots__ = ("_is_closed", "_report", "_tasks")

    def __init__(self, report: Callable[[str, BaseException], None] | None = None) -> None:
        self._report = report
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def spawn(self, work: Coroutine[Any, Any, object], *, name: str) -> None:
        """Run a coroutine as a task of this group.

        Raises:
            RuntimeError: the group is closed.
        """
        if self._is_closed:
            work.close()
            raise RuntimeError(f"the group of the task {name} is closed")
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait_until_idle(self) -> None:
        """Wait until no task of this group runs, including tasks that start during the wait."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended. `spawn` then raises an error. Idempotent."""
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
