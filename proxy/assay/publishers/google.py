"""Publisher kind of Google Cloud: service accounts. Pure."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator

from assay.evidence import Claims
from assay.publishers.base import (
    IdentityClaim,
    PublisherKind,
    PublisherTable,
    match_glob,
    state_claim,
)
from assay.publishers.extensions import CertificateFacts, InvalidClaimsError
from assay.publishers.globs import lower_ascii
from assay.publishers.texts import Issuer, ServiceAccount

_DOMAIN: Final = ".gserviceaccount.com"


def _check_issuer(issuer: str) -> str:
    if issuer.rstrip("/") != "https://accounts.google.com":
        raise ValueError("https://accounts.google.com, the only issuer of this kind")
    return issuer


class Google(PublisherTable):
    """Google service account as a publisher."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("email",)
    kind: Literal["Google"]
    """Kind of publisher."""
    issuer: Annotated[Issuer, AfterValidator(_check_issuer)] = "https://accounts.google.com"
    email: ServiceAccount
    """E-mail address of the service account."""


def is_service_account(email: str) -> bool:
    """Return True for the address of a service account: ``name@project.iam.gserviceaccount.com``.

    All service accounts of Google Cloud have addresses below ``gserviceaccount.com``, also the default accounts of
    its products.
    """
    name, _, domain = lower_ascii(email).rpartition("@")
    return bool(name) and "@" not in name and domain.endswith(_DOMAIN)


def _read_claims(facts: CertificateFacts) -> Claims:
    # The reference implementation reads Google's issuer from OID .1 only, so a certificate without it is rejected.
    facts.require(1)
    if not facts.is_email:
        raise InvalidClaimsError(
            "subject alternative name",
            "an e-mail address, as in every certificate for an identity of Google",
            facts.san,
        )
    # A person who signs in with a Google account has the same issuer, but is not a Trusted Publisher.
    kind = facts.kind if is_service_account(facts.san) else None
    return Claims(kind=kind, issuer=facts.issuer, san=facts.san, email=facts.san)


GOOGLE: Final = PublisherKind(
    table=Google,
    recognizes=None,
    read_claims=_read_claims,
    block_keys=(state_claim("email", ignore_case=True),),
    claim_keys={"email": match_glob("email", ignore_case=True)},
    identity=(IdentityClaim(claim="email", label="email", ignore_case=True),),
    proposed_keys=("email",),
    details=(),
    commit_path=None,
)
