"""The test index outside of an asyncio test: on a thread of its own, or as a process.

``python -m tests.world.index.threaded_index DIRECTORY`` serves a directory's distributions until it is interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.world.index.distributions import BuiltDistribution, make_raw_file
from tests.world.index.fake_index import Index


@contextlib.contextmanager
def run_index_in_thread(make: Callable[[], Index] = Index) -> Iterator[Index]:
    """An index on a loop and thread of its own, for synchronous tests.

    `make` is called on that loop. Adding, counting and arming faults may be done from outside; of a `Stall`, only
    ``loop.call_soon_threadsafe(stall.release.set)`` is safe.
    """
    started = threading.Event()
    made: list[Index] = []
    stop: list[Callable[[], object]] = []

    async def live() -> None:
        async with make() as index:
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            made.append(index)
            stop.append(lambda: loop.call_soon_threadsafe(over.set))
            started.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),), daemon=True)
    thread.start()
    started.wait(timeout=10)
    try:
        yield made[0]
    finally:
        stop[0]()
        thread.join(timeout=10)


async def _serve_until_interrupted(found: list[BuiltDistribution]) -> None:
    async with Index() as index:
        for built in found:
            index.add(built, metadata=False)
        print(index.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        files = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_file())
        asyncio.run(_serve_until_interrupted([make_raw_file(path.name, path.read_bytes()) for path in files]))
