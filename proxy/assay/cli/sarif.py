"""Findings as SARIF 2.1.0, for code scanning: one result for each pinned file that is not approved."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from assay.cli.findings import APPROVED, UNKNOWN, Finding
from assay.cli.tables import printable
from assay.cli.verdicts import because

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Iterable[Finding], path: str, text: str) -> dict[str, Any]:
    """The log of one run over the lockfile at `path`, whose content is `text`."""
    wrong = [each for each in findings if each.status != APPROVED]
    codes = sorted({each.codes[0] for each in wrong})
    lines = text.splitlines()
    return {
        "$schema": _SCHEMA,
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
                "results": [_result(each, path, lines) for each in wrong],
            }
        ],
    }


def _result(finding: Finding, path: str, lines: list[str]) -> dict[str, Any]:
    said = finding.problem or ("" if finding.verdict is None else because(finding.verdict))
    return {
        "ruleId": finding.codes[0],
        "level": "warning" if finding.status == UNKNOWN else "error",
        "message": {"text": printable(f"{finding.pinned.label}: {said}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": path.replace("\\", "/")},
                    "region": {"startLine": _line(finding, lines)},
                }
            }
        ],
        "partialFingerprints": {"assay/v1": f"{finding.pinned.project}:{finding.pinned.sha256}"},
    }


def _line(finding: Finding, lines: list[str]) -> int:
    for mark in (finding.pinned.sha256, finding.pinned.filename):
        for number, line in enumerate(lines, start=1):
            if mark and mark in line:
                return number
    return 1
