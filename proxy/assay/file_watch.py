"""Files that are reloaded when they change: policies, certificates, password and token files.

Owns the watch: the files' bytes are compared each second, off the event loop and by name, so that a new file, an edited
one and a swapped symbolic link (a Kubernetes ConfigMap) are all seen; a watcher on the file itself missed two of three
such swaps (docs/adr/0012-poll-changed-files.md). What is bad changes nothing, and is said once for each change.
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
"""Seconds between two checks."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What files hold at one moment."""

    contents: tuple[bytes | ConfigurationError, ...]
    """The bytes of each file, or why it cannot be read."""
    digest: bytes


class FileWatch(ABC, Generic[_T]):
    """Loads files when they change, and puts what they say in force.

    Args:
        paths: the files.
        poll_interval_seconds: seconds between two checks.
        settle_seconds: seconds for which changed files must stay as they are before they are loaded; None: loaded at
            once.
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
        """Check now, and load the files even if they have not changed."""
        self._last_digest = None
        self._check_requested.set()

    async def run(self) -> None:
        """Check for ever. A fault of Assay is logged, and the watch goes on."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._check_requested.wait(), self._poll_interval)
            requested = self._check_requested.is_set()
            self._check_requested.clear()
            try:
                has_changed = await self.reload_if_changed()
            except ConfigurationError as error:
                self._on_refused(error)
            except Exception as error:  # noqa: BLE001 - without the watch, a revocation would never arrive
                self._on_fault(error)
            else:
                self._on_checked(has_changed=has_changed, requested=requested)

    async def reload_if_changed(self) -> bool:
        """Load the files if they have changed since the last check; return whether something else is in force now.

        Raises:
            ConfigurationError: they cannot be used; once for each change.
        """
        # Taken before the files are loaded: a later change is seen at the next check.
        state = await asyncio.to_thread(self._read)
        if state.digest == self._last_digest:
            self._on_unchanged()
            return False
        if self._settle_delay is not None:
            await asyncio.sleep(self._settle_delay)
            if (await asyncio.to_thread(self._read)).digest != state.digest:
                return False  # still being written: a later check sees it finished
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
        """Return what the files say; off the event loop.

        Raises:
            ConfigurationError: they cannot be used.
        """

    @abstractmethod
    def _apply(self, loaded: _T) -> bool:
        """Put what was loaded in force, on the event loop; return whether that is something else than before."""

    def _on_unchanged(self) -> None:
        """Note that the files are as they were."""

    @abstractmethod
    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:
        """Report a check that found no fault."""

    @abstractmethod
    def _on_refused(self, error: ConfigurationError) -> None:
        """Report files that cannot be used."""

    @abstractmethod
    def _on_fault(self, error: Exception) -> None:
        """Report a fault of Assay."""


class SettingWatch(FileWatch[None]):
    """Files of one setting.

    Args:
        setting_name: the setting's name, for messages.
        paths: the files.
        reload: reads the files and puts what is good in force; runs off the event loop.
    """

    def __init__(self, setting_name: str, paths: Sequence[Path], reload: Callable[[], None]) -> None:
        super().__init__(paths)
        self._setting_name = setting_name
        self._reload = reload

    def _load(self, _state: FileState) -> None:
        self._reload()

    def _apply(self, _loaded: None) -> bool:
        return True

    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:  # noqa: ARG002 - asked for or not
        if has_changed:
            telemetry.event("file-obeyed", setting=self._setting_name, files=[str(path) for path in self._paths])

    def _on_refused(self, error: ConfigurationError) -> None:
        telemetry.warning("file-refused", setting=self._setting_name, error=str(error))

    def _on_fault(self, error: Exception) -> None:
        telemetry.failure("file-watch-failed", error, setting=self._setting_name)


@asynccontextmanager
async def reload_on_change(watch: SettingWatch | None) -> AsyncIterator[None]:
    """Load the files now and whenever they change.

    Raises:
        ConfigurationError: they cannot be used now.
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
