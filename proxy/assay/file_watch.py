"""Watchers of files that are reloaded when they change: policies, certificates, password and token files.

Once a second, a thread reads each file by its path and compares the contents with the last ones. This detects an edited
file, a new file and a replaced symbolic link (a Kubernetes ConfigMap). inotify missed two of three replaced links
(docs/adr/0012-poll-changed-files.md). Invalid contents are reported once for each change, and have no effect.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import ConfigurationError
from assay.operator_files import read_file

POLL_INTERVAL_SECONDS = 1.0
"""Seconds between two checks of the files."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """Contents of the watched files at one time."""

    contents: tuple[bytes | ConfigurationError, ...]
    """Bytes of each file, or the error that prevents reading it."""
    digest: bytes


class FileWatch(ABC, Generic[_T]):
    """Watcher that loads files when they change, and activates their contents.

    Args:
        paths: the files.
        poll_interval_seconds: seconds between two checks; None: `POLL_INTERVAL_SECONDS`.
        settle_seconds: seconds for which changed files must stay unchanged before they are loaded; None: they are
            loaded at once.
    """

    def __init__(
        self, paths: Sequence[Path], *, poll_interval_seconds: float | None = None, settle_seconds: float | None = None
    ) -> None:
        self._paths = tuple(paths)
        self._poll_interval = POLL_INTERVAL_SECONDS if poll_interval_seconds is None else poll_interval_seconds
        self._settle_delay = settle_seconds
        self._last_digest: bytes | None = None
        self._check_requested = asyncio.Event()

    def request_check(self) -> None:
        """Request an immediate check, which loads the files even if they have not changed."""
        self._last_digest = None
        self._check_requested.set()

    async def run(self) -> None:
        """Check the files repeatedly until cancelled; log unexpected exceptions and continue."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_interval):
                    await self._check_requested.wait()
            requested = self._check_requested.is_set()
            self._check_requested.clear()
            try:
                has_changed = await self.reload_if_changed()
            except ConfigurationError as error:
                self._on_refused(error)
            except Exception as error:  # noqa: BLE001 - without the watch, a revocation would have no effect
                self._on_fault(error)
            else:
                self._on_checked(has_changed=has_changed, requested=requested)

    async def reload_if_changed(self) -> bool:
        """Load the files if they have changed since the last check; return True if different contents are now active.

        Raises:
            ConfigurationError: the changed files are invalid. Later calls do not raise it again until the files change
                again.
        """
        # Read before the files are loaded, so that the next check detects a later change.
        state = await asyncio.to_thread(self._read)
        if state.digest == self._last_digest:
            self._on_unchanged()
            return False
        if self._settle_delay is not None:
            await asyncio.sleep(self._settle_delay)
            if (await asyncio.to_thread(self._read)).digest != state.digest:
                return False  # still being written; a later check loads it
        self._last_digest = state.digest
        return self._apply(await asyncio.to_thread(self._load, state))

    def _read(self) -> FileState:
        contents = tuple(_read_or_error(path) for path in self._paths)
        digest = hashlib.sha256()
        for content in contents:
            digest.update(hashlib.sha256(content if isinstance(content, bytes) else str(content).encode()).digest())
        return FileState(contents=contents, digest=digest.digest())

    @abstractmethod
    def _load(self, state: FileState) -> _T:
        """Parse the contents of the files. This method runs in a thread.

        Raises:
            ConfigurationError: the contents are invalid.
        """

    @abstractmethod
    def _apply(self, loaded: _T) -> bool:
        """Activate the loaded contents; return True if they differ from the contents that were active.

        This method runs in the event loop.
        """

    def _on_unchanged(self) -> None:
        """Do nothing after a check that found no change. A subclass can override this method."""

    @abstractmethod
    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:
        """Report a check that raised no exception.

        Args:
            has_changed: True if the check activated different contents.
            requested: True if `request_check` caused the check; False for a regular check.
        """

    @abstractmethod
    def _on_refused(self, error: ConfigurationError) -> None:
        """Report that the files are invalid."""

    @abstractmethod
    def _on_fault(self, error: Exception) -> None:
        """Report an unexpected exception."""


class SettingWatch(FileWatch[None]):
    """Watcher of the files that one setting names.

    Args:
        setting_name: name of the setting, for messages.
        paths: the files.
        reload: reads the files, and activates them if they are valid. It is called in a thread.
    """

    def __init__(self, setting_name: str, paths: Sequence[Path], reload: Callable[[], None]) -> None:
        super().__init__(paths)
        self._setting_name = setting_name
        self._reload = reload

    def _load(self, _state: FileState) -> None:
        self._reload()

    def _apply(self, _loaded: None) -> bool:
        return True

    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:  # noqa: ARG002 - requested checks are reported in the same way
        if has_changed:
            telemetry.event("file-reloaded", setting=self._setting_name, files=[str(path) for path in self._paths])

    def _on_refused(self, error: ConfigurationError) -> None:
        telemetry.warning("file-invalid", setting=self._setting_name, error=str(error))

    def _on_fault(self, error: Exception) -> None:
        telemetry.failure("file-watch-failed", error, setting=self._setting_name)


@asynccontextmanager
async def reload_on_change(watch: SettingWatch | None) -> AsyncIterator[None]:
    """Load the files now, and reload them after each change until the context ends; do nothing if `watch` is None.

    Raises:
        ConfigurationError: the files are invalid now.
    """
    if watch is None:
        yield
        return
    await watch.reload_if_changed()
    async with BackgroundTasks() as tasks:
        tasks.spawn(watch.run(), name="watch files")
        yield


def _read_or_error(path: Path) -> bytes | ConfigurationError:
    try:
        return read_file(path)
    except ConfigurationError as error:
        return error
