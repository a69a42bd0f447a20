"""Google Cloud: service accounts. Pure."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from assay.evidence import Claims
from assay.publishers.base import (
    IdentityClaim,
    PrintableText,
    PublisherKind,
    PublisherTable,
    match_glob,
    state_claim,
)
from assay.publishers.extensions import CertificateFacts, InvalidClaimsError


class Google(PublisherTable):
    """A Google service account."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("email",)
    kind: Literal["Google"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = "https://accounts.google.com"
    email: PrintableText
    """Of the service account."""


def _read_claims(facts: CertificateFacts) -> Claims:
    # The reference reads the issuer's first encoding for Google, and has none without it.
    facts.require(1)
    if not facts.is_email:
        raise InvalidClaimsError("subject alternative name", "an e-mail address, from Google", facts.san)
    return Claims(kind=facts.kind, issuer=facts.issuer, san=facts.san, email=facts.san)


GOOGLE: Final = PublisherKind(
    table=Google,
    recognizes=None,
    read_claims=_read_claims,
    block_keys=(state_claim("email"),),
    claim_keys={"email": match_glob("email", ignore_case=True)},
    identity=(IdentityClaim(claim="email", label="email", ignore_case=True),),
    proposed_keys=("email",),
    details=(),
    commit_path=None,
)
