"""``assay pin LOCKFILE``: a policy that approves what the lockfile's files prove today, written for people to read."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from proxy import telemetry
from proxy.cli import locked
from proxy.cli.findings import APPROVED, Finding
from proxy.cli.verdicts import because
from proxy.policy.proposal import comment, pinned_rule, publisher_rules


def main(options: argparse.Namespace) -> int:
    """Write the policy to standard output; 1 when a file is not approved today and so is not in it.

    Raises:
        ConfigurationError: configuration, policy or lockfile.
        AssayError: nothing can be decided now.
    """
    telemetry.log_to(sys.stderr, level=logging.WARNING)
    lockfile, _ = locked.read(options.lockfile)
    configuration, policy = locked.chosen(options)
    findings = asyncio.run(locked.judged(configuration, policy, lockfile))
    proven = locked.proven(findings)
    for line in (
        f"# What the files of {comment(str(options.lockfile))} prove today. Numeric ids tell a publisher from whoever",
        "# registers its name again. A policy by itself, or rules to paste before your own.",
        "version = 1",
        *_left_out(findings),
        *publisher_rules(proven),
        *pinned_rule(proven),
    ):
        print(line)
    return locked.status(findings)


def _left_out(findings: list[Finding]) -> list[str]:
    """A file that is withheld today must not be approved by being written down."""
    return [
        f"# left out, {each.status}: {comment(each.pinned.label)}: "
        f"{comment(each.problem or (because(each.verdict) if each.verdict else ''))}"
        for each in findings
        if each.status != APPROVED
    ]
