"""Evidence source for Sigstore bundles in a directory, such as reviews and scans of an organization.

The bundles about a file are in ``<sha256>.jsonl``, one in each line, or in ``<sha256>/*.json``, one in each file. Once
a second, a thread lists the directory (docs/adr/0012-poll-changed-files.md). A change gives the source a new version,
on which each judged page depends. Unlike the documents of other sources, a removed bundle no longer counts.

If the directory cannot be read, the files that need it are unavailable. If one file in it cannot be read, such as a
broken link or a FIFO, only the distribution file that it is about is unavailable. A line that is not JSON in UTF-8,
or that has the same key twice, is left out.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay import telemetry
from assay.attestation.verification.errors import CheckFailed
from assay.attestation.verification.strict_json import parse_strict_json_list
from assay.caching.background import BackgroundTasks
from assay.caching.lru import Lru
from assay.errors import ConfigurationError, UpstreamUnavailableError
from assay.file_watch import POLL_INTERVAL_SECONDS
from assay.operator_files import read_regular_file
from assay.policy.candidate import SourceFacts
from assay.provenance.sources.settings import FilesSourceSettings

_MAX_FILES: Final = 100_000
"""Maximum number of files in the directory and its subdirectories."""
_MAX_DOCUMENT_BYTES: Final = 8 * 2**20
"""Maximum size of all bundles about one file."""
_MAX_REPORTED: Final = 1000
_NAME: Final = re.compile(r"([0-9a-f]{64})(\.jsonl)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """Contents of the directory at one time."""

    version: str
    paths: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Files with bundles, by the digest that they are about."""
    problem: str | None = None
    """Reason why the directory cannot be used; None if it can."""


class FilesSource:
    """Source of the bundles in a directory. Implements `LocalSource`.

    Args:
        settings: table of the configuration.
        poll_interval_seconds: seconds between two checks of the directory.
    """

    def __init__(self, settings: FilesSourceSettings, *, poll_interval_seconds: float = POLL_INTERVAL_SECONDS) -> None:
        self.name = settings.name
        self._directory = settings.path
        self._interval = poll_interval_seconds
        self._snapshot = _Snapshot(version="", problem="the directory has not been read yet")
        self._reported = Lru[tuple[str, str], bool](max_items=_MAX_REPORTED)
        self._tasks = BackgroundTasks()

    @property
    def version(self) -> str:
        """Digest of the names, sizes and times of all files. Each change gives another one."""
        return self._snapshot.version

    @property
    def facts(self) -> SourceFacts:
        """Facts for the policy: the source is asked about every file that needs further evidence."""
        return SourceFacts(name=self.name)

    async def start(self) -> None:
        """Read the directory, and again every second until `close`.

        Raises:
            ConfigurationError: the directory cannot be read.
        """
        await self.refresh()
        if self._snapshot.problem is not None:
            raise ConfigurationError(f"evidence {self.name}: {self._snapshot.problem}")
        self._tasks.spawn(self._watch(), name=f"watch evidence {self.name}")

    async def close(self) -> None:
        """End the checks."""
        await self._tasks.close()

    async def refresh(self) -> bool:
        """Read the directory now; return whether it has changed."""
        before, self._snapshot = self._snapshot, await asyncio.to_thread(_scan, self._directory)
        return before.version != self._snapshot.version

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            if not await self.refresh():
                continue
            problem = self._snapshot.problem
            if problem is None:
                telemetry.event("evidence-files-changed", source=self.name, digests=len(self._snapshot.paths))
            else:
                telemetry.warning("evidence-files-unavailable", source=self.name, error=problem)

    def is_absent(self, sha256: str) -> bool:
        """Return whether the directory certainly has no bundle about a digest."""
        return self._snapshot.problem is None and sha256 not in self._snapshot.paths

    async def load(self, sha256: str) -> bytes | None:
        """Return the bundles about a digest as a JSON list; None if the directory has none.

        Raises:
            UpstreamUnavailableError: the directory or a file cannot be read.
        """
        snapshot = self._snapshot
        if snapshot.problem is not None:
            raise UpstreamUnavailableError(f"{self.name}: {snapshot.problem}")
        paths = snapshot.paths.get(sha256)
        if paths is None:
            return None
        try:
            bundles, invalid = await asyncio.to_thread(_read_bundles, paths)
        except ConfigurationError as error:
            raise UpstreamUnavailableError(f"{self.name}: {error}") from error
        for place in invalid:
            if (place, snapshot.version) not in self._reported:
                self._reported.put((place, snapshot.version), True)  # noqa: FBT003 - a set with a limit
                telemetry.warning("evidence-file-invalid", source=self.name, file=place, error="not JSON")
        return b"[" + b",".join(bundles) + b"]" if bundles else None


def _scan(directory: Path) -> _Snapshot:
    """Return the contents of the directory. Files and directories with other names are ignored."""
    found: dict[str, list[Path]] = {}
    state: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None:
                    continue
                if match[2] is not None:
                    _add(Path(entry.path), entry, found.setdefault(match[1], []), state)
                elif entry.is_dir():
                    _scan_subdirectory(entry, found.setdefault(match[1], []), state)
                if len(state) > _MAX_FILES:
                    problem = f"{directory} has more than {_MAX_FILES} files"
                    return _Snapshot(version=problem, problem=problem)
    except OSError as error:
        problem = f"{error.filename or directory}: cannot be read: {error.strerror}"
        return _Snapshot(version=problem, problem=problem)
    version = hashlib.sha256(json.dumps(sorted(state)).encode("utf-8", "surrogateescape")).hexdigest()
    paths = {digest: tuple(sorted(paths)) for digest, paths in found.items() if paths}
    return _Snapshot(version=version, paths=paths)


def _scan_subdirectory(directory: os.DirEntry[str], paths: list[Path], state: list[str]) -> None:
    """Add the bundles in a subdirectory. If it cannot be read, it is added itself, so that reading it fails later."""
    try:
        with os.scandir(directory.path) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    _add(Path(entry.path), entry, paths, state)
                if len(state) > _MAX_FILES:
                    return
    except OSError as error:
        if _was_removed(error, directory):
            return
        state.append(f"{directory.path} {error.errno}")
        paths.append(Path(directory.path))


def _add(path: Path, entry: os.DirEntry[str], paths: list[Path], state: list[str]) -> None:
    """Add a file. If it is a broken link, reading it fails later. A file that was removed just now is not added."""
    try:
        status = entry.stat()
        state.append(f"{path} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}")
    except OSError as error:
        if _was_removed(error, entry):
            return
        state.append(f"{path} {error.errno}")
    paths.append(path)


def _was_removed(error: OSError, entry: os.DirEntry[str]) -> bool:
    """Return whether an entry was removed after its directory was listed, and the directory is still at its path."""
    if error.errno != errno.ENOENT or entry.is_symlink():
        return False
    return os.path.isdir(os.path.dirname(entry.path))  # noqa: PTH112, PTH120 - no Path for each of 100,000 files


def _read_bundles(paths: tuple[Path, ...]) -> tuple[list[bytes], list[str]]:
    """Return the texts of the bundles in files, and the places of texts that are not JSON.

    Raises:
        ConfigurationError: a file cannot be read, or the files are too large.
    """
    bundles: list[bytes] = []
    invalid: list[str] = []
    size = 0
    for path in paths:
        try:
            content = read_regular_file(path, _MAX_DOCUMENT_BYTES)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
        size += len(content)
        if size > _MAX_DOCUMENT_BYTES:
            raise ConfigurationError(f"{path.parent}: the bundles have more than {_MAX_DOCUMENT_BYTES} bytes")
        texts = content.splitlines() if path.suffix == ".jsonl" else [content]
        for number, line in enumerate(texts, 1):
            text = line.removeprefix(codecs.BOM_UTF8)  # editors on Windows write this mark
            if not text.strip():
                continue
            if _is_strict_json(text):
                bundles.append(text)
            else:
                invalid.append(f"{path}:{number}" if path.suffix == ".jsonl" else str(path))
    return bundles, invalid


def _is_strict_json(text: bytes) -> bool:
    """Return whether verification can read a text in a list of bundles. Otherwise it could not read the others."""
    try:
        return len(parse_strict_json_list(b"[%b]" % text, "bundle")) == 1
    except CheckFailed:
        return False
