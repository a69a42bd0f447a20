"""Events with one name, as they are emitted."""

from __future__ import annotations

import asyncio
import weakref

from assay import telemetry

_TIMEOUT_SECONDS = 20


class Told:
    """Recorder of the events with one name; create it in the event loop.

    It unsubscribes when nothing refers to it any more, because the number of subscribers is limited.

    Attributes:
        events: fields of the events so far.
    """

    def __init__(self, name: str) -> None:
        self.events: list[dict[str, object]] = []
        self._name = name
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        take = weakref.WeakMethod(self._take)
        self.unsubscribe = telemetry.subscribe(lambda event: None if (taking := take()) is None else taking(event))
        weakref.finalize(self, self.unsubscribe)

    def _take(self, event: telemetry.Event) -> None:
        if event.name == self._name:
            self.events.append(dict(event.fields))
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def wait(self, count: int = 1) -> None:
        """Wait until `count` events have been emitted."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while len(self.events) < count:
                self._arrived.clear()
                await self._arrived.wait()
