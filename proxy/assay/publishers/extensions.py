"""Extensions of a signing certificate, from which each kind of publisher reads its claims. Pure.

Fulcio's extensions have the OIDs 1.3.6.1.4.1.57264.1.*. This module maps the last number (arc) of the OID to the text
of the extension. `attestation.verification.certificate` decodes the texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from assay.evidence import Claims
from assay.publishers.uris import encode_uri

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
"""Fulcio's names of the extensions, by the last arc of the OID. They are used in messages."""


class InvalidClaimsError(Exception):
    """Error for a certificate that lacks a claim, contradicts itself, or differs from the index's publisher block.

    The error is internal to verification. `attestation` converts it to `CheckFailed`, and then to evidence.
    """

    def __init__(self, step: str, expected: str, found: object) -> None:
        super().__init__(step, expected, found)
        self.step = step
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """Values of a signing certificate's extensions, and the kind of publisher that they indicate."""

    kind: str | None
    """Name of the publisher kind, such as ``GitHub``. Assay recognizes it from the issuer or from the extensions of the
    certificate. None if no publisher kind matches."""
    issuer: str
    """OIDC issuer (OID .8, or else .1)."""
    san: str
    """Subject Alternative Name."""
    is_email: bool
    """True if the Subject Alternative Name is an e-mail address, False if it is a URI."""
    extensions: Extensions

    def require(self, arc: int) -> str:
        """Return an extension that all certificates of this kind have.

        Args:
            arc: last arc of the extension's OID.

        Raises:
            InvalidClaimsError: the extension is missing.
        """
        if arc not in self.extensions:
            expected = f"{EXTENSION_NAMES[arc]} (OID .{arc}), as {self.kind} certificates have"
            raise InvalidClaimsError("certificate claims", expected, None)
        return self.extensions[arc]

    def require_builder(self) -> str:
        """Return the Build Signer URI, and check that the Subject Alternative Name contains the same URI.

        Both are equal in every certificate of a CI job, with one difference. In the Subject Alternative Name,
        characters that a URI cannot contain are percent-encoded (`uris.encode_uri`).

        Raises:
            InvalidClaimsError: the URI is missing, or differs from the Subject Alternative Name.
        """
        builder = self.require(9)
        if self.san not in {builder, encode_uri(builder)}:
            raise InvalidClaimsError("subject alternative name", builder, self.san)
        return builder


def check_equal(extensions: Extensions, older_arc: int, newer_arc: int) -> None:
    """Check that an older and a newer extension are equal if both are present.

    Fulcio fills both from the same value of the OIDC token.

    Args:
        extensions: the certificate's extensions.
        older_arc: last arc of the older extension's OID.
        newer_arc: last arc of the newer extension's OID.

    Raises:
        InvalidClaimsError: both extensions are present and differ.
    """
    if older_arc in extensions and newer_arc in extensions and extensions[older_arc] != extensions[newer_arc]:
        raise InvalidClaimsError(
            "certificate claims",
            f"{EXTENSION_NAMES[older_arc]} = {EXTENSION_NAMES[newer_arc]} ({extensions[newer_arc]})",
            extensions[older_arc],
        )


def read_common_claims(facts: CertificateFacts) -> Claims:
    """Return the claims that are copies of a single extension, without any check.

    These claims are the same for every kind of publisher.
    """
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
