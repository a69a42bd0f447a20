"""Verification as the packages above `attestation` see it. Pure: a protocol and its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from assay.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationJob:
    """One document to verify."""

    filename: str
    sha256: str
    provenance: bytes
    trust: str | None = None
    """The trust root that the file's index names; None: the default one and those beside it."""


class VerificationResult(NamedTuple):
    """What a document proves, and how that is recorded."""

    evidence: Evidence
    record: bytes
    """As `attestation.codec.encode_evidence` wrote it."""


class Verifier(Protocol):
    """Verification of documents over the trust roots in force."""

    @property
    def roots_digest(self) -> str:
        """Digest of all roots together: changes if any of them does."""

    def trust_fingerprint_for(self, root_name: str | None) -> str:
        """Return the digest of the roots that count for an index with this `root_name`."""

    def earlier_trust_fingerprints_for(self, root_name: str | None) -> tuple[str, ...]:
        """Return the same of the roots that were in force before, newest first."""

    def is_still_valid(self, evidence: Evidence, root_name: str | None) -> bool:
        """Return whether evidence recorded under earlier roots holds under these without verifying it again."""

    def preload_roots(self) -> None:
        """Load the roots in force where they will be needed: documents come soon."""

    async def verify(self, jobs: Sequence[VerificationJob]) -> list[VerificationResult]:
        """Return the evidence of each job, in order.

        Raises:
            VerificationUnavailableError: our own failure; nothing may be recorded of any of them.
        """
