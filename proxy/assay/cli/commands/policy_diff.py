"""``assay policy diff OLD NEW``: which files change their verdict, and why; over a lockfile, or all projects ever seen.

Both policies judge the same pages, the new one after the old and with the same ledger, as a reload would have it.
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
from assay.assembly import Assembly, read_policy
from assay.cli import GOOD, UNDECIDED, WITHHELD, lockfile_report
from assay.cli.dry_run import Pages, aside, judged_pages
from assay.cli.findings import Finding, findings_of
from assay.cli.tables import printable, table
from assay.cli.verdicts import because
from assay.config import Configuration, load_configuration
from assay.errors import AssayError
from assay.lockfiles import Lockfile
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, Withheld
from assay.simple.model import NormalizedName

Verdicts = dict[tuple[str, str], Approved | Withheld]
"""By filename and digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file that one policy approves and the other withholds."""

    old: Approved | Withheld
    new: Approved | Withheld

    @property
    def is_loss(self) -> bool:
        """Whether it was approved and would not be any more."""
        return isinstance(self.new, Withheld)


def main(options: argparse.Namespace) -> int:
    """Compare; 1 when a file that is approved would be withheld, 3 when some page could not be had.

    Raises:
        ConfigurationError: configuration, a policy or the lockfile.
        AssayError: nothing can be decided now.
    """
    telemetry.log_to(sys.stderr, level=logging.WARNING)
    configuration = load_configuration(options.config, os.environ)
    old, new = read_policy(options.old), read_policy(options.new)
    lockfile = lockfile_report.read(options.lockfile)[0] if options.lockfile else None
    changes, missing, count = asyncio.run(_compared(configuration, old, new, lockfile))
    if options.json:
        print(json.dumps(_document(old, new, changes, missing), indent=2))
    else:
        _print(changes, count)
    for name, error in missing.items():
        print(f"not compared: {name}: {printable(str(error))}", file=sys.stderr)
    if any(change.is_loss for change in changes):
        return WITHHELD
    return UNDECIDED if missing else GOOD


async def _compared(
    configuration: Configuration, old: Policy, new: Policy, lockfile: Lockfile | None
) -> tuple[list[Change], dict[NormalizedName, AssayError], int]:
    async with aside(configuration, old) as assembly:
        if lockfile is None:
            names = await _seen(assembly)
        else:
            names = [pinned.project for pinned in lockfile.files]
        before = await judged_pages(assembly, names)
        assembly.gate.policy = new
        after = await judged_pages(assembly, names)
    missing = {name: page for pages in (before, after) for name, page in pages.items() if isinstance(page, AssayError)}
    first, second = _verdicts(before, lockfile), _verdicts(after, lockfile)
    both = sorted(first.keys() & second.keys())
    changes = [
        Change(old=first[key], new=second[key])
        for key in both
        if isinstance(first[key], Approved) != isinstance(second[key], Approved)
    ]
    return changes, missing, len(both)


async def _seen(assembly: Assembly) -> list[NormalizedName]:
    """Every project in the ledger: whatever this proxy has ever judged."""
    return [project for _, project in await assembly.store.ledger.projects()]


def _verdicts(pages: Pages, lockfile: Lockfile | None) -> Verdicts:
    if lockfile is not None:
        findings: list[Finding] = findings_of(lockfile, pages)
        found = [each.verdict for each in findings if each.verdict is not None]
    else:
        found = [each for page in pages.values() if not isinstance(page, AssayError) for each in page.verdicts]
    return {(each.file.filename, each.file.sha256 or ""): each for each in found}


def _print(changes: list[Change], count: int) -> None:
    if changes:
        rows = [
            (each.new.file.filename, _word(each.old), _word(each.new), because(each.new if each.is_loss else each.old))
            for each in changes
        ]
        for line in table(("FILE", "OLD", "NEW", "BECAUSE (OF WHAT WITHHOLDS IT)"), rows):
            print(line)
        print()
    lost = sum(change.is_loss for change in changes)
    print(f"{count} files compared: {lost} would be withheld, {len(changes) - lost} would be approved")


def _word(verdict: Approved | Withheld) -> str:
    return "approved" if isinstance(verdict, Approved) else "withheld"


def _document(
    old: Policy, new: Policy, changes: list[Change], missing: dict[NormalizedName, AssayError]
) -> dict[str, Any]:
    return {
        "old": old.digest,
        "new": new.digest,
        "changes": [
            {
                "filename": printable(each.new.file.filename),
                "sha256": each.new.file.sha256,
                "old": _word(each.old),
                "new": _word(each.new),
                "because": because(each.new if each.is_loss else each.old),
            }
            for each in changes
        ],
        "not-compared": {name: str(error) for name, error in missing.items()},
    }
