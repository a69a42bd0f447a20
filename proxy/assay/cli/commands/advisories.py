"""Command ``assay advisories show|refresh|accept|check``: the feeds of advisories and their snapshots.

``show`` and ``check`` only read the stored snapshots, also while a proxy runs. ``refresh`` and ``accept`` ask the proxy
that uses the storage directory. If no proxy uses it, they do the work themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay import telemetry
from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot
from assay.advisory_feeds.feed import AdvisoryFeed
from assay.advisory_feeds.requests import Acceptance, accept, write_request
from assay.advisory_feeds.service import AdvisoryFeeds, FeedStatus
from assay.assembly.feeds import open_feeds, read_feeds
from assay.assembly.inputs import utc_now
from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD
from assay.cli.lockfile_report import load_lockfile
from assay.cli.parsing.parser import check_reason
from assay.cli.policy_option import choose_policy
from assay.cli.tables import escape_unprintable, print_table
from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError, StorageError, StorageInUseError
from assay.lockfiles import Lockfile, PinnedFile
from assay.policy.language.model import Policy
from assay.policy.language.times import format_elapsed
from assay.telemetry.audit_trail import open_audit_trail

_REFRESH_WAIT_SECONDS: Final = 300.0
_ACCEPT_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.2


def main(options: argparse.Namespace) -> int:
    """Run one action and return the exit status.

    Raises:
        ConfigurationError: the configuration, an option or the lockfile is invalid, or no feed is configured.
        AssayError: the storage directory cannot be used.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    match options.action:
        case "show":
            return asyncio.run(_show(_load_configuration(options), as_json=options.json))
        case "refresh":
            return asyncio.run(_refresh(_load_configuration(options)))
        case "accept":
            return asyncio.run(_accept(_load_configuration(options), options.feed, check_reason(options.reason)))
        case _:
            return _check(options)


def _load_configuration(options: argparse.Namespace) -> Configuration:
    configuration = load_configuration(options.config, os.environ)
    if not configuration.advisories:
        raise ConfigurationError("advisories: expected at least one [[advisories]] table, found none")
    return configuration


async def _show(configuration: Configuration, *, as_json: bool) -> int:
    feeds = await read_feeds(configuration)
    if as_json:
        print(json.dumps([_status_to_json(feed, status) for feed, status in _pair(feeds)], indent=2))
    else:
        _print_feeds(feeds)
    return EXIT_OK


def _pair(feeds: AdvisoryFeeds) -> list[tuple[AdvisoryFeed, FeedStatus]]:
    return list(zip(feeds.feeds, feeds.list_statuses(), strict=True))


def _status_to_json(feed: AdvisoryFeed, status: FeedStatus) -> dict[str, Any]:
    refused = feed.state.refused
    return {
        "name": status.name,
        "source": feed.settings.url,
        "records": status.records,
        "malware": status.malware,
        "missing": sorted(feed.snapshot.missing_ids) if feed.snapshot else [],
        "skipped": status.skipped,
        "age-seconds": None if status.age is None else int(status.age.total_seconds()),
        "refused": None if refused is None else {"reason": refused.reason, "records": refused.count},
        "on-hold": [
            {"advisory": advisory_id, "project": project} for advisory_id, project in sorted(feed.state.on_hold)
        ],
        "error": feed.state.error,
        "problem": status.problem,
    }


def _print_feeds(feeds: AdvisoryFeeds) -> None:
    rows = [
        (
            status.name,
            str(status.records),
            str(status.malware),
            str(status.missing),
            str(status.skipped),
            "-" if status.age is None else format_elapsed(status.age),
            feed.settings.url,
        )
        for feed, status in _pair(feeds)
    ]
    print_table(("FEED", "RECORDS", "MALWARE", "MISSING", "SKIPPED", "AGE", "SOURCE"), rows)
    for feed, status in _pair(feeds):
        if status.problem is not None:
            print(escape_unprintable(f"{status.name}: {status.problem}"))
        for advisory_id, project in sorted(feed.state.on_hold):
            advisory = None if feed.snapshot is None else feed.snapshot.get(advisory_id)
            summary = "" if advisory is None else f": {advisory.summary}"
            print(escape_unprintable(f"{status.name}: on hold: {advisory_id} {project}{summary}"))


async def _refresh(configuration: Configuration) -> int:
    try:
        async with open_feeds(configuration, os.environ) as feeds:
            failures = await feeds.refresh()
    except StorageInUseError:
        failures = await _request_refresh(configuration)
    _print_feeds(await read_feeds(configuration))
    for name, error in failures.items():
        print(f"assay: {name}: {escape_unprintable(error)}", file=sys.stderr)
    return EXIT_UNDECIDED if failures else EXIT_OK


async def _request_refresh(configuration: Configuration) -> dict[str, str]:
    """Let the running proxy refresh all feeds, and return the error of each feed that failed."""
    before = await read_feeds(configuration)
    attempts = {feed.name: feed.state.attempted for feed in before.feeds}
    await asyncio.to_thread(write_request, before.directory, None)
    after = await _wait(
        configuration,
        _REFRESH_WAIT_SECONDS,
        lambda feeds: all(feed.state.attempted != attempts[feed.name] for feed in feeds.feeds),
    )
    return {feed.name: feed.state.error for feed in after.feeds if feed.state.error is not None}


async def _wait(
    configuration: Configuration, seconds: float, is_done: Callable[[AdvisoryFeeds], bool]
) -> AdvisoryFeeds:
    """Read the stored state of the feeds until `is_done`, and return the feeds.

    Raises:
        StorageError: the proxy did not carry the request out in time.
    """
    end = time.monotonic() + seconds
    while True:
        feeds = await read_feeds(configuration)
        if is_done(feeds):
            return feeds
        if time.monotonic() > end:
            raise StorageError("the running proxy did not carry out the request in time; see its log")
        await asyncio.sleep(_POLL_SECONDS)


async def _accept(configuration: Configuration, name: str | None, reason: str) -> int:
    stored = await read_feeds(configuration)
    chosen = stored.feeds if name is None else [stored.get_feed(name)]
    waiting = [feed for feed in chosen if feed.state.refused is not None or feed.state.on_hold]
    if not waiting:
        print("nothing to accept: no snapshot was refused, and no hit is on hold")
        return EXIT_OK
    acceptances = [
        Acceptance(
            feed=feed.name,
            digest=None if feed.state.refused is None else feed.state.refused.digest,
            hits=feed.state.on_hold,
            reason=reason,
        )
        for feed in waiting
    ]
    try:
        async with (
            open_feeds(configuration, os.environ) as feeds,
            open_audit_trail(configuration.audit, utc_now) as trail,
        ):
            for acceptance in acceptances:
                await accept(feeds, acceptance, trail)
    except StorageInUseError:
        for acceptance in acceptances:
            await _request_acceptance(configuration, stored.directory, acceptance)
    for acceptance in acceptances:
        what = [f"{len(acceptance.hits)} hits"] if acceptance.hits else []
        what += ["the refused snapshot"] if acceptance.digest is not None else []
        print(f"{acceptance.feed}: accepted {' and '.join(what)}")
    _print_feeds(await read_feeds(configuration))
    return EXIT_OK


async def _request_acceptance(configuration: Configuration, directory: Path, acceptance: Acceptance) -> None:
    await asyncio.to_thread(write_request, directory, acceptance)

    def is_done(feeds: AdvisoryFeeds) -> bool:
        state = feeds.get_feed(acceptance.feed).state
        is_refused = state.refused is not None and state.refused.digest == acceptance.digest
        return not is_refused and not state.on_hold & acceptance.hits

    await _wait(configuration, _ACCEPT_WAIT_SECONDS, is_done)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """Advisory about a pinned version."""

    pinned: PinnedFile
    advisory: Advisory
    is_ignored: bool

    @property
    def status(self) -> str:
        if self.is_ignored:
            return "ignored"
        if self.advisory.is_malware:
            return "on hold" if self.advisory.on_hold else "malware"
        return "note"


def _check(options: argparse.Namespace) -> int:
    lockfile, _ = load_lockfile(options.lockfile)
    chosen = choose_policy(options)
    _load_configuration(options)
    feeds = asyncio.run(read_feeds(chosen.configuration))
    findings = list(_find_advisories(lockfile, feeds.snapshot, chosen.configuration, chosen.policy))
    unchecked = [*lockfile.unpinned, *(each.label for each in lockfile.files if each.version is None)]
    if options.json:
        print(json.dumps([_finding_to_json(each) for each in findings], indent=2))
    elif findings:
        rows = [
            (each.pinned.project, str(each.pinned.version), each.status, each.advisory.id, each.advisory.summary)
            for each in findings
        ]
        print_table(("PROJECT", "VERSION", "STATUS", "ADVISORY", "SUMMARY"), rows)
    else:
        print("no advisory names a version in this lockfile")
    for problem in _list_problems(feeds, unchecked):
        print(f"assay: {escape_unprintable(problem)}", file=sys.stderr)
    if any(each.advisory.is_malware and not each.is_ignored for each in findings):
        return EXIT_WITHHELD
    has_no_snapshot = any(feed.snapshot is None for feed in feeds.feeds)
    return EXIT_UNDECIDED if has_no_snapshot or (unchecked and not options.allow_unchecked) else EXIT_OK


def _find_advisories(
    lockfile: Lockfile, snapshot: AdvisorySnapshot, configuration: Configuration, policy: Policy
) -> Iterable[_Finding]:
    """Yield the advisories about each pinned version, of projects from indexes to which advisories apply."""
    seen: set[tuple[str, str]] = set()
    now = utc_now()
    for pinned in lockfile.files:
        owner = configuration.indexes.find_owner(pinned.project)
        key = pinned.project, str(pinned.version)
        if pinned.version is None or key in seen or owner is None or not owner.has_pypi_projects:
            continue
        seen.add(key)
        for advisory in snapshot.find(pinned.project):
            if advisory.covers(pinned.project, pinned.version):
                is_ignored = policy.find_ignored_advisory(advisory.id, now) is not None
                yield _Finding(pinned=pinned, advisory=advisory, is_ignored=is_ignored)


def _list_problems(feeds: AdvisoryFeeds, unchecked: Sequence[str]) -> list[str]:
    problems = [f"{each.name}: {each.problem}" for each in feeds.list_statuses() if each.problem is not None]
    return [*problems, *(f"not checked: {entry}" for entry in unchecked)]


def _finding_to_json(finding: _Finding) -> dict[str, Any]:
    advisory = finding.advisory
    return {
        "project": finding.pinned.project,
        "version": str(finding.pinned.version),
        "status": finding.status,
        "id": advisory.id,
        "aliases": list(advisory.aliases),
        "summary": advisory.summary,
        "link": advisory.link,
    }
