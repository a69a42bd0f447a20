"""Protocol of the storage of hosted indexes, and the values that it passes. Pure.

Hosted files are state and never evicted. All parts of an upload become visible in one step: file, METADATA,
provenance and entry. The look-ups never wait: they return what this process knows. `refresh` updates it with what other
processes have published.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Literal, Protocol, TypeAlias

from assay.evidence import PublisherIdentity
from assay.ports.index import FileBody
from assay.simple.model import NormalizedName

HostedDocument: TypeAlias = Literal["metadata", "provenance"]
"""Kind of a document beside a hosted file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFile:
    """Entry of a published file."""

    filename: str
    version: str
    sha256: str
    size: int
    """Size in bytes."""
    uploaded: datetime
    """Time of the upload, UTC."""
    uploader: str
    """Name of the user who uploaded the file."""
    requires_python: str | None = None
    metadata_sha256: str | None = None
    """SHA-256 of the METADATA; None for a source archive."""
    provenance_sha256: str | None = None
    """SHA-256 of the provenance document; None if the file has no attestation."""
    signers: tuple[PublisherIdentity, ...] = ()
    """Publishers that signed the attestations, as verified at the upload."""
    yanked: str | None = None
    """Reason for the yank, which may be empty (PEP 592). None if the file is not yanked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedProject:
    """All files of a project, in the order of their uploads, and the status of the project."""

    name: NormalizedName
    files: tuple[HostedFile, ...] = ()
    status: str = "active"
    """Status marker (PEP 792)."""
    reason: str | None = None
    """Reason of the status."""
    version: str = ""
    """Text that changes with every change of the project. It is used as an ETag."""


class StagedFile(Protocol):
    """File of an upload in progress. It is discarded unless it is published."""

    @property
    def size(self) -> int:
        """Number of bytes written."""

    async def write(self, data: bytes | bytearray) -> None:
        """Append bytes, and hash them.

        Raises:
            StorageError: the storage failed.
        """

    async def finish(self) -> tuple[str, str]:
        """Flush the file to the disk; return its SHA-256 and its BLAKE2b-256, hexadecimal."""

    def open_reader(self) -> BinaryIO:
        """Open the finished file for reading. Blocking."""


class HostedStorage(Protocol):
    """Storage of the files of all hosted indexes."""

    def find_project(self, index: str, project: NormalizedName) -> HostedProject | None:
        """Return a project of an index; None if the index has no file of it. Never wait."""

    def list_projects(self, index: str) -> tuple[NormalizedName, ...]:
        """Return the projects of an index, sorted. Never wait."""

    def is_current(self, index: str) -> bool:
        """Return whether `refresh` has nothing to do now. Never wait.

        If it is true, the look-ups show all changes for which `publish`, `set_yanked` or `set_status` has returned in
        any process. A process that cannot reach the storage shows the last known files for a limited time.
        """

    async def refresh(self, index: str) -> None:
        """Make the look-ups show all changes for which a method of any process has returned before this call.

        Raises:
            StorageError: the storage cannot be reached, and what this process knows is too old.
        """

    async def wait_until_visible(self, index: str) -> None:
        """Wait until all processes show what this process shows."""

    def stage(self, index: str) -> AbstractAsyncContextManager[StagedFile]:
        """Open a staged file, which is removed when the context ends.

        Raises:
            StorageError: the storage failed.
        """

    async def publish(
        self,
        index: str,
        project: NormalizedName,
        staged: StagedFile,
        file: HostedFile,
        *,
        metadata: bytes | None,
        provenance: bytes | None,
        known: HostedProject | None,
    ) -> bool:
        """Publish a staged file with its documents, durably and in one step, if its project still equals `known`.

        Returns:
            True after the file is visible in all processes. False if the project has changed since `known` was looked
            up: nothing is published, the look-ups show the change, and the caller must check the upload again.

        Raises:
            UploadRefusedError: the name is taken.
            StorageError: the storage failed. Nothing is published.
        """

    async def set_yanked(
        self, index: str, project: NormalizedName, filenames: Collection[str], reason: str | None
    ) -> None:
        """Yank files (PEP 592) for a reason, which may be empty; if it is None, undo the yank.

        Raises:
            StorageError: the storage failed.
        """

    async def set_status(self, index: str, project: NormalizedName, status: str, reason: str | None) -> None:
        """Set the status of a project (PEP 792).

        Raises:
            StorageError: the storage failed.
        """

    async def read_document(
        self, index: str, project: NormalizedName, filename: str, kind: HostedDocument
    ) -> bytes | None:
        """Return a document of a file; None if the file does not have it.

        Raises:
            StorageError: the document cannot be read, or its digest differs from that in the entry.
        """

    def open_file(
        self, index: str, project: NormalizedName, filename: str, *, start: int, url: str
    ) -> AbstractAsyncContextManager[FileBody]:
        """Open the bytes of a file from offset `start`.

        Raises:
            UpstreamGoneError: the index has no such file.
            UpstreamError: the file cannot be read.
        """

    async def close(self) -> None:
        """Release the storage."""
