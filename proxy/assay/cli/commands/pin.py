"""``assay pin LOCKFILE``: a policy that approves what the lockfile's files prove today, written for people to read."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from assay import telemetry
from assay.cli import GOOD, WITHHELD, lockfile_report
from assay.cli.findings import APPROVED, Finding
from assay.cli.policy_option import chosen
from assay.cli.verdicts import because
from assay.policy.language.proposal import comment, pinned_rule, publisher_rules


def main(options: argparse.Namespace) -> int:
    """Write the policy to standard output; 1 when a file is left out: not approved today, or by an exception only.

    Raises:
        ConfigurationError: configuration, policy or lockfile.
        AssayError: nothing can be decided now.
    """
    telemetry.log_to(sys.stderr, level=logging.WARNING)
    lockfile, _ = lockfile_report.read(options.lockfile)
    by = chosen(options)
    findings = asyncio.run(lockfile_report.judged(by.configuration, by.policy, lockfile))
    proven = lockfile_report.proven(findings)
    left_out = _left_out(findings)
    for line in (
        f"# What the files of {comment(str(options.lockfile))} prove today. Numeric ids tell a publisher from whoever",
        "# registers its name again. A policy by itself, or rules to paste before your own.",
        "version = 1",
        *left_out,
        *publisher_rules(proven),
        *pinned_rule(proven),
    ):
        print(line)
    return lockfile_report.status(findings) or (WITHHELD if left_out else GOOD)


def _left_out(findings: list[Finding]) -> list[str]:
    """What is withheld today must not be approved by being written down, nor an exception become a rule for good."""
    told = []
    for each in findings:
        why = each.problem or (because(each.verdict) if each.verdict else "")
        if each.status != APPROVED:
            told.append(f"# left out, {each.status}: {comment(each.pinned.label)}: {comment(why)}")
        elif lockfile_report.excepted(each):
            told.append(f"# left out, approved by exception: {comment(each.pinned.label)}: {comment(why)}")
    return told
