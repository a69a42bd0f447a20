"""Comparison of a policy's publisher with the claims of a certificate. Pure.

The index's publisher block is never compared. The certificate must prove every key that the policy states: a missing
claim does not match. The only exception is `environment` (see `ENVIRONMENT_SINCE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from assay.evidence import Attestation
from assay.publishers.base import ClaimTest, PublisherTable
from assay.publishers.globs import StringPredicate
from assay.publishers.registry import get_table_kind

ENVIRONMENT_SINCE = datetime(2026, 6, 1, tzinfo=UTC)
"""Date since which certificates contain the deployment environment of a job that has one (Fulcio OID
1.3.6.1.4.1.57264.1.23; docs/policy-semantics.md, "Claims"). The date is compared with the start of a certificate's
validity. An earlier certificate without the environment matches any environment. Fulcio began to add the environment in
about May 2026. The date is the end of May, so that no certificate from the transition is rejected."""


@dataclass(frozen=True, slots=True)
class PublisherMatcher:
    """Publisher of a policy, compiled for comparison with attestations."""

    publisher: PublisherTable
    kind: str
    issuer: str
    keys: tuple[str, ...]
    """Keys of `claim_tests`, in the same order."""
    claim_tests: tuple[ClaimTest, ...]
    environment: StringPredicate | None

    def find_unmet_keys(self, attestation: Attestation) -> dict[str, str | None]:
        """Return the keys of the publisher that the attestation does not meet, each with the attestation's claim.

        The claim is None if the certificate does not contain it.
        """
        claims = attestation.claims
        unmet: dict[str, str | None] = {}
        if claims.kind != self.kind:
            unmet["kind"] = claims.kind
        if self.issuer not in {claims.issuer, claims.issuer.rstrip("/")}:
            unmet["issuer"] = claims.issuer
        for key, (read, matches) in zip(self.keys, self.claim_tests, strict=True):
            claim = read(claims)
            if claim is None or not matches(claim):
                unmet[key] = claim
        if self.environment is not None and not self._matches_environment(attestation, self.environment):
            unmet["environment"] = claims.environment
        return unmet

    def covers(self, attestation: Attestation) -> bool:
        """Return True if the claims of the attestation prove that this publisher signed it."""
        claims = attestation.claims
        if claims.kind != self.kind:
            return False
        if claims.issuer != self.issuer and claims.issuer.rstrip("/") != self.issuer:
            return False
        for read, matches in self.claim_tests:
            claim = read(claims)
            if claim is None or not matches(claim):
                return False
        return self.environment is None or self._matches_environment(attestation, self.environment)

    def note_unproven(self, attestation: Attestation) -> tuple[str, ...]:
        """Return a note if the policy names an environment and the attestation's certificate does not prove any."""
        if self.environment is None or attestation.claims.environment is not None:
            return ()
        named = getattr(self.publisher, "environment", None)
        return (f"environment {named} is not proven, because older certificates do not contain it",)

    @staticmethod
    def _matches_environment(attestation: Attestation, predicate: StringPredicate) -> bool:
        found = attestation.claims.environment
        return predicate(found) if found is not None else attestation.not_before < ENVIRONMENT_SINCE


def compile_publisher(publisher: PublisherTable) -> PublisherMatcher:
    """Compile a publisher of a rule or of a revocation."""
    kind = get_table_kind(publisher)
    stated = publisher.model_dump(exclude_none=True, exclude={"kind", "issuer"})
    environment = stated.pop("environment", None)
    tests = (kind.claim_keys[key].compile(value) for key, value in stated.items())
    return PublisherMatcher(
        publisher=publisher,
        kind=kind.name,
        issuer=publisher.issuer.rstrip("/"),
        # Cached, because few signers sign the thousands of files of a page: a glob takes 0.4 µs, a cache hit 0.1 µs.
        keys=tuple(stated),
        claim_tests=tuple((read, lru_cache(maxsize=32)(matches)) for read, matches in tests),
        environment=kind.claim_keys["environment"].compile(environment)[1] if environment else None,
    )
