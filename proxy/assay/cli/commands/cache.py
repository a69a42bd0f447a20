"""Command ``assay cache``: show usage (``stats``), find corrupt files (``verify``), remove files (``prune``).

With ``warm``, the command downloads the files of a lockfile into the cache.

The command needs exclusive use of the storage directory. A running proxy reports its usage on ``/metrics`` instead. If
replicas share the storage, the command is about the local tier of one of them. Then ``warm`` works beside all of them:
it downloads the files into a temporary directory, and the object storage keeps them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from assay import telemetry
from assay.assembly import Assembly, assemble
from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD, lockfile_report
from assay.cli.dry_run import judge_pages, own_directory
from assay.cli.findings import LockfileFinding, build_findings
from assay.cli.policy_option import choose_policy
from assay.cli.progress import ProgressReport
from assay.cli.tables import escape_unprintable, print_table
from assay.config import Configuration, load_configuration
from assay.errors import AssayError, ConfigurationError, StorageInUseError
from assay.files.cache import Cached
from assay.lockfiles import Lockfile
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved
from assay.ports import BlobUsage, LocalStorage, RecordStore, RecordUsage
from assay.store.factory import has_storage, open_local_storage
from assay.store.settings import StorageSettings
from assay.units import format_size, parse_size
from assay.views import DEFAULT_VIEW

_MAX_CONCURRENT_DOWNLOADS = 4
_KINDS = {"blobs": "files", "records": "records"}
"""Words of the table for the keys of the JSON document."""


def main(options: argparse.Namespace) -> int:
    """Run the action that the options name, and return the exit status.

    The status is 1 if corruption was found or a file is withheld, 3 if a file could not be fetched, and otherwise 0.

    Raises:
        ConfigurationError: the configuration, a size or the lockfile is invalid, or the storage does not exist yet.
        StorageInUseError: a proxy uses the storage directory.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    storage = load_configuration(options.config, os.environ).storage
    match options.action:
        case "stats":
            return asyncio.run(_print_stats(storage, as_json=options.json))
        case "verify":
            return asyncio.run(_verify(storage))
        case "prune":
            return asyncio.run(_prune(storage, options.to))
        case _:
            if options.lockfile is None:
                raise ConfigurationError("cache warm: expected the path of a lockfile, found no path")
            lockfile, _ = lockfile_report.load_lockfile(options.lockfile)
            by = choose_policy(options)
            return asyncio.run(_warm(by.configuration, by.policy, lockfile))


@asynccontextmanager
async def _open_exclusively(storage: StorageSettings) -> AsyncIterator[tuple[LocalStorage, RecordStore | None]]:
    """Yield the local parts of the storage, and the records; None if the records are in a shared database."""
    if not await asyncio.to_thread(has_storage, storage):
        raise ConfigurationError(f"storage.directory: {storage.directory} has no storage yet; assay serve creates it")
    async with AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(open_local_storage(storage))
        except StorageInUseError as error:
            raise StorageInUseError(f"{error}. See /metrics for the storage usage of a running proxy") from error
        yield opened


async def _print_stats(storage: StorageSettings, *, as_json: bool) -> int:
    async with _open_exclusively(storage) as (store, records):
        usages: dict[str, BlobUsage | RecordUsage] = {"blobs": await store.blobs.stats()}
        if records is not None:
            usages["records"] = await records.stats()
    if as_json:
        sizes = {kind: {"count": each.count, "size": each.size, "limit": each.limit} for kind, each in usages.items()}
        print(json.dumps({"directory": str(storage.directory), **sizes}, indent=2))
        return EXIT_OK
    rows = [
        (_KINDS[kind], str(each.count), format_size(each.size), format_size(each.limit))
        for kind, each in usages.items()
    ]
    print(f"{storage.directory}\n")
    print_table(("KIND", "COUNT", "SIZE", "LIMIT"), rows)
    return EXIT_OK


async def _verify(storage: StorageSettings) -> int:
    broken = 0
    async with _open_exclusively(storage) as (store, records):
        with ProgressReport("files read") as report:
            blobs = await store.blobs.verify(report)
        if records is not None:
            with ProgressReport("records read") as report:
                broken = await records.verify(report)
    print(f"{blobs.checked} files checked ({format_size(blobs.size)}), {len(blobs.broken)} corrupt files removed")
    for sha256 in blobs.broken:
        print(f"  {sha256}")
    print(f"{broken} corrupt records removed")
    return EXIT_WITHHELD if blobs.broken or broken else EXIT_OK


async def _prune(storage: StorageSettings, target_size: str | None) -> int:
    try:
        limit = storage.blobs if target_size is None else parse_size(target_size)
    except ValueError as error:
        raise ConfigurationError(f"--to: expected {error}, found {target_size!r}") from error
    async with _open_exclusively(storage) as (store, _):
        pruned = await store.blobs.prune(limit)
        left = await store.blobs.stats()
    print(f"{pruned.count} files removed ({format_size(pruned.size)}), {left.count} remain ({format_size(left.size)})")
    return EXIT_OK


async def _warm(configuration: Configuration, policy: Policy, lockfile: Lockfile) -> int:
    single_view = configuration.model_copy(update={"views": ()})
    async with (
        own_directory(single_view) as own,
        assemble(own, {DEFAULT_VIEW: policy}) as assembly,
    ):
        pages = await judge_pages(assembly, (pinned.project for pinned in lockfile.files))
        findings = build_findings(lockfile, pages)
        wanted = [each.verdict for each in findings if isinstance(each.verdict, Approved)]
        failures = await _download_all(assembly, wanted)
        failures |= await _find_unkept(assembly, [each for each in wanted if each.file.filename not in failures])
    _report_missing(findings, lockfile.unpinned, failures)
    print(f"{len(wanted) - len(failures)} of {len(lockfile.files)} files are in the cache")
    return EXIT_UNDECIDED if failures else lockfile_report.get_exit_status(findings)


async def _download_all(assembly: Assembly, approved_files: list[Approved]) -> dict[str, str]:
    """Download the files that are not in the cache. Return the error message of each failed download by filename."""
    failures: dict[str, str] = {}
    slots, done = asyncio.Semaphore(_MAX_CONCURRENT_DOWNLOADS), 0

    async def fetch(approved: Approved) -> None:
        nonlocal done
        async with slots:
            try:
                async with assembly.gate.open_content(approved) as content:
                    if not isinstance(content, Cached):
                        await content.download.wait_until_verified()
                        await content.still_approved()
            except AssayError as error:
                failures[approved.file.filename] = str(error)
        done += 1
        report(done, len(approved_files))

    with ProgressReport("files fetched") as report:
        await asyncio.gather(*(fetch(approved) for approved in approved_files))
    return failures


async def _find_unkept(assembly: Assembly, downloaded: list[Approved]) -> dict[str, str]:
    """Return a message for each file that the object storage of replicas does not have; nothing without replicas."""
    objects = assembly.store.objects
    if objects is None:
        return {}
    await assembly.wait_until_kept()
    failures: dict[str, str] = {}
    for approved in downloaded:
        try:
            if not await objects.has(approved.sha256):
                failures[approved.file.filename] = "the object storage does not have it"
        except AssayError as error:
            failures[approved.file.filename] = str(error)
    return failures


def _report_missing(findings: list[LockfileFinding], loose: tuple[str, ...], failures: dict[str, str]) -> None:
    for each in findings:
        if not isinstance(each.verdict, Approved):
            why = ", ".join(each.codes) if each.problem is None else each.problem
            print(f"not fetched: {escape_unprintable(each.pinned.label)}: {escape_unprintable(why)}", file=sys.stderr)
    for filename, message in failures.items():
        print(f"failed: {escape_unprintable(filename)}: {escape_unprintable(message)}", file=sys.stderr)
    for entry in loose:
        print(f"not pinned: {escape_unprintable(entry)}", file=sys.stderr)
