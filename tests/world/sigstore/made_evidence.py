"""Evidence as a value, without signatures, for tests of what follows verification."""

from __future__ import annotations

from datetime import UTC, datetime

from assay.evidence import PUBLISH_PREDICATE_TYPE, Attestation, Attested, Claims


def make_attested(when: datetime = datetime(2026, 1, 1, tzinfo=UTC), **claims: str) -> Attested:
    """Return evidence with one attestation of GitHub ``acme/foo``; `claims` replace its claims."""
    stated = {"kind": "GitHub", "issuer": "https://issuer.example", "san": "https://san.example"}
    stated |= {"repository": "acme/foo", **claims}
    one = Attestation(
        trust_root="sigstore",
        bundle=0,
        predicate_type=PUBLISH_PREDICATE_TYPE,
        claims=Claims(**stated),
        integrated_time=when,
        log_index=7,
        certificate="ab" * 32,
        not_before=when,
        not_after=when,
    )
    return Attested(attestations=(one,))
