"""Small files that change while the proxy runs: certificates, password lists. A new one that is bad changes nothing.

Owns the watch: their bytes are compared each second, off the loop and by name, as `assay.policy_reload` does it for
the policy and for the same reason (Kubernetes swaps a symbolic link).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from assay import telemetry
from assay.errors import ConfigurationError
from assay.operator_files import read_file

EVERY = 1.0
"""Seconds between two looks."""


class FileWatch:
    """Obeys files when they change.

    Args:
        what: the setting's name, for messages.
        paths: the files.
        obey: reads them and takes what is good; runs off the loop.
    """

    def __init__(self, what: str, paths: Sequence[Path], obey: Callable[[], None]) -> None:
        self._what = what
        self._paths = tuple(paths)
        self._obey = obey
        self._known: bytes | None = None

    async def look(self) -> bool:
        """Obey the files if they are not as they were at the last look; whether they were good and new.

        Raises:
            ConfigurationError: they cannot be used; said once for each change.
        """
        return await asyncio.to_thread(self._look)

    def _look(self) -> bool:
        # Taken before they are obeyed: what changes meanwhile is seen at the next look.
        state = self._state()
        if state == self._known:
            return False
        self._known = state
        self._obey()
        return True

    def _state(self) -> bytes:
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                content = read_file(path, f"{self._what}: {path}")
            except ConfigurationError as error:
                content = str(error).encode()
            digest.update(hashlib.sha256(content).digest())
        return digest.digest()

    async def run(self) -> None:
        """Look for ever; a file that cannot be used is logged, and the old one stays in force."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                if await self.look():
                    telemetry.event("file-obeyed", setting=self._what, files=[str(path) for path in self._paths])
            except ConfigurationError as error:
                telemetry.warning("file-refused", setting=self._what, error=str(error))
            except Exception as error:  # noqa: BLE001 - without the watch, a withdrawn password would stay good
                telemetry.failure("file-watch-failed", error, setting=self._what)


@asynccontextmanager
async def obeying(watch: FileWatch | None) -> AsyncIterator[None]:
    """Obey the files now and whenever they change.

    Raises:
        ConfigurationError: they cannot be used now.
    """
    if watch is None:
        yield
        return
    await watch.look()
    running = asyncio.create_task(watch.run(), name="watch files")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
