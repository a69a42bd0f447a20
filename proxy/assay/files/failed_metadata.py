"""Memory of METADATA that an index's page promises, although the index cannot give it.

pip and uv request METADATA that a page promises, and fail if it is missing. The pages of the proxy therefore leave out
promises that have failed. A promise consists of the digest of a file and the digest of its METADATA. If the index
changes one of the two digests, the promise is a new one and is not left out. If the wheel is inspected later, its
METADATA is known and the failure is forgotten. Failures are kept in memory only, so each promise is tried again after a
restart.

If replicas share the records, failures are also recorded, for a day. All replicas then send the same page, and a client
meets the failure once and not at each replica.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from assay.caching.lru import Lru
from assay.indexes import IndexSettings
from assay.ports import Notice, Notices, NoticeTopic, ProjectKey, RecordStore
from assay.simple.model import File, NormalizedName, Project

_MAX_PROJECTS: Final = 2000
"""Limit on the projects with remembered failures."""
_MAX_FAILURES_PER_PROJECT: Final = 5000
"""Limit on the failures of one project."""
_RECORD_SECONDS: Final = 86400.0
"""Time in seconds for which a recorded failure counts for replicas that load it."""
_MAX_PROMISE_CHARACTERS: Final = 200


@dataclass(slots=True)
class _Failures:
    """Failures of one project."""

    version: int = 0
    promises: Lru[str, float] = field(default_factory=lambda: Lru[str, float](max_items=_MAX_FAILURES_PER_PROJECT))
    """Times of the failures, in seconds since 1970, by promise."""
    is_loaded: bool = False
    """True if the record has been read."""


class FailedMetadata:
    """Promises of METADATA that failed, by project.

    Args:
        records: storage of the failures, if replicas share it. None: failures are in memory only.
        notices: tells other replicas of a failure, and this one of theirs.
        clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        *,
        records: RecordStore | None = None,
        notices: Notices | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records if records is not None and records.is_shared else None
        self._notices = notices
        self._clock = clock
        self._failures = Lru[ProjectKey, _Failures](max_items=_MAX_PROJECTS)
        self._last_version = 0
        if self._records is not None and notices is not None:
            notices.subscribe(self._handle_notice)

    def get_version(self, index: IndexSettings, project: NormalizedName) -> int:
        """Return a number that changes whenever the failures of a project change; 0 if there are none."""
        found = self._failures.peek((index.name, project))
        return 0 if found is None else found.version

    async def load(self, index: IndexSettings, project: NormalizedName) -> None:
        """Load the failures that other replicas have recorded, if they are not in memory."""
        if self._records is None:
            return
        key = (index.name, project)
        failures = self._failures.get(key)
        if failures is not None and failures.is_loaded:
            return
        recorded = self._decode(await self._records.get(_build_record_key(key)))
        failures = self._failures.get(key) or _Failures()
        failures.is_loaded = True
        for promise, failed_at in recorded.items():
            if promise not in failures.promises:
                failures.promises.put(promise, failed_at)
        self._failures.put(key, failures)

    async def record(self, index: IndexSettings, project: NormalizedName, file: File) -> None:
        """Record that the METADATA of a file is promised but not available."""
        key = (index.name, project)
        failures = self._failures.get(key) or _Failures()
        failures.promises.put(_get_promise(file), self._clock())
        self._raise_version(key, failures)
        if self._records is None:
            return
        recorded = self._decode(await self._records.get(_build_record_key(key)))
        merged = list((recorded | failures.promises.snapshot()).items())[-_MAX_FAILURES_PER_PROJECT:]
        await self._records.put(_build_record_key(key), json.dumps(dict(merged)).encode())
        self._publish(key)

    async def forget(self, index: IndexSettings, project: NormalizedName, file: File) -> None:
        """Forget the failure of a file's promise, because the METADATA is known now. Do nothing if it has not failed.

        The page is then judged again, by all replicas.
        """
        await self.load(index, project)
        key, promise = (index.name, project), _get_promise(file)
        failures = self._failures.peek(key)
        if failures is None or failures.promises.pop(promise) is None:
            return
        self._raise_version(key, failures)
        if self._records is None:
            return
        recorded = self._decode(await self._records.get(_build_record_key(key)))
        if recorded.pop(promise, None) is not None:
            await self._records.put(_build_record_key(key), json.dumps(recorded).encode())
        self._publish(key)

    def withdraw(self, index: IndexSettings, project: Project) -> Project:
        """Return the project without the promises of METADATA that have failed."""
        failures = self._failures.get((index.name, project.name))
        if failures is None or not failures.promises:
            return project
        files = (
            replace(file, core_metadata=None)
            if file.core_metadata is not None and _get_promise(file) in failures.promises
            else file
            for file in project.files
        )
        return replace(project, files=tuple(files))

    def _publish(self, key: ProjectKey) -> None:
        if self._notices is not None:
            self._notices.publish(Notice(index=key[0], project=key[1], topic=NoticeTopic.WHEELS))

    def _raise_version(self, key: ProjectKey, failures: _Failures) -> None:
        self._last_version += 1
        failures.version = self._last_version
        self._failures.put(key, failures)

    def _handle_notice(self, notice: Notice) -> None:
        """Have the failures of a project loaded again if another replica may have new ones.

        `EVERYTHING` has all pages judged again, so their version need not change.
        """
        if not notice.is_remote or notice.topic not in {NoticeTopic.WHEELS, None}:
            return
        if notice.index is None or notice.project is None:
            for failures in self._failures.snapshot().values():
                failures.is_loaded = False
            return
        key = (notice.index, notice.project)
        failures = self._failures.peek(key) or _Failures()
        failures.is_loaded = False
        self._raise_version(key, failures)

    def _decode(self, record: bytes | None) -> dict[str, float]:
        """Return the recorded failures that are not too old; none if the record is missing or invalid."""
        try:
            found = json.loads(record) if record is not None else {}
        except ValueError:
            return {}
        if not isinstance(found, dict):
            return {}
        now = self._clock()
        return {
            promise: failed_at
            for promise, failed_at in list(found.items())[-_MAX_FAILURES_PER_PROJECT:]
            if len(promise) <= _MAX_PROMISE_CHARACTERS
            and isinstance(failed_at, float)
            and math.isfinite(failed_at)
            and abs(now - failed_at) < _RECORD_SECONDS
        }


def _get_promise(file: File) -> str:
    """Return the digest of a file and the digest of its METADATA, as the page states them, as text."""
    metadata = None if file.core_metadata is None else file.core_metadata.sha256
    return f"{file.sha256 or ''} {metadata or ''}"


def _build_record_key(key: ProjectKey) -> str:
    return f"failed-metadata:{key[0]}:{key[1]}"
