"""Command ``assay policy diff OLD NEW``: list the files whose verdict differs between two policies, with the reasons.

The files are those of a lockfile, or those of all projects in the ledger. Both policies judge the same pages with the
same ledger: first the old policy, then the new one, as in a proxy that reloads its policy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

from assay import telemetry
from assay.assembly import Assembly
from assay.assembly.inputs import get_known_names, read_policy
from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD, lockfile_report
from assay.cli.dry_run import PageResults, judge_pages, open_dry_run
from assay.cli.findings import LockfileFinding, build_findings
from assay.cli.tables import Mark, Marked, escape_unprintable, print_table
from assay.cli.verdicts import explain_verdict
from assay.config import Configuration, load_configuration
from assay.errors import AssayError
from assay.lockfiles import Lockfile
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, Withheld
from assay.simple.model import NormalizedName

VerdictsByFile = dict[tuple[str, str], Approved | Withheld]
"""Verdicts by filename and SHA-256. The SHA-256 is empty if the page gives none for the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """Verdicts of two policies on one file, which one policy approves and the other withholds."""

    old: Approved | Withheld
    new: Approved | Withheld

    @property
    def is_newly_withheld(self) -> bool:
        """True if the old policy approves the file and the new one withholds it."""
        return isinstance(self.new, Withheld)


def main(options: argparse.Namespace) -> int:
    """Print the files whose verdict differs between two policies, and return the exit status.

    The status is 1 if the new policy withholds a file that the old policy approves. Without such a file, the
    status is 3 if a page is unavailable. Otherwise the status is 0.

    Raises:
        ConfigurationError: the configuration, a policy or the lockfile is invalid.
        AssayError: a component of the proxy cannot start, so that no file can be judged.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    configuration = load_configuration(options.config, os.environ)
    known = get_known_names(configuration)
    old, new = read_policy(options.old, known), read_policy(options.new, known)
    lockfile = lockfile_report.load_lockfile(options.lockfile)[0] if options.lockfile else None
    changes, missing, count = asyncio.run(_compare_policies(configuration, old, new, lockfile))
    if options.json:
        print(json.dumps(_build_json(old, new, changes, missing), indent=2))
    else:
        _print_changes(changes, count)
    for entry in lockfile.unpinned if lockfile is not None else ():
        print(f"not compared: {escape_unprintable(entry)}", file=sys.stderr)
    for name, error in missing.items():
        print(f"not compared: {name}: {escape_unprintable(str(error))}", file=sys.stderr)
    if any(change.is_newly_withheld for change in changes):
        return EXIT_WITHHELD
    return EXIT_UNDECIDED if missing else EXIT_OK


async def _compare_policies(
    configuration: Configuration, old: Policy, new: Policy, lockfile: Lockfile | None
) -> tuple[list[VerdictChange], dict[NormalizedName, AssayError], int]:
    async with open_dry_run(configuration, old) as assembly:
        if lockfile is None:
            names = await _list_known_projects(assembly)
        else:
            names = [pinned.project for pinned in lockfile.files]
        before = await judge_pages(assembly, names)
        assembly.gate.policy = new
        after = await judge_pages(assembly, names)
    missing = {name: page for pages in (before, after) for name, page in pages.items() if isinstance(page, AssayError)}
    first, second = _collect_verdicts(before, lockfile), _collect_verdicts(after, lockfile)
    both = sorted(first.keys() & second.keys())
    changes = [
        VerdictChange(old=first[key], new=second[key])
        for key in both
        if isinstance(first[key], Approved) != isinstance(second[key], Approved)
    ]
    return changes, missing, len(both)


async def _list_known_projects(assembly: Assembly) -> list[NormalizedName]:
    """Return the projects in the ledger, which are all projects that this proxy has ever judged."""
    return [project for _, project in await assembly.store.ledger.list_projects()]


def _collect_verdicts(pages: PageResults, lockfile: Lockfile | None) -> VerdictsByFile:
    if lockfile is not None:
        findings: list[LockfileFinding] = build_findings(lockfile, pages)
        found = [each.verdict for each in findings if each.verdict is not None]
    else:
        found = [each for page in pages.values() if not isinstance(page, AssayError) for each in page.verdicts]
    return {(each.file.filename, each.file.sha256 or ""): each for each in found}


def _print_changes(changes: list[VerdictChange], count: int) -> None:
    if changes:
        rows = [
            (
                each.new.file.filename,
                _mark_verdict(each.old),
                _mark_verdict(each.new),
                explain_verdict(each.new if each.is_newly_withheld else each.old),
            )
            for each in sorted(changes, key=lambda change: not change.is_newly_withheld)
        ]
        print_table(("FILE", "OLD", "NEW", "REASON FOR WITHHOLDING"), rows)
        print()
    newly_withheld = sum(change.is_newly_withheld for change in changes)
    newly_approved = len(changes) - newly_withheld
    print(f"{count} files compared: {newly_withheld} newly withheld, {newly_approved} newly approved")


def _mark_verdict(verdict: Approved | Withheld) -> Marked:
    return Marked(_name_verdict(verdict), Mark.GOOD if isinstance(verdict, Approved) else Mark.BAD)


def _name_verdict(verdict: Approved | Withheld) -> str:
    return "approved" if isinstance(verdict, Approved) else "withheld"


def _build_json(
    old: Policy, new: Policy, changes: list[VerdictChange], missing: dict[NormalizedName, AssayError]
) -> dict[str, Any]:
    return {
        "old": old.digest,
        "new": new.digest,
        "changes": [
            {
                "filename": escape_unprintable(each.new.file.filename),
                "sha256": each.new.file.sha256,
                "old": _name_verdict(each.old),
                "new": _name_verdict(each.new),
                "because": explain_verdict(each.new if each.is_newly_withheld else each.old),
            }
            for each in changes
        ],
        "not-compared": {name: str(error) for name, error in missing.items()},
    }
