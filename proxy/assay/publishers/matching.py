"""The match of a policy's publisher against a certificate. Pure.

Only the certificate's claims are compared, never what the index says of the publisher. What is named must be proven: a
claim that the certificate lacks matches nothing, but for `environment`, see `ENVIRONMENT_SINCE`.
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
"""Certificates issued from here on carry the deployment environment (Fulcio OID 1.3.6.1.4.1.57264.1.23), if there was
one (docs/policy-semantics.md, "Claims"). Fulcio began in about May 2026. The month's end is taken, so that none of a
roll-out's certificates is refused for what its issuer did not write yet."""


@dataclass(frozen=True, slots=True)
class PublisherMatcher:
    """One publisher, compiled."""

    publisher: PublisherTable
    kind: str
    issuer: str
    claim_tests: tuple[ClaimTest, ...]
    environment: StringPredicate | None

    def covers(self, attestation: Attestation) -> bool:
        """Whether the certificate proves this publisher."""
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
        """What the match rests on without proof."""
        if self.environment is None or attestation.claims.environment is not None:
            return ()
        named = getattr(self.publisher, "environment", None)
        return (f"environment {named} is not proven: older certificates do not carry it",)

    @staticmethod
    def _matches_environment(attestation: Attestation, predicate: StringPredicate) -> bool:
        found = attestation.claims.environment
        return predicate(found) if found is not None else attestation.not_before < ENVIRONMENT_SINCE


def compile_publisher(publisher: PublisherTable) -> PublisherMatcher:
    """Compile one publisher of a rule or revocation."""
    kind = get_table_kind(publisher)
    stated = publisher.model_dump(exclude_none=True, exclude={"kind", "issuer"})
    environment = stated.pop("environment", None)
    tests = (kind.claim_keys[key].compile(value) for key, value in stated.items())
    return PublisherMatcher(
        publisher=publisher,
        kind=kind.name,
        issuer=publisher.issuer.rstrip("/"),
        # Remembered, since the thousands of files of a page are signed by few: a glob takes 0.4 µs, a look-up 0.1.
        claim_tests=tuple((read, lru_cache(maxsize=32)(matches)) for read, matches in tests),
        environment=kind.claim_keys["environment"].compile(environment)[1] if environment else None,
    )
