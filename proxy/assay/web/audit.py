"""The audit trail's entries about one request for a file: by which client, and why the file was served or refused.

Owns the entries' fields, which are a contract with the trail's readers: a field is added, never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.attestation.codec import encode_evidence
from assay.evidence import Attested, Claims, Evidence
from assay.policy.reasons import escape_controls
from assay.policy.verdict import Approved, Withheld
from assay.publishers.registry import RECORDED_CLAIMS
from assay.publishers.signers import describe_signer
from assay.telemetry.audit_trail import AuditTrail
from assay.web.exchange import Exchange

_MAX_FIELD_CHARS = 500
_MAX_ATTESTATIONS = 8
"""Attestations of one file that an entry names."""


@dataclass(frozen=True, slots=True)
class AuditRecorder:
    """Writer of entries; it does nothing without a trail."""

    trail: AuditTrail | None

    async def record_served(self, exchange: Exchange, approved: Approved, policy_digest: str) -> None:
        """Record, before the first byte, that a client is given a file, its METADATA or its provenance.

        Raises:
            StorageError: it cannot be written, and what is not written must not happen.
        """
        if self.trail is not None:
            await self.trail.record(self._build_entry("served", exchange, approved, policy_digest))

    async def record_refused(self, exchange: Exchange, withheld: Withheld, policy_digest: str) -> None:
        """Record that a client requested a withheld file.

        Raises:
            StorageError: as `record_served`.
        """
        if self.trail is not None:
            await self.trail.record(self._build_entry("refused", exchange, withheld, policy_digest))

    def record_unfinished(self, exchange: Exchange, reason: str) -> None:
        """Record that the file of a `served` entry, the one with the same request id, was not sent whole."""
        if self.trail is not None:
            self.trail.record_nowait({"event": "unfinished", "request": exchange.request_id, "why": _sanitize(reason)})

    def _build_entry(
        self, event: str, exchange: Exchange, verdict: Approved | Withheld, policy_digest: str
    ) -> Mapping[str, Any]:
        file = verdict.file
        codes = verdict.reasons if isinstance(verdict, Withheld) else verdict.despite
        return {
            "event": event,
            "request": exchange.request_id,
            "client": exchange.client,
            **({} if (user := exchange.user_name) is None else {"user": user}),
            "method": exchange.head.method,
            **({} if exchange.view is None else {"view": exchange.view}),
            "route": exchange.route.label,
            "project": file.distribution.project if file.distribution is not None else None,
            "filename": _sanitize(file.filename),
            "sha256": file.sha256,
            "rule": verdict.rule,
            "reasons" if isinstance(verdict, Withheld) else "despite": [reason.code.value for reason in codes],
            "policy": policy_digest,
            **_describe_evidence(verdict.evidence),
        }


def _describe_evidence(evidence: Evidence | None) -> Mapping[str, Any]:
    """The evidence by digest, and who it names: what a later revocation would select it by."""
    if evidence is None:
        return {"evidence": None}
    digest = hashlib.sha256(encode_evidence(evidence)).hexdigest()
    if not isinstance(evidence, Attested):
        return {"evidence": digest, "kind": type(evidence).__name__.lower()}
    return {
        "evidence": digest,
        "kind": "attested",
        "attestations": [
            {
                "publisher": _sanitize(describe_signer(one.claims)),
                "claims": _select_claims(one.claims),
                "trust-root": one.trust_root,
                "certificate": one.certificate,
                "log-index": one.log_index,
                "logged": one.integrated_time.isoformat(),
                "not-before": one.not_before.isoformat(),
            }
            for one in evidence.attestations[:_MAX_ATTESTATIONS]
        ],
    }


def _select_claims(claims: Claims) -> Mapping[str, str]:
    """What a policy's publishers ask for, so that a revocation can be held against the trail (``assay blast``)."""
    stated = ((key, getattr(claims, key)) for key in RECORDED_CLAIMS)
    return {key: str(value)[:_MAX_FIELD_CHARS] for key, value in stated if value is not None}


def _sanitize(text: str) -> str:
    return escape_controls(text, _MAX_FIELD_CHARS)
