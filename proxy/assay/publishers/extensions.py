"""The extensions of a signing certificate, from which a kind of publisher reads its claims. Pure.

Fulcio's extensions are texts, known by the last arc of their OID (1.3.6.1.4.1.57264.1.*); `attestation` decodes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from assay.evidence import Claims

Extensions: TypeAlias = Mapping[int, str]

EXTENSION_NAMES: Final = {
    1: "Issuer",
    2: "GitHub Workflow Trigger",
    3: "GitHub Workflow SHA",
    5: "GitHub Workflow Repository",
    6: "GitHub Workflow Ref",
    8: "Issuer (V2)",
    9: "Build Signer URI",
    10: "Build Signer Digest",
    11: "Runner Environment",
    12: "Source Repository URI",
    13: "Source Repository Digest",
    14: "Source Repository Ref",
    15: "Source Repository Identifier",
    16: "Source Repository Owner URI",
    17: "Source Repository Owner Identifier",
    18: "Build Config URI",
    19: "Build Config Digest",
    20: "Build Trigger",
    21: "Run Invocation URI",
    22: "Source Repository Visibility At Signing",
    23: "Deployment Environment",
    24: "Token Subject",
}
"""Fulcio's own names, by the last arc, for messages."""


class InvalidClaimsError(Exception):
    """A certificate that contradicts itself or lacks a claim, or an index that says something else than it.

    Internal to verification: `attestation` turns it into a failed check, and that into evidence.
    """

    def __init__(self, step: str, expected: str, found: object) -> None:
        super().__init__(step, expected, found)
        self.step = step
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """A signing certificate's texts, and the kind of publisher that they indicate."""

    kind: str | None
    """Name of the kind, by the issuer or by the shape of the extensions; None for no Trusted Publisher."""
    issuer: str
    """OIDC issuer (.8, else .1)."""
    san: str
    """The one Subject Alternative Name."""
    is_email: bool
    """The Subject Alternative Name is an e-mail address, else a URI."""
    extensions: Extensions

    def require(self, arc: int) -> str:
        """Return the extension, which certificates of this kind always have.

        Raises:
            InvalidClaimsError: it is missing.
        """
        if arc not in self.extensions:
            expected = f"{EXTENSION_NAMES[arc]} (OID .{arc}), as {self.kind} certificates have"
            raise InvalidClaimsError("certificate claims", expected, None)
        return self.extensions[arc]

    def require_builder(self) -> str:
        """Return the Build Signer URI, which is the Subject Alternative Name in every certificate of a workload.

        Raises:
            InvalidClaimsError: it is missing, or another.
        """
        builder = self.require(9)
        if self.san != builder:
            raise InvalidClaimsError("subject alternative name", builder, self.san)
        return builder


def check_equal(extensions: Extensions, older_arc: int, newer_arc: int) -> None:
    """Check that an older and a newer extension, which Fulcio fills from one fact, say the same.

    Raises:
        InvalidClaimsError: both are there, and differ.
    """
    if older_arc in extensions and newer_arc in extensions and extensions[older_arc] != extensions[newer_arc]:
        raise InvalidClaimsError(
            "certificate claims",
            f"{EXTENSION_NAMES[older_arc]} = {EXTENSION_NAMES[newer_arc]} ({extensions[newer_arc]})",
            extensions[older_arc],
        )


def read_common_claims(facts: CertificateFacts) -> Claims:
    """Return the claims that one extension states, whatever the kind of publisher; they are compared with nothing."""
    extensions = facts.extensions
    return Claims(
        kind=facts.kind,
        issuer=facts.issuer,
        san=facts.san,
        email=facts.san if facts.is_email else None,
        repository_uri=extensions.get(12),
        repository_id=extensions.get(15),
        owner_id=extensions.get(17),
        ref=extensions.get(14),
        digest=extensions.get(13),
        environment=extensions.get(23),
        token_subject=extensions.get(24),
        trigger=extensions.get(20),
        runner=extensions.get(11),
        visibility=extensions.get(22),
        run_url=extensions.get(21),
        builder=extensions.get(9),
        builder_digest=extensions.get(10),
    )
