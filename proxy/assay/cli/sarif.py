"""SARIF 2.1.0 output for code scanning. It has a result for each file that is not approved or entry not checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from assay.cli.findings import STATUS_APPROVED, STATUS_UNDECIDED, LockfileFinding
from assay.cli.tables import escape_unprintable
from assay.cli.verdicts import explain_verdict
from assay.telemetry.build import get_version

CODE_NOT_CHECKED: Final = "not-checked"
"""Code of the results for entries that are not checked."""
_SCHEMA_URL = "https://json.schemastore.org/sarif-2.1.0.json"


def build_sarif(
    findings: Iterable[LockfileFinding], unchecked: Iterable[str], texts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the SARIF log for the findings about a lockfile.

    Args:
        findings: a finding for each pinned file.
        unchecked: descriptions of the entries that are not checked.
        texts: pairs of path and content, first of the lockfile and then of the files that it includes. The line of each
            pinned file is found in them.
    """
    sources = [(path, text.splitlines()) for path, text in texts]
    wrong = [each for each in findings if each.status != STATUS_APPROVED]
    results = [
        *(_build_result(each, *_find_line(each, sources)) for each in wrong),
        *(_build_unchecked_result(entry, texts[0][0]) for entry in unchecked),
    ]
    codes = sorted({result["ruleId"] for result in results})
    return {
        "$schema": _SCHEMA_URL,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "assay",
                        "version": get_version(),
                        "rules": [{"id": code, "shortDescription": {"text": code}} for code in codes],
                    }
                },
                "results": results,
            }
        ],
    }


def _build_result(finding: LockfileFinding, path: str, line: int) -> dict[str, Any]:
    explanation = finding.problem or ("" if finding.verdict is None else explain_verdict(finding.verdict))
    return {
        "ruleId": finding.codes[0],
        "level": "warning" if finding.status == STATUS_UNDECIDED else "error",
        "message": {"text": escape_unprintable(f"{finding.pinned.label}: {explanation}")},
        "locations": [_build_location(path, line)],
        "partialFingerprints": {"assay/v1": f"{finding.pinned.project}:{finding.pinned.sha256}"},
    }


def _build_unchecked_result(entry: str, path: str) -> dict[str, Any]:
    return {
        "ruleId": CODE_NOT_CHECKED,
        "level": "warning",
        "message": {"text": escape_unprintable(f"not checked: {entry}")},
        "locations": [_build_location(path, 1)],
        "partialFingerprints": {"assay/v1": escape_unprintable(entry)},
    }


def _build_location(path: str, line: int) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": path.replace("\\", "/")},
            "region": {"startLine": line},
        }
    }


def _find_line(finding: LockfileFinding, sources: Sequence[tuple[str, list[str]]]) -> tuple[str, int]:
    """Return the path and the line of a pinned file; the first line of the lockfile if no line names the file."""
    for mark in (finding.pinned.sha256, finding.pinned.filename):
        for path, lines in sources:
            for number, line in enumerate(lines, start=1):
                if mark and mark in line:
                    return path, number
    return sources[0][0], 1
