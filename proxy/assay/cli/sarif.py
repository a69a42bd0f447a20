"""Findings as SARIF 2.1.0, for code scanning: one result for each pinned file that is not approved."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from assay.cli.findings import STATUS_APPROVED, STATUS_UNDECIDED, LockfileFinding
from assay.cli.tables import escape_unprintable
from assay.cli.verdicts import explain_verdict

_SCHEMA_URL = "https://json.schemastore.org/sarif-2.1.0.json"


def build_sarif(findings: Iterable[LockfileFinding], path: str, text: str) -> dict[str, Any]:
    """The log of one run over the lockfile at `path`, whose content is `text`."""
    wrong = [each for each in findings if each.status != STATUS_APPROVED]
    codes = sorted({each.codes[0] for each in wrong})
    lines = text.splitlines()
    return {
        "$schema": _SCHEMA_URL,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "assay",
                        "version": version("assay-proxy"),
                        "rules": [{"id": code, "shortDescription": {"text": code}} for code in codes],
                    }
                },
                "results": [_build_result(each, path, lines) for each in wrong],
            }
        ],
    }


def _build_result(finding: LockfileFinding, path: str, lines: list[str]) -> dict[str, Any]:
    said = finding.problem or ("" if finding.verdict is None else explain_verdict(finding.verdict))
    return {
        "ruleId": finding.codes[0],
        "level": "warning" if finding.status == STATUS_UNDECIDED else "error",
        "message": {"text": escape_unprintable(f"{finding.pinned.label}: {said}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": path.replace("\\", "/")},
                    "region": {"startLine": _find_line(finding, lines)},
                }
            }
        ],
        "partialFingerprints": {"assay/v1": f"{finding.pinned.project}:{finding.pinned.sha256}"},
    }


def _find_line(finding: LockfileFinding, lines: list[str]) -> int:
    for mark in (finding.pinned.sha256, finding.pinned.filename):
        for number, line in enumerate(lines, start=1):
            if mark and mark in line:
                return number
    return 1
