"""Verdicts in the words of tables and JSON: the same in every command that shows them."""

from __future__ import annotations

import json
from typing import Any

from assay.attestation.codec import encode_evidence
from assay.cli.tables import escape_unprintable
from assay.evidence import Attested, Evidence, Forged, Unverifiable
from assay.policy.reasons import reasons_to_json
from assay.policy.verdict import Approved, Withheld
from assay.publishers.signers import get_signer_name


def summarize_evidence(evidence: Evidence | None) -> str:
    """What is proven of a file, in a few words."""
    match evidence:
        case Attested(attestations=attestations):
            return get_signer_name(attestations[0].claims)
        case Forged(step=step):
            return f"forged: {step}"
        case Unverifiable(reason=reason):
            return f"unverifiable: {reason}"
        case None:
            return "not needed"
        case _:
            return "none"


def explain_verdict(verdict: Approved | Withheld) -> str:
    """Why it is withheld, or in spite of what it is approved."""
    if isinstance(verdict, Withheld):
        nearest = f"; nearest approved version: {verdict.nearest}" if verdict.nearest else ""
        return " ".join(f"[{reason.code}] {reason.message}" for reason in verdict.reasons) + nearest
    lifted = [f"despite [{reason.code}] {reason.message}" for reason in verdict.despite]
    return " ".join((*lifted, *verdict.notes)) or "-"


def verdict_json(verdict: Approved | Withheld) -> dict[str, Any]:
    """A verdict for programs."""
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
