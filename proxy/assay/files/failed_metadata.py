"""Memory of METADATA that an index's page promises, although the index cannot give it.

pip and uv request METADATA that a page promises, and fail if it is missing. The pages of the proxy therefore leave out
promises that have failed. A promise consists of the digest of a file and the digest of its METADATA. If the index
changes one of the two digests, the promise is a new one and is not left out. Failures are kept in memory only, so each
promise is tried again after a restart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from assay.caching.lru import Lru
from assay.indexes import IndexSettings
from assay.ports import ProjectKey
from assay.simple.model import File, NormalizedName, Project, Sha256

_MAX_PROJECTS: Final = 2000
"""Limit on the projects with remembered failures."""
_MAX_FAILURES_PER_PROJECT: Final = 5000
"""Limit on the failures of one project."""

_Promise = tuple[Sha256 | None, Sha256 | None]
"""Digest of a file, and the digest of its METADATA, as the page states them. A missing digest is None."""


class FailedMetadata:
    """Promises of METADATA that failed, by project."""

    def __init__(self) -> None:
        self._failures = Lru[ProjectKey, tuple[int, Lru[_Promise, bool]]](max_items=_MAX_PROJECTS)
        self._last_version = 0

    def get_version(self, index: IndexSettings, project: NormalizedName) -> int:
        """Return a number that changes whenever the failures of a project change; 0 if there are none."""
        version, _ = self._failures.peek((index.name, project)) or (0, None)
        return version

    def record(self, index: IndexSettings, project: NormalizedName, file: File) -> None:
        """Record that the METADATA of a file is promised but not available."""
        key = (index.name, project)
        _, failures = self._failures.get(key) or (0, Lru[_Promise, bool](max_items=_MAX_FAILURES_PER_PROJECT))
        failures.put(_get_promise(file), True)  # noqa: FBT003 - a cached value, not a flag
        self._last_version += 1
        self._failures.put(key, (self._last_version, failures))

    def withdraw(self, index: IndexSettings, project: Project) -> Project:
        """Return the project without the promises of METADATA that have failed."""
        _, failures = self._failures.get((index.name, project.name)) or (0, None)
        if failures is None:
            return project
        files = (
            replace(file, core_metadata=None)
            if file.core_metadata is not None and _get_promise(file) in failures
            else file
            for file in project.files
        )
        return replace(project, files=tuple(files))


def _get_promise(file: File) -> _Promise:
    return file.sha256, None if file.core_metadata is None else file.core_metadata.sha256
