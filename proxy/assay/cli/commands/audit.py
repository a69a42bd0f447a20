"""Command ``assay audit LOCKFILE``: judge every file in a lockfile, and propose policy rules for the publishers.

An entry of the lockfile that is not judged is counted, and the exit status is then not 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from assay import telemetry
from assay.cli import lockfile_report
from assay.cli.findings import STATUS_APPROVED, LockfileFinding
from assay.cli.lockfile_report import JudgedLockfile
from assay.cli.results import FILE_HEADER, RELEASE_HEADER, describe_finding, make_file_rows, make_release_rows
from assay.cli.sarif import build_sarif
from assay.cli.tables import escape_unprintable, print_table
from assay.cli.verdicts import list_unstated, verdict_json
from assay.policy.language.proposal import format_publisher_rules


def main(options: argparse.Namespace) -> int:
    """Print the result for each file of a lockfile, and return the exit status (`JudgedLockfile.exit_status`).

    Raises:
        ConfigurationError: the configuration, the policy or the lockfile is invalid.
        AssayError: a component of the proxy cannot start, so that no file can be judged.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    judged = lockfile_report.judge_chosen_lockfile(options)
    findings = judged.findings
    if options.sarif:
        texts = [(str(options.lockfile), judged.text)]
        texts += [(each.source, each.text) for each in judged.lockfile.included]
        print(json.dumps(build_sarif(findings, judged.unchecked, texts), indent=2))
    elif options.json:
        print(json.dumps(_build_json(judged, str(options.lockfile)), indent=2))
    else:
        _print_report(judged, str(options.lockfile), by_file=options.files)
    return judged.exit_status


def _print_report(judged: JudgedLockfile, path: str, *, by_file: bool) -> None:
    findings = judged.findings
    results = [describe_finding(each) for each in findings]
    if results and by_file:
        print_table(FILE_HEADER, make_file_rows(results))
    elif results:
        print_table(RELEASE_HEADER, make_release_rows(results))
    for entry in judged.unchecked:
        print(f"not checked: {escape_unprintable(entry)}")
    for problem in _list_problems(findings):
        print(problem)
    print()
    # Evidence that is missing today says nothing about the publishers of a project.
    has_rules = bool(findings) and not judged.is_undecided and _print_proposed_rules(findings)
    approved = sum(each.status == STATUS_APPROVED for each in findings)
    # As a comment, so that the output from the first rule to the end can be pasted into a policy.
    print(
        f"{'# ' if has_rules else ''}{len(findings)} files in {escape_unprintable(path)}: {approved} approved, "
        f"{len(findings) - approved} not approved, {len(judged.unchecked)} not checked"
    )


def _list_problems(findings: list[LockfileFinding]) -> list[str]:
    return list_unstated(each.verdict for each in findings)


def _print_proposed_rules(findings: list[LockfileFinding]) -> bool:
    """Print rules that require the proven publishers. Return False if no project has a proven publisher."""
    provable = _select_provable(findings)
    if not provable:
        print("In this lockfile, no project has a proven publisher for all its files.")
        return False
    print(
        f"{len(provable)} of {len(findings)} files prove their publisher. "
        "To require these publishers, put these rules before the other rules of the policy:"
    )
    for line in format_publisher_rules(lockfile_report.collect_proven(provable)):
        print(line)
    print()
    return True


def _select_provable(findings: list[LockfileFinding]) -> list[LockfileFinding]:
    """Return the findings for which a rule about publishers can be proposed.

    A proposed rule requires the publishers that sign the pinned files of a project today. The rule must not withhold
    any of these files. Therefore, include a project only if each of its pinned files is approved, has a proven
    publisher, and needs no exception.
    """
    whole = {each.project for each in lockfile_report.collect_proven(findings) if not each.unproven}
    whole -= {
        each.pinned.project
        for each in findings
        if each.status != STATUS_APPROVED or lockfile_report.list_excepted_codes(each)
    }
    return [each for each in findings if each.pinned.project in whole]


def _get_display_name(finding: LockfileFinding) -> str:
    return finding.verdict.file.filename if finding.verdict is not None else finding.pinned.label


def _build_json(judged: JudgedLockfile, path: str) -> dict[str, Any]:
    findings = judged.findings
    return {
        "lockfile": judged.lockfile.kind,
        "path": escape_unprintable(path),
        "policy": judged.policy.digest,
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
        "problems": _list_problems(findings),
        "not-judged": [escape_unprintable(loose) for loose in judged.unchecked],
        "rules": "\n".join(format_publisher_rules(lockfile_report.collect_proven(_select_provable(findings)))).strip(),
    }
