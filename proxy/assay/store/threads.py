"""Threads of our own for blocking work, so that a slow disk never takes the event loop's shared ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from assay.errors import StorageError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class ThreadPool:
    """A few threads with one name.

    What has been started runs to its end even when whoever waits for it is cancelled: each call leaves its state whole.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"assay-{name}")

    async def run(
        self, call: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        """The result of a blocking call.

        Raises:
            StorageError: `close` was called before.
        """
        return await self.submit(call, *arguments, **named)

    def submit(
        self, call: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> asyncio.Future[_Result]:
        """As `run`, begun at once; calls that are started run in their order where there is one thread.

        Raises:
            StorageError: `close` was called before.
        """
        return asyncio.wrap_future(self._submit(call, *arguments, **named))

    async def acquire(self, call: Callable[[], _Result], release: Callable[[_Result], None]) -> _Result:
        """Like `run`; what the call obtained is given back when nobody is there any more to take it.

        Raises:
            StorageError: `close` was called before.
        """
        future = self._submit(call)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: _release_result(done, release))
            raise

    def _submit(
        self, call: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> Future[_Result]:
        try:
            return self._executor.submit(call, *arguments, **named)
        except RuntimeError as error:
            raise StorageError(f"the storage ({self._name}) is closed") from error

    async def close(self) -> None:
        """Let what runs end, and the threads with it. Idempotent."""
        await asyncio.to_thread(self._executor.shutdown)


def _release_result(future: Future[_Result], release: Callable[[_Result], None]) -> None:
    if not future.cancelled() and future.exception() is None:
        release(future.result())
