"""``assay pin LOCKFILE``: a policy that approves what the lockfile's files prove today, written for people to read."""

from __future__ import annotations

import argparse
import logging
import sys

from assay import telemetry
from assay.cli import EXIT_OK, EXIT_WITHHELD, lockfile_report
from assay.cli.findings import STATUS_APPROVED, LockfileFinding
from assay.cli.verdicts import explain_verdict
from assay.policy.language.proposal import escape_toml_comment, format_pinned_rule, format_publisher_rules


def main(options: argparse.Namespace) -> int:
    """Write the policy to standard output; 1 when a file is left out: not approved today, or by an exception only.

    Raises:
        ConfigurationError: configuration, policy or lockfile.
        AssayError: nothing can be decided now.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    findings = lockfile_report.judge_chosen_lockfile(options).findings
    proven = lockfile_report.collect_proven(findings)
    left_out = _describe_left_out(findings)
    read = escape_toml_comment(str(options.lockfile))
    for line in (
        f"# What the files of {read} prove today. Numeric ids tell a publisher from whoever",
        "# registers its name again. A policy by itself, or rules to paste before your own.",
        "version = 1",
        *left_out,
        *format_publisher_rules(proven),
        *format_pinned_rule(proven),
    ):
        print(line)
    return lockfile_report.get_exit_status(findings) or (EXIT_WITHHELD if left_out else EXIT_OK)


def _describe_left_out(findings: list[LockfileFinding]) -> list[str]:
    """What is withheld today must not be approved by being written down, nor an exception become a rule for good."""
    told = []
    for each in findings:
        why = each.problem or (explain_verdict(each.verdict) if each.verdict else "")
        if each.status != STATUS_APPROVED:
            told.append(
                f"# left out, {each.status}: {escape_toml_comment(each.pinned.label)}: {escape_toml_comment(why)}"
            )
        elif lockfile_report.list_excepted_codes(each):
            told.append(
                f"# left out, approved by exception: {escape_toml_comment(each.pinned.label)}: "
                f"{escape_toml_comment(why)}"
            )
    return told
