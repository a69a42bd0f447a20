"""What the audit trail says of one request for a file: who asked for what, and why it was served or refused.

Owns the entries' fields, which are a contract with whoever reads the trail: a field is added, never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from assay import telemetry
from assay.attestation.codec import encode_evidence
from assay.config import ServerSettings
from assay.evidence import Attested, Claims, Evidence
from assay.policy.reasons import escape_controls
from assay.policy.verdict import Approved, Withheld
from assay.publishers.registry import RECORDED_CLAIMS
from assay.publishers.signers import describe_signer
from assay.telemetry.audit_trail import AuditTrail
from assay.views import DEFAULT_VIEW
from assay.web.auth import get_request_user
from assay.web.origin import resolve_client_address

_MAX_FIELD_CHARS = 500
_MAX_ATTESTATIONS = 8
"""Attestations of one file that an entry names."""


@dataclass(frozen=True, slots=True)
class AuditRecorder:
    """Writes entries; does nothing where there is no trail."""

    trail: AuditTrail | None
    settings: ServerSettings
    view: str
    """Entries of the view `default` do not name it."""

    async def record_served(self, request: web.BaseRequest, route: str, approved: Approved, policy_digest: str) -> None:
        """Before its first byte: this client is given this file (or what speaks for it).

        Raises:
            StorageError: it cannot be written, and what is not written must not happen.
        """
        if self.trail is not None:
            await self.trail.record(self._build_entry("served", request, route, approved, policy_digest))

    async def record_refused(
        self, request: web.BaseRequest, route: str, withheld: Withheld, policy_digest: str
    ) -> None:
        """This client asked for a withheld file."""
        if self.trail is not None:
            await self.trail.record(self._build_entry("refused", request, route, withheld, policy_digest))

    def record_unfinished(self, reason: str) -> None:
        """What was to be served, by the entry with this request's id, was not served whole."""
        if self.trail is not None:
            self.trail.record_nowait(
                {"event": "unfinished", "request": telemetry.current_request_id.get(), "why": _sanitize(reason)}
            )

    def _build_entry(
        self, event: str, request: web.BaseRequest, route: str, verdict: Approved | Withheld, policy_digest: str
    ) -> Mapping[str, Any]:
        file = verdict.file
        codes = verdict.reasons if isinstance(verdict, Withheld) else verdict.despite
        return {
            "event": event,
            "request": telemetry.current_request_id.get(),
            "client": resolve_client_address(request.headers, peer=request.remote, settings=self.settings),
            **({} if (user := get_request_user(request)) is None else {"user": user}),
            "method": request.method,
            **({} if self.view == DEFAULT_VIEW else {"view": self.view}),
            "route": route,
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
