"""``assay audit LOCKFILE``: evidence and verdict of each file that a lockfile pins; what could be required today."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from assay import telemetry
from assay.cli import lockfile_report
from assay.cli.findings import STATUS_APPROVED, LockfileFinding
from assay.cli.sarif import build_sarif
from assay.cli.tables import escape_unprintable, format_table
from assay.cli.verdicts import explain_verdict, summarize_evidence, verdict_json
from assay.lockfiles import Lockfile
from assay.policy.language.proposal import format_publisher_rules


def main(options: argparse.Namespace) -> int:
    """Audit; 1 when a pinned file is not approved, 3 when that cannot be decided now.

    Raises:
        ConfigurationError: configuration, policy or lockfile.
        AssayError: nothing can be decided now.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    judged = lockfile_report.judge_chosen_lockfile(options)
    findings = judged.findings
    if options.sarif:
        print(json.dumps(build_sarif(findings, str(options.lockfile), judged.text), indent=2))
    elif options.json:
        print(json.dumps(_build_json(judged.lockfile, findings, judged.policy.digest), indent=2))
    else:
        _print_report(judged.lockfile, findings)
    return lockfile_report.get_exit_status(findings)


def _print_report(lockfile: Lockfile, findings: list[LockfileFinding]) -> None:
    rows = [
        (
            _get_display_name(each),
            each.status,
            (each.verdict.rule if each.verdict else None) or "-",
            summarize_evidence(each.verdict.evidence) if each.verdict else "-",
            each.problem or (explain_verdict(each.verdict) if each.verdict else "-"),
        )
        for each in findings
    ]
    for line in format_table(("FILE", "VERDICT", "RULE", "EVIDENCE", "BECAUSE"), rows):
        print(line)
    for loose in lockfile.unpinned:
        print(f"not judged: {escape_unprintable(loose)}")
    approved = sum(each.status == STATUS_APPROVED for each in findings)
    print(f"\n{len(findings)} files in {lockfile.kind}: {approved} approved, {len(findings) - approved} not")
    _print_proposed_rules(findings)


def _print_proposed_rules(findings: list[LockfileFinding]) -> None:
    provable = _select_provable(findings)
    if not provable:
        print("No project of it proves today who publishes it.")
        return
    print(
        f"{len(provable)} of {len(findings)} files prove who published them. To require it, paste before other rules:"
    )
    for line in format_publisher_rules(lockfile_report.collect_proven(provable)):
        print(line)


def _select_provable(findings: list[LockfileFinding]) -> list[LockfileFinding]:
    """Files of the projects that could be held to it from today on: every pinned file is approved and proven."""
    whole = {each.project for each in lockfile_report.collect_proven(findings) if not each.unproven}
    whole -= {
        each.pinned.project
        for each in findings
        if each.status != STATUS_APPROVED or lockfile_report.list_excepted_codes(each)
    }
    return [each for each in findings if each.pinned.project in whole]


def _get_display_name(finding: LockfileFinding) -> str:
    return finding.verdict.file.filename if finding.verdict is not None else finding.pinned.label


def _build_json(lockfile: Lockfile, findings: list[LockfileFinding], policy: str) -> dict[str, Any]:
    return {
        "lockfile": lockfile.kind,
        "policy": policy,
        "files": [
            {
                "project": each.pinned.project,
                "version": None if each.pinned.version is None else str(each.pinned.version),
                "filename": escape_unprintable(_get_display_name(each)),
                "sha256": each.pinned.sha256,
                "status": each.status,
                "codes": each.codes,
                "problem": each.problem,
                "verdict": None if each.verdict is None else verdict_json(each.verdict),
            }
            for each in findings
        ],
        "not-judged": [escape_unprintable(loose) for loose in lockfile.unpinned],
        "rules": "\n".join(format_publisher_rules(lockfile_report.collect_proven(_select_provable(findings)))).strip(),
    }
