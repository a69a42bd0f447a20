"""Verdicts as text and as JSON, in the same form for every command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from packaging.version import Version

from assay.attestation.codec import encode_evidence
from assay.cli.tables import escape_unprintable
from assay.evidence import INDEX_SOURCE, Attested, Evidence, Forged, Unstated, Unverifiable
from assay.policy.reasons import reasons_to_json
from assay.policy.verdict import Approved, Withheld
from assay.publishers.release_provenance import ALARMING_WORDS, ReleaseProvenance
from assay.publishers.signers import get_signer_name


def summarize_evidence(evidence: Evidence | None) -> str:
    """Return a short text for a table cell: the name of the signer, or why no signer is known.

    If `evidence` is None, the verdict did not need any evidence.
    """
    match evidence:
        case Attested(provenance=(first, *_)):
            name = get_signer_name(first.claims)
            return name if first.source == INDEX_SOURCE else f"{name}, from {first.source}"
        case Forged(step=step):
            return f"forged: {step}"
        case Unverifiable(reason=reason):
            return f"unverifiable: {reason}"
        case Unstated():
            return "unknown"
        case None:
            return "not needed"
        case _:
            return "none"


def list_unstated(verdicts: Iterable[Approved | Withheld | None]) -> list[str]:
    """Return the problem of each index that does not say which files have provenance."""
    evidence = (None if verdict is None else verdict.evidence for verdict in verdicts)
    return list(dict.fromkeys(each.problem for each in evidence if isinstance(each, Unstated)))


def explain_verdict(verdict: Approved | Withheld) -> str:
    """Return the explanation of a verdict as one line.

    For a withheld file, the line has the reasons and the nearest approved version. For an approved file, it has the
    reasons that an exception lifted, and the notes. Without these, it is ``-``.
    """
    if isinstance(verdict, Withheld):
        nearest = f"; nearest approved version: {verdict.nearest}" if verdict.nearest else ""
        return " ".join(f"[{reason.code}] {reason.message}" for reason in verdict.reasons) + nearest
    lifted = [f"despite [{reason.code}] {reason.message}" for reason in verdict.despite]
    return " ".join((*lifted, *verdict.notes)) or "-"


def verdict_json(verdict: Approved | Withheld) -> dict[str, Any]:
    """Return a verdict as a JSON object, with all details of the evidence."""
    return {
        "filename": escape_unprintable(verdict.file.filename),
        "sha256": verdict.file.sha256,
        "verdict": "approved" if isinstance(verdict, Approved) else "withheld",
        "rule": verdict.rule,
        "evidence": None if verdict.evidence is None else json.loads(encode_evidence(verdict.evidence)),
        "reasons": reasons_to_json(verdict) if isinstance(verdict, Withheld) else [],
        "despite": [reason.message for reason in verdict.despite] if isinstance(verdict, Approved) else [],
        "notes": list(verdict.notes) if isinstance(verdict, Approved) else [],
    }


def list_alarms(releases: Mapping[Version, ReleaseProvenance]) -> list[str]:
    """Return a line for each release whose provenance is inconsistent, lost or changed, the newest version first."""
    return [
        f"{version}: provenance {found.text}{f' ({escape_unprintable(names)})' if names else ''}"
        for version, found in sorted(releases.items(), reverse=True)
        if ALARMING_WORDS & set(found.words)
        for names in [", ".join(found.publishers)]
    ]


def releases_json(releases: Mapping[Version, ReleaseProvenance]) -> list[dict[str, Any]]:
    """Return the provenance of releases as JSON objects, the newest version first."""
    return [
        {
            "version": str(version),
            "provenance": [word.value for word in found.words],
            "attested": found.attested,
            "unattested": found.unattested,
            "unknown": found.unknown,
            "publishers": [escape_unprintable(name) for name in found.publishers],
        }
        for version, found in sorted(releases.items(), reverse=True)
    ]
