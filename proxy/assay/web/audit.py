"""Audit entries about requests for files: the client, the file, and the reasons for which it was served or refused.

This module defines the fields of the entries. Programs that read the audit trail depend on these fields. Fields may
therefore be added, but existing fields must not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from assay.attestation.codec import encode_evidence
from assay.caching.lru import Lru
from assay.evidence import Attested, Claims, Evidence, Forged
from assay.policy.reasons import escape_controls
from assay.policy.verdict import Approved, Withheld
from assay.publishers.registry import RECORDED_CLAIMS
from assay.publishers.signers import describe_signer
from assay.simple.model import Sha256
from assay.telemetry.audit_chain import EncodedFields, encode_fields
from assay.telemetry.audit_trail import AuditTrail, EntryWrite
from assay.web.exchange import Exchange

_MAX_FIELD_CHARS = 500
_MAX_ATTESTATIONS = 8
"""Maximum number of attestations in one entry. Further attestations are left out."""


_MAX_SERVED_BYTES = 8 * 2**20
"""Maximum total size in bytes of the fields that are kept for the files that were served last. The fields of one file
take 500 bytes to 50 kB."""


class _ServedFields(NamedTuple):
    approved: Approved
    policy_digest: str
    encoded: EncodedFields


@dataclass(frozen=True, slots=True)
class AuditRecorder:
    """Writer of audit entries about requests for files. Without an audit trail it writes nothing."""

    trail: AuditTrail | None
    _served: Lru[tuple[Sha256, str, str | None, str], _ServedFields] = field(
        default_factory=partial(Lru, max_weight=_MAX_SERVED_BYTES, weigh=lambda kept: len(kept.encoded)),
        repr=False,
        compare=False,
    )
    """Fields about the files that were served last, by digest, method, view and route, because clients request few
    files most of the time."""

    async def record_served(self, exchange: Exchange, approved: Approved, policy_digest: str) -> None:
        """Record that a client gets a file, its METADATA or its provenance. Call this before the first byte is sent.

        Raises:
            StorageError: the entry cannot be written. The caller must not serve the file then.
        """
        if (entry := self.begin_served(exchange, approved, policy_digest)) is not None:
            await entry.wait()

    def begin_served(self, exchange: Exchange, approved: Approved, policy_digest: str) -> EntryWrite | None:
        """Record as `record_served` does, without waiting.

        Returns:
            The write of the entry; None if the response need not wait for it.
        """
        if self.trail is None:
            return None
        key = (approved.sha256, exchange.head.method, exchange.view, exchange.route.label)
        kept = self._served.get(key)
        if kept is None or kept.approved is not approved or kept.policy_digest != policy_digest:
            encoded = encode_fields(_describe_verdict(exchange, approved, policy_digest))
            kept = _ServedFields(approved, policy_digest, encoded)
            self._served.put(key, kept)
        return self.trail.begin_record({"event": "served", **_describe_client(exchange)}, kept.encoded)

    async def record_refused(self, exchange: Exchange, withheld: Withheld, policy_digest: str) -> None:
        """Record that a client requested a withheld file, its METADATA or its provenance.

        Raises:
            StorageError: the entry cannot be written.
        """
        if self.trail is not None:
            await self.trail.record(
                {
                    "event": "refused",
                    **_describe_client(exchange),
                    **_describe_verdict(exchange, withheld, policy_digest),
                }
            )

    async def record_act(self, exchange: Exchange, event: str, facts: Mapping[str, Any]) -> None:
        """Record what a user has done to a hosted index.

        Raises:
            StorageError: the entry cannot be written.
        """
        if self.trail is not None:
            shown = {key: _sanitize(value) if isinstance(value, str) else value for key, value in facts.items()}
            await self.trail.record({"event": event, **_describe_client(exchange), **shown})

    def record_unfinished(self, exchange: Exchange, reason: str) -> None:
        """Record that a file was not sent completely, although a ``served`` entry for this request exists.

        The method does not wait until the entry is on the disk.
        """
        if self.trail is not None:
            self.trail.record_nowait({"event": "unfinished", "request": exchange.request_id, "why": _sanitize(reason)})


def _describe_client(exchange: Exchange) -> dict[str, Any]:
    """Return the fields of an entry that differ between two requests for the same file."""
    who = {"request": exchange.request_id, "client": exchange.client}
    return who if (user := exchange.user_name) is None else {**who, "user": user}


def _describe_verdict(exchange: Exchange, verdict: Approved | Withheld, policy_digest: str) -> Mapping[str, Any]:
    """Return the fields of an entry that are the same for all requests of one method, view and route for a file."""
    file = verdict.file
    codes = verdict.reasons if isinstance(verdict, Withheld) else verdict.despite
    return {
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
    """Return the fields of an entry that describe the evidence.

    They are the digest of the evidence, the keys that countersigned the file and, for each attestation, the facts by
    which a revocation can select files.
    """
    if evidence is None:
        return {"evidence": None}
    digest = hashlib.sha256(encode_evidence(evidence)).hexdigest()
    statements = () if isinstance(evidence, Forged) else evidence.key_statements[:_MAX_ATTESTATIONS]
    common: dict[str, Any] = {"evidence": digest, "kind": type(evidence).__name__.lower()}
    if statements:
        common["countersignatures"] = [
            {"key": each.key, "predicate-type": _sanitize(each.predicate_type), "source": each.source}
            for each in statements
        ]
    if not isinstance(evidence, Attested):
        return common
    return {
        **common,
        "attestations": [
            {
                "publisher": _sanitize(describe_signer(one.claims)),
                "claims": _select_claims(one.claims),
                "source": one.source,
                "predicate": _sanitize(one.predicate_type),
                "trust-root": one.trust_root,
                "certificate": one.certificate,
                "log": None if one.log is None else one.log.id,
                "log-index": one.log_index,
                "logged": one.integrated_time.isoformat(),
                "not-before": one.not_before.isoformat(),
            }
            for one in evidence.attestations[:_MAX_ATTESTATIONS]
        ],
    }


def _select_claims(claims: Claims) -> Mapping[str, str]:
    """Return the claims by which a policy can select publishers. Claims without a value are left out.

    ``assay blast`` searches the audit trail for these claims.
    """
    stated = ((key, getattr(claims, key)) for key in RECORDED_CLAIMS)
    return {key: str(value)[:_MAX_FIELD_CHARS] for key, value in stated if value is not None}


def _sanitize(text: str) -> str:
    return escape_controls(text, _MAX_FIELD_CHARS)
