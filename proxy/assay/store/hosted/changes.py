"""Checks and changes that the storages of hosted files share. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from assay.errors import StorageError
from assay.hosted.naming import make_taken_error
from assay.ports import HostedDocument, HostedFile, HostedProject
from assay.simple.model import NormalizedName
from assay.store.hosted.entries import ProjectState


def check_publication(
    filename: str,
    project: NormalizedName,
    *,
    damaged: str | None,
    is_taken: bool,
    current: HostedProject | None,
    known: HostedProject | None,
) -> bool:
    """Return whether a file can be published: its project still equals the one with which the upload was checked.

    Args:
        filename: name of the file.
        project: its project.
        damaged: damaged part of the project, for people; None: all are sound.
        is_taken: True if a file with this name is published.
        current: the project now; None if it has no file.
        known: the project with which the upload was checked.

    Raises:
        StorageError: a part of the project is damaged.
        UploadRefusedError: the name is taken.
    """
    if damaged is not None:
        raise StorageError(
            f"{damaged} of the project {project} is damaged, so its owner, versions and names cannot be checked:"
            " restore it from a backup"
        )
    if is_taken:
        raise make_taken_error(filename)
    return current == known


def change_yanks(state: ProjectState, filenames: Collection[str], reason: str | None) -> ProjectState:
    """Return the state with files yanked for a reason; if it is None, without their yanks."""
    kept = {name: why for name, why in state.yanked.items() if name not in filenames}
    return replace(state, yanked=kept if reason is None else kept | dict.fromkeys(filenames, reason))


def get_document_sha256(file: HostedFile | None, kind: HostedDocument) -> str | None:
    """Return the digest of a document of a file; None if the file does not exist or does not have the document."""
    if file is None:
        return None
    return file.metadata_sha256 if kind == "metadata" else file.provenance_sha256
