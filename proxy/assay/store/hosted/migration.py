"""Copy of a hosted index from one storage to another, with the times of its uploads, its yanks and its statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from assay.errors import StorageError, UpstreamError
from assay.ports import HostedFile, HostedProject, HostedStorage
from assay.simple.model import NormalizedName


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedFiles:
    """Result of a copy."""

    copied: int
    present: int
    """Number of files that the target had already, with the same bytes."""


async def copy_index(
    source: HostedStorage, target: HostedStorage, index: str, report: Callable[[str], None]
) -> CopiedFiles:
    """Copy all files of an index, the earliest upload first, and then the yanks and statuses of its projects.

    A copy that was interrupted can be repeated. The policy does not judge the files again: each page is judged when it
    is requested.

    Args:
        source: storage to read. It must not change meanwhile.
        target: storage to write.
        index: name of the index, in both.
        report: called with the name of each file that was copied.

    Raises:
        StorageError: a file cannot be read or has changed, the target cannot be written, or it has other bytes under
            the same name.
    """
    await target.refresh(index)
    copied = present = 0
    for project, file in sorted(_iter_files(source, index), key=lambda pair: (pair[1].uploaded, pair[1].filename)):
        if _find_file(target.find_project(index, project), file) is not None:
            present += 1
            continue
        await _copy_file(source, target, index, project, file)
        copied += 1
        report(file.filename)
    for name in source.list_projects(index):
        await _copy_state(source.find_project(index, name), target, index)
    return CopiedFiles(copied=copied, present=present)


def _iter_files(storage: HostedStorage, index: str) -> Iterator[tuple[NormalizedName, HostedFile]]:
    for name in storage.list_projects(index):
        project = storage.find_project(index, name)
        for file in () if project is None else project.files:
            yield name, file


def _find_file(project: HostedProject | None, file: HostedFile) -> HostedFile | None:
    """Return the file of the same name and bytes; None if the project has no file of this name.

    Raises:
        StorageError: the project has other bytes under this name.
    """
    found = next((each for each in (() if project is None else project.files) if each.filename == file.filename), None)
    if found is not None and found.sha256 != file.sha256:
        raise StorageError(f"{file.filename} has other bytes in the target (SHA-256 {found.sha256})")
    return found


async def _copy_file(
    source: HostedStorage, target: HostedStorage, index: str, project: NormalizedName, file: HostedFile
) -> None:
    metadata = await source.read_document(index, project, file.filename, "metadata")
    provenance = await source.read_document(index, project, file.filename, "provenance")
    async with target.stage(index) as staged:
        try:
            async with source.open_file(index, project, file.filename, start=0, url=file.filename) as body:
                async for chunk in body.chunks:
                    await staged.write(bytes(chunk))
        except UpstreamError as error:
            raise StorageError(f"{file.filename} cannot be read: {error}") from error
        sha256, _ = await staged.finish()
        if sha256 != file.sha256:
            raise StorageError(f"{file.filename} has changed: expected the SHA-256 {file.sha256}, found {sha256}")
        while not await target.publish(
            index,
            project,
            staged,
            replace(file, yanked=None),
            metadata=metadata,
            provenance=provenance,
            known=target.find_project(index, project),
        ):
            await target.refresh(index)


async def _copy_state(project: HostedProject | None, target: HostedStorage, index: str) -> None:
    current = None if project is None else target.find_project(index, project.name)
    if project is None or current is None:
        return
    known = {file.filename: file.yanked for file in current.files}
    for file in project.files:
        if known.get(file.filename) != file.yanked:
            await target.set_yanked(index, project.name, [file.filename], file.yanked)
    if (current.status, current.reason) != (project.status, project.reason):
        await target.set_status(index, project.name, project.status, project.reason)
