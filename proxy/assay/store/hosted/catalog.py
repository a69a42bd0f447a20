"""Catalog of the hosted files of one index, made from the rows of a database. Rows are untrusted.

An unusable row hides its own file and stops uploads to its project. An unusable state of a project hides its files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from packaging.utils import NormalizedName

from assay import telemetry
from assay.errors import UploadRefusedError
from assay.ports import HostedFile, HostedProject
from assay.store.hosted.entries import ProjectState, check_entry, decode_entry, decode_state, make_project

_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DAMAGED_STATE: Final = ProjectState(status="quarantined", reason="the record of its status is damaged")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """Row of a published file."""

    project: str
    filename: str
    upload: str
    """Random identifier of the upload, which is part of the keys of its objects."""
    entry: bytes | None
    """Entry of the file (`store.hosted.entries`); None if it is too large."""
    changed: int
    """Version of the index that added the row."""

    @property
    def weight(self) -> int:
        """Number of characters and bytes of the row."""
        return len(self.project) + len(self.filename) + len(self.upload) + len(self.entry or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRow:
    """Row with the state of a project."""

    project: str
    state: bytes | None
    """State of the project (`store.hosted.entries`); None if it is too large."""
    changed: int
    """Version of the index that last changed the row."""

    @property
    def weight(self) -> int:
        """Number of characters and bytes of the row."""
        return len(self.project) + len(self.state or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogProject:
    """Project as far as this process knows it."""

    shown: HostedProject | None = None
    """The project; None if it has no usable file."""
    files: Mapping[str, HostedFile] = field(default_factory=dict)
    """Usable files by filename."""
    uploads: Mapping[str, str] = field(default_factory=dict)
    """Identifier of the upload of each usable file, by filename."""
    state: ProjectState = field(default_factory=ProjectState)
    revision: int = 0
    """Version of the index that last changed a row of the project."""
    damaged: str | None = None
    """Filename of an unusable row, or "its status". Such a project takes no uploads."""
    files_weight: int = 0
    state_weight: int = 0
    """Number of characters and bytes of the rows of the files, and of the row with the state."""


Catalog: TypeAlias = Mapping[NormalizedName, CatalogProject]


def merge_rows(index: str, known: Catalog, files: Iterable[FileRow], states: Iterable[StateRow]) -> Catalog:
    """Return a catalog with the contents of new and changed rows. A row that is known already changes nothing."""
    new_files = defaultdict[NormalizedName, list[FileRow]](list)
    for row in files:
        new_files[NormalizedName(row.project)].append(row)
    new_states = {NormalizedName(row.project): row for row in states}
    changed = {
        name: _merge_project(index, name, known.get(name, CatalogProject()), new_files[name], new_states.get(name))
        for name in (*new_files, *(name for name in new_states if name not in new_files))
    }
    return {**known, **changed}


def weigh_catalog(catalog: Catalog) -> int:
    """Return the number of characters and bytes of all rows of which a catalog was made."""
    return sum(project.files_weight + project.state_weight for project in catalog.values())


def find_lost(before: Catalog, after: Catalog) -> tuple[str, ...]:
    """Return the names of the files that an earlier catalog has and a later one has not, or with other bytes."""
    none = CatalogProject()
    return tuple(
        filename
        for name, project in before.items()
        for filename, file in project.files.items()
        if (now := after.get(name, none).files.get(filename)) is None or now.sha256 != file.sha256
    )


def _merge_project(
    index: str, name: NormalizedName, known: CatalogProject, rows: Iterable[FileRow], state_row: StateRow | None
) -> CatalogProject:
    files, uploads, damaged = dict(known.files), dict(known.uploads), known.damaged
    state, revision = known.state, known.revision
    files_weight, state_weight = known.files_weight, known.state_weight
    for row in rows:
        revision = max(revision, row.changed)
        files_weight += row.weight
        try:
            files[row.filename] = _read_file(row, name)
            uploads[row.filename] = row.upload
        except (ValueError, UploadRefusedError) as error:
            damaged = row.filename
            telemetry.security("hosted-entry-unusable", path=f"{index}/{name}/{row.filename}", error=str(error))
    if state_row is not None:
        revision = max(revision, state_row.changed)
        state_weight = state_row.weight
        try:
            state = decode_state(_require(state_row.state))
        except ValueError as error:
            state, damaged = _DAMAGED_STATE, "its status"
            telemetry.security("hosted-entry-unusable", path=f"{index}/{name}", error=str(error))
    return CatalogProject(
        shown=make_project(name, files.values(), state) if files else None,
        files=files,
        uploads=uploads,
        state=state,
        revision=revision,
        damaged=damaged,
        files_weight=files_weight,
        state_weight=state_weight,
    )


def _read_file(row: FileRow, project: NormalizedName) -> HostedFile:
    """Return the file of a row.

    Raises:
        ValueError: the row is malformed.
        UploadRefusedError: the filename belongs to another project or version.
    """
    if not _UPLOAD_ID.fullmatch(row.upload):
        raise ValueError("the identifier of the upload is malformed")
    file = decode_entry(_require(row.entry))
    if file.filename != row.filename:
        raise ValueError("the entry belongs to another file")
    check_entry(file, project)
    return file


def _require(value: bytes | None) -> bytes:
    if value is None:
        raise ValueError("the entry is too large")
    return value
