"""Protocol of the verifier, for the packages above `attestation`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from assay.evidence import Evidence


class DocumentFormat(StrEnum):
    """Format of a document that an evidence source offers."""

    PROVENANCE = "provenance"
    """Provenance object (PEP 740): a forged attestation makes the file `Forged`."""
    BUNDLES = "bundles"
    """JSON list of Sigstore bundles: a bundle that fails a check is rejected and has no effect on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationJob:
    """Document to verify, and the file that it is about."""

    filename: str
    sha256: str
    provenance: bytes
    """The document; untrusted."""
    document_format: DocumentFormat = DocumentFormat.PROVENANCE
    trust: str | None = None
    """Name of the only trust root for the document, if the settings of the file's index name one. None: the default
    trust root and all roots of `[trust.roots]`."""


class VerificationResult(NamedTuple):
    """Evidence from a document, in two forms: as an object, and as the bytes to record."""

    evidence: Evidence
    record: bytes
    """The evidence, encoded by `attestation.codec.encode_evidence`."""


class Verifier(Protocol):
    """Verifier of provenance documents under the active trust roots."""

    @property
    def roots_digest(self) -> str:
        """Digest of all active trust roots together."""

    @property
    def keys_digest(self) -> str:
        """Digest of all keys that can countersign; empty without keys. Evidence from bundles depends on them."""

    def trust_fingerprint_for(self, root_name: str | None) -> str:
        """Return the digest of the active trust roots for an index whose setting `trust` is `root_name`."""

    def earlier_trust_fingerprints_for(self, root_name: str | None) -> tuple[str, ...]:
        """Return the digests of the trust roots that were active earlier, newest first.

        Each digest has the form that `trust_fingerprint_for` returns for the same `root_name`.
        """

    def is_still_valid(self, evidence: Evidence, root_name: str | None) -> bool:
        """Return whether evidence that was verified under earlier trust roots is also valid under the active ones."""

    def preload_roots(self) -> None:
        """Load the active trust roots in the workers, so that the first documents need not wait for it."""

    async def verify(self, jobs: Sequence[VerificationJob]) -> list[VerificationResult]:
        """Verify each document; return the results in the order of `jobs`.

        Raises:
            VerificationUnavailableError: verification could not run. The caller must not record any result.
        """
