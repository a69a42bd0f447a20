"""Command ``assay pin LOCKFILE``: write a policy that requires the publishers that sign the lockfile's files today.

A file without a proven publisher is pinned by its digest instead. The operator should read and edit the policy.
"""

from __future__ import annotations

import argparse
import logging
import sys

from assay import telemetry
from assay.cli import EXIT_WITHHELD, lockfile_report
from assay.cli.findings import STATUS_APPROVED, LockfileFinding
from assay.cli.verdicts import explain_verdict, list_unstated
from assay.policy.language.proposal import escape_toml_comment, format_pinned_rule, format_publisher_rules


def main(options: argparse.Namespace) -> int:
    """Write the policy to standard output, and return the exit status.

    The policy leaves out files that are not approved today, files that only an exception approves, and entries that are
    not checked. The status is 0 if nothing is left out. If an exception is the only reason, the status is 1. Otherwise
    the status is `JudgedLockfile.exit_status`.

    Raises:
        ConfigurationError: the configuration, the policy or the lockfile is invalid.
        AssayError: a component of the proxy cannot start, so that no file can be judged.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    judged = lockfile_report.judge_chosen_lockfile(options)
    findings = judged.findings
    proven = lockfile_report.collect_proven(findings)
    left_out = _describe_left_out(findings)
    path = escape_toml_comment(str(options.lockfile))
    for line in (
        f"# Publishers that the files of {path} prove today. A numeric id identifies",
        "# the same publisher even if another party registers its name later.",
        "# Use this file as a policy, or paste its rules before your own.",
        "version = 1",
        *left_out,
        *(f"# {escape_toml_comment(problem)}" for problem in list_unstated(each.verdict for each in findings)),
        *(f"# left out, not checked: {escape_toml_comment(entry)}" for entry in judged.unchecked),
        *format_publisher_rules(proven),
        *format_pinned_rule(proven),
    ):
        print(line)
    if left_out and not lockfile_report.get_exit_status(findings):
        return EXIT_WITHHELD
    return judged.exit_status


def _describe_left_out(findings: list[LockfileFinding]) -> list[str]:
    """Return a comment line of the policy for each file that is left out.

    Withheld files are left out, so that the policy does not approve them. Files that are approved by a temporary
    exception are left out, so that no permanent rule approves them.
    """
    comments = []
    for each in findings:
        why = each.problem or (explain_verdict(each.verdict) if each.verdict else "")
        if each.status != STATUS_APPROVED:
            comments.append(
                f"# left out, {each.status}: {escape_toml_comment(each.pinned.label)}: {escape_toml_comment(why)}"
            )
        elif lockfile_report.list_excepted_codes(each):
            comments.append(
                f"# left out, approved by exception: {escape_toml_comment(each.pinned.label)}: "
                f"{escape_toml_comment(why)}"
            )
    return comments
