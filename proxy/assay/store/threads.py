"""Thread pools for blocking work, separate from the event loop's default pool. A slow disk could exhaust that pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from assay.errors import StorageError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class ThreadPool:
    """Pool of threads with a common name.

    A call that has started runs to its end, even if its caller is cancelled. It therefore never leaves a partial state.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"assay-{name}")
        self._is_closed = False

    def require_open(self) -> None:
        """Raise the error of a closed pool, for a call that needs no thread.

        Raises:
            StorageError: the pool is closed.
        """
        if self._is_closed:
            raise self._make_closed_error()

    async def run(
        self, call: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        """Run a blocking call in a thread and return its result.

        Raises:
            StorageError: the pool is closed.
        """
        return await self.submit(call, *arguments, **named)

    def submit(
        self, call: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> asyncio.Future[_Result]:
        """Start a blocking call and return its future. With one thread, calls run in the order in which they start.

        Raises:
            StorageError: the pool is closed.
        """
        return asyncio.wrap_future(self._submit(call, *arguments, **named))

    async def acquire(self, call: Callable[[], _Result], release: Callable[[_Result], None]) -> _Result:
        """Run a call that returns a resource. If the caller is cancelled meanwhile, pass the resource to `release`.

        Raises:
            StorageError: the pool is closed.
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
            raise self._make_closed_error() from error

    def _make_closed_error(self) -> StorageError:
        return StorageError(f"the storage ({self._name}) is closed")

    async def close(self) -> None:
        """Wait for running calls, and then end the threads. Idempotent."""
        self._is_closed = True
        await asyncio.to_thread(self._executor.shutdown)


def _release_result(future: Future[_Result], release: Callable[[_Result], None]) -> None:
    if not future.cancelled() and future.exception() is None:
        release(future.result())
