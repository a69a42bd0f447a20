"""``assay audit LOCKFILE``: evidence and verdict of each file that a lockfile pins; what could be required today."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from typing import Any

from assay import telemetry
from assay.cli import lockfile_report
from assay.cli.findings import APPROVED, Finding
from assay.cli.policy_option import chosen
from assay.cli.sarif import sarif
from assay.cli.tables import printable, table
from assay.cli.verdicts import because, evidence_words, verdict_json
from assay.lockfiles import Lockfile
from assay.policy.language.proposal import publisher_rules


def main(options: argparse.Namespace) -> int:
    """Audit; 1 when a pinned file is not approved, 3 when that cannot be decided now.

    Raises:
        ConfigurationError: configuration, policy or lockfile.
        AssayError: nothing can be decided now.
    """
    telemetry.log_to(sys.stderr, level=logging.WARNING)
    lockfile, text = lockfile_report.read(options.lockfile)
    by = chosen(options)
    findings = asyncio.run(lockfile_report.judged(by.configuration, by.policy, lockfile))
    if options.sarif:
        print(json.dumps(sarif(findings, str(options.lockfile), text), indent=2))
    elif options.json:
        print(json.dumps(_document(lockfile, findings, by.policy.digest), indent=2))
    else:
        _print(lockfile, findings)
    return lockfile_report.status(findings)


def _print(lockfile: Lockfile, findings: list[Finding]) -> None:
    rows = [
        (
            _name(each),
            each.status,
            (each.verdict.rule if each.verdict else None) or "-",
            evidence_words(each.verdict.evidence) if each.verdict else "-",
            each.problem or (because(each.verdict) if each.verdict else "-"),
        )
        for each in findings
    ]
    for line in table(("FILE", "VERDICT", "RULE", "EVIDENCE", "BECAUSE"), rows):
        print(line)
    for loose in lockfile.loose:
        print(f"not judged: {printable(loose)}")
    approved = sum(each.status == APPROVED for each in findings)
    print(f"\n{len(findings)} files in {lockfile.kind}: {approved} approved, {len(findings) - approved} not")
    _propose(findings)


def _propose(findings: list[Finding]) -> None:
    provable = _provable(findings)
    if not provable:
        print("No project of it proves today who publishes it.")
        return
    print(
        f"{len(provable)} of {len(findings)} files prove who published them. To require it, paste before other rules:"
    )
    for line in publisher_rules(lockfile_report.proven(provable)):
        print(line)


def _provable(findings: list[Finding]) -> list[Finding]:
    """Files of the projects that could be held to it from today on: every pinned file is approved and proven."""
    whole = {each.project for each in lockfile_report.proven(findings) if not each.unproven}
    whole -= {each.pinned.project for each in findings if each.status != APPROVED or lockfile_report.excepted(each)}
    return [each for each in findings if each.pinned.project in whole]


def _name(finding: Finding) -> str:
    return finding.verdict.file.filename if finding.verdict is not None else finding.pinned.label


def _document(lockfile: Lockfile, findings: list[Finding], policy: str) -> dict[str, Any]:
    return {
        "lockfile": lockfile.kind,
        "policy": policy,
        "files": [
            {
                "project": each.pinned.project,
                "version": None if each.pinned.version is None else str(each.pinned.version),
                "filename": printable(_name(each)),
                "sha256": each.pinned.sha256,
                "status": each.status,
                "codes": each.codes,
                "problem": each.problem,
                "verdict": None if each.verdict is None else verdict_json(each.verdict),
            }
            for each in findings
        ],
        "not-judged": [printable(loose) for loose in lockfile.loose],
        "rules": "\n".join(publisher_rules(lockfile_report.proven(_provable(findings)))).strip(),
    }
