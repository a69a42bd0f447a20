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

POLL_INTERVAL_SECONDS = 1.0
"""Seconds between two looks."""


class FileWatch:
    """Obeys files when they change.

    Args:
        setting_name: the setting's name, for messages.
        paths: the files.
        reload: reads them and takes what is good; runs off the loop.
    """

    def __init__(self, setting_name: str, paths: Sequence[Path], reload: Callable[[], None]) -> None:
        self._setting_name = setting_name
        self._paths = tuple(paths)
        self._reload = reload
        self._loaded_digest: bytes | None = None

    async def reload_if_changed(self) -> bool:
        """Obey the files if they are not as they were at the last look; whether they were good and new.

        Raises:
            ConfigurationError: they cannot be used; said once for each change.
        """
        return await asyncio.to_thread(self._reload_if_changed)

    def _reload_if_changed(self) -> bool:
        # Taken before they are obeyed: what changes meanwhile is seen at the next look.
        state = self._digest_files()
        if state == self._loaded_digest:
            return False
        self._loaded_digest = state
        self._reload()
        return True

    def _digest_files(self) -> bytes:
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                content = read_file(path, f"{self._setting_name}: {path}")
            except ConfigurationError as error:
                content = str(error).encode()
            digest.update(hashlib.sha256(content).digest())
        return digest.digest()

    async def run(self) -> None:
        """Look for ever; a file that cannot be used is logged, and the old one stays in force."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            try:
                if await self.reload_if_changed():
                    telemetry.event(
                        "file-obeyed", setting=self._setting_name, files=[str(path) for path in self._paths]
                    )
            except ConfigurationError as error:
                telemetry.warning("file-refused", setting=self._setting_name, error=str(error))
            except Exception as error:  # noqa: BLE001 - without the watch, a withdrawn password would stay good
                telemetry.failure("file-watch-failed", error, setting=self._setting_name)


@asynccontextmanager
async def reload_on_change(watch: FileWatch | None) -> AsyncIterator[None]:
    """Obey the files now and whenever they change.

    Raises:
        ConfigurationError: they cannot be used now.
    """
    if watch is None:
        yield
        return
    await watch.reload_if_changed()
    running = asyncio.create_task(watch.run(), name="watch files")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
