"""Command ``assay cache``: show usage (``stats``), find corrupt files (``verify``), remove files (``prune``).

With ``warm``, the command downloads the files of a lockfile into the cache.

The command needs exclusive use of the storage directory. A running proxy reports its usage on ``/metrics`` instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assay import telemetry
from assay.assembly import Assembly, assemble
from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD, lockfile_report
from assay.cli.dry_run import judge_pages
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
from assay.ports import Storage
from assay.store.factory import has_storage, open_storage
from assay.store.settings import StorageSettings
from assay.units import format_size, parse_size
from assay.views import DEFAULT_VIEW

_MAX_CONCURRENT_DOWNLOADS = 4


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
async def _open_store_exclusively(storage: StorageSettings) -> AsyncIterator[Storage]:
    if not await asyncio.to_thread(has_storage, storage):
        raise ConfigurationError(f"storage.directory: {storage.directory} has no storage yet; assay serve creates it")
    try:
        store = await open_storage(storage)
    except StorageInUseError as error:
        raise StorageInUseError(f"{error}. See /metrics for the storage usage of a running proxy") from error
    try:
        yield store
    finally:
        await store.close()


async def _print_stats(storage: StorageSettings, *, as_json: bool) -> int:
    async with _open_store_exclusively(storage) as store:
        blobs, records = await store.blobs.stats(), await store.records.stats()
    if as_json:
        document = {
            "directory": str(storage.directory),
            "blobs": {"count": blobs.count, "size": blobs.size, "limit": blobs.limit},
            "records": {"count": records.count, "size": records.size, "limit": records.limit},
        }
        print(json.dumps(document, indent=2))
        return EXIT_OK
    rows = [
        ("files", str(blobs.count), format_size(blobs.size), format_size(blobs.limit)),
        ("records", str(records.count), format_size(records.size), format_size(records.limit)),
    ]
    print(f"{storage.directory}\n")
    print_table(("KIND", "COUNT", "SIZE", "LIMIT"), rows)
    return EXIT_OK


async def _verify(storage: StorageSettings) -> int:
    async with _open_store_exclusively(storage) as store:
        with ProgressReport("files read") as report:
            blobs = await store.blobs.verify(report)
        with ProgressReport("records read") as report:
            broken = await store.records.verify(report)
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
    async with _open_store_exclusively(storage) as store:
        pruned = await store.blobs.prune(limit)
        left = await store.blobs.stats()
    print(f"{pruned.count} files removed ({format_size(pruned.size)}), {left.count} remain ({format_size(left.size)})")
    return EXIT_OK


async def _warm(configuration: Configuration, policy: Policy, lockfile: Lockfile) -> int:
    single_view = configuration.model_copy(update={"views": ()})
    async with assemble(single_view, {DEFAULT_VIEW: policy}) as assembly:
        pages = await judge_pages(assembly, (pinned.project for pinned in lockfile.files))
        findings = build_findings(lockfile, pages)
        wanted = [each.verdict for each in findings if isinstance(each.verdict, Approved)]
        failures = await _download_all(assembly, wanted)
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


def _report_missing(findings: list[LockfileFinding], loose: tuple[str, ...], failures: dict[str, str]) -> None:
    for each in findings:
        if not isinstance(each.verdict, Approved):
            why = ", ".join(each.codes) if each.problem is None else each.problem
            print(f"not fetched: {escape_unprintable(each.pinned.label)}: {escape_unprintable(why)}", file=sys.stderr)
    for filename, message in failures.items():
        print(f"failed: {escape_unprintable(filename)}: {escape_unprintable(message)}", file=sys.stderr)
    for entry in loose:
        print(f"not pinned: {escape_unprintable(entry)}", file=sys.stderr)
