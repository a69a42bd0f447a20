"""Publisher kind of CircleCI: pipelines of projects. Pure."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator

from assay.evidence import Claims
from assay.publishers.base import (
    IdentityClaim,
    PublisherKind,
    PublisherTable,
    match_builder,
    match_glob,
    state_claim,
)
from assay.publishers.extensions import EXTENSION_NAMES, CertificateFacts, Extensions, InvalidClaimsError
from assay.publishers.texts import Builder, Issuer, Origin, Ref, Uuid

_ISSUER: Final = "https://oidc.circleci.com"
_ORGANIZATION_ISSUER: Final = re.compile(
    r"https://oidc\.circleci\.com/org/[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)
"""Pattern of the issuers of single organizations. Each organization has its own issuer of OIDC tokens. Fulcio's
configuration accepts all of them by one entry, a meta-issuer."""
_PIPELINE_DEFINITION_URL: Final = re.compile(
    r"https://circleci\.com/api/v2/projects/([^/?#]+)/pipeline-definitions/([^/?#]+)", re.ASCII
)


def _check_issuer(issuer: str) -> str:
    if issuer.rstrip("/") != _ISSUER and not _ORGANIZATION_ISSUER.fullmatch(issuer.rstrip("/")):
        raise ValueError(f"{_ISSUER} or {_ISSUER}/org/ with the UUID of an organization")
    return issuer


class CircleCI(PublisherTable):
    """CircleCI pipeline as a publisher."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("project_id",)
    kind: Literal["CircleCI"]
    """Kind of publisher."""
    issuer: Annotated[Issuer, AfterValidator(_check_issuer)] = _ISSUER
    """OIDC issuer of the certificate. Tokens of an organization may have `https://oidc.circleci.com/org/UUID`."""
    project_id: Uuid
    """UUID of the project."""
    pipeline_definition_id: Uuid | None = None
    """UUID of the pipeline definition."""
    vcs_origin: Origin | None = None
    """Source repository of the build."""
    vcs_ref: Ref | None = None
    """Git ref of the build."""
    builder: Builder | None = None
    """Build Signer URI of the certificate."""


def _has_organization_issuer(issuer: str, _: Extensions) -> bool:
    return _ORGANIZATION_ISSUER.fullmatch(issuer) is not None


def _read_claims(facts: CertificateFacts) -> Claims:
    builder = facts.require_builder()
    pipeline = _PIPELINE_DEFINITION_URL.fullmatch(builder)
    if pipeline is None:
        expected = f"{EXTENSION_NAMES[9]} of a CircleCI pipeline definition"
        raise InvalidClaimsError("certificate claims", expected, builder)
    return Claims(
        kind=facts.kind,
        issuer=facts.issuer,
        san=facts.san,
        builder=builder,
        project_id=pipeline[1],
        pipeline_definition_id=pipeline[2],
        vcs_origin=facts.extensions.get(12),
        vcs_ref=facts.extensions.get(14),
        runner=facts.extensions.get(11),
        run_url=facts.extensions.get(21),
    )


CIRCLECI: Final = PublisherKind(
    table=CircleCI,
    recognizes=_has_organization_issuer,
    read_claims=_read_claims,
    block_keys=(
        state_claim("project_id", ignore_case=True),
        state_claim("pipeline_definition_id", ignore_case=True),
        state_claim("vcs_origin", is_required=False),
        state_claim("vcs_ref", is_required=False),
    ),
    claim_keys={
        "project_id": match_glob("project_id", ignore_case=True),
        "pipeline_definition_id": match_glob("pipeline_definition_id", ignore_case=True),
        "vcs_origin": match_glob("vcs_origin"),
        "vcs_ref": match_glob("vcs_ref"),
        "builder": match_builder(),
    },
    identity=(IdentityClaim(claim="project_id", label="project", ignore_case=True),),
    proposed_keys=("project_id", "pipeline_definition_id"),
    details=(),
    commit_path=None,
)
