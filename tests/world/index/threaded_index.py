"""Test index outside of an asyncio test: in a thread, or as a process.

``python -m tests.world.index.threaded_index DIRECTORY`` serves the distributions in a directory until it is
interrupted.
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
    """Run an index on a separate event loop and thread, for synchronous tests; `make` is called on that loop.

    The test's thread may add files, count requests and inject faults. Of a `Stall`, it may only call
    ``loop.call_soon_threadsafe(stall.release.set)``.
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
