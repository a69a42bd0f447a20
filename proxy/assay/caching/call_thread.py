"""Thread that runs the blocking calls of one object in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

_R = TypeVar("_R")


class _Call(NamedTuple, Generic[_R]):
    function: Callable[[], _R]
    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[_R]

    def run(self) -> None:
        try:
            finish = partial(self.result.set_result, self.function())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            finish = partial(self.result.set_exception, error)
        self._deliver(finish)

    def _deliver(self, finish: Callable[[], None]) -> None:
        # The loop is closed if the process ends while the call runs. The result is then not needed.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(lambda: None if self.result.done() else finish())


class CallThread:
    """One thread, which starts at the first call. Use it from one event loop.

    A call takes half of the CPU time of `asyncio.to_thread`, which shares its threads with all other work.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls = SimpleQueue[_Call[object] | None]()
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[[], _R]) -> _R:
        """Run a function after all earlier ones, and return its result. An exception of the function is raised here.

        If the task is cancelled, the function runs nevertheless.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_calls, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_R] = loop.create_future()
        self._calls.put(_Call(function, loop, result))  # type: ignore[arg-type]  # the result goes to this future alone
        return await result

    def stop(self) -> None:
        """Let the thread end after the calls that are queued now. `run` starts a new one."""
        if self._thread is not None:
            self._thread = None
            self._calls.put(None)

    def _run_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
