"""Move of a hosted index from a directory to the shared storage."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from assay.errors import ConfigurationError, StorageError
from assay.store.hosted.directory import HostedDirectory
from assay.store.hosted.migration import CopiedFiles, copy_index
from assay.store.postgresql.checks import check_database
from assay.store.shared.engines import make_engines, open_shared_hosted
from assay.store.shared.settings import SharedSettings


async def migrate_directory(
    settings: SharedSettings, index: str, directory: Path, report: Callable[[str], None]
) -> CopiedFiles:
    """Copy an index from a directory of hosted files to the shared storage. Replicas may run meanwhile.

    Args:
        settings: settings of the shared storage.
        index: name of the index.
        directory: directory of hosted files. No process may use it.
        report: called with the name of each file that was copied.

    Raises:
        ConfigurationError: the directory does not have the index, or the shared storage is not one of this deployment
            or has no object storage.
        StorageInUseError: a process uses the directory.
        StorageError: a file of the directory is damaged, or the copy failed.
    """
    if not await asyncio.to_thread((directory / index / "projects").is_dir):
        raise ConfigurationError(f"{directory} has no hosted index {index}")
    engines = await asyncio.to_thread(make_engines, settings)
    async with AsyncExitStack() as stack:
        source = await HostedDirectory.open(directory, [index])
        stack.push_async_callback(source.close)
        if source.damaged:
            raise StorageError(
                f"{directory} has damaged files, such as {source.damaged[0]}: restore them from a backup"
            )
        await engines.database.open()
        stack.push_async_callback(engines.database.close)
        await check_database(engines.database, deployment=settings.deployment)
        if engines.bucket is not None:
            stack.push_async_callback(engines.bucket.close)
        staging = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-"))
        stack.push_async_callback(asyncio.to_thread, shutil.rmtree, staging)
        target = await open_shared_hosted(engines.database, engines.bucket, settings, [index], directory=staging)
        stack.push_async_callback(target.close)
        return await copy_index(source, target, index, report)
