"""CircleCI: pipelines of projects. Pure."""

from __future__ import annotations

import re
from typing import ClassVar, Final, Literal

from assay.evidence import Claims
from assay.publishers.base import (
    IdentityClaim,
    PrintableText,
    PublisherKind,
    PublisherTable,
    Uuid,
    match_builder,
    match_glob,
    state_claim,
)
from assay.publishers.extensions import EXTENSION_NAMES, CertificateFacts, InvalidClaimsError

_PIPELINE_DEFINITION_URL: Final = re.compile(
    r"https://circleci\.com/api/v2/projects/([^/?#]+)/pipeline-definitions/([^/?#]+)", re.ASCII
)


class CircleCI(PublisherTable):
    """A CircleCI pipeline."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("project_id",)
    kind: Literal["CircleCI"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = "https://oidc.circleci.com"
    project_id: Uuid
    """UUID of the project."""
    pipeline_definition_id: Uuid | None = None
    """UUID of the pipeline's definition."""
    vcs_origin: PrintableText | None = None
    """Repository that it was built from."""
    vcs_ref: PrintableText | None = None
    """Git ref."""
    builder: PrintableText | None = None
    """Build Signer URI."""


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
    recognizes=None,
    read_claims=_read_claims,
    block_keys=(
        state_claim("project_id"),
        state_claim("pipeline_definition_id"),
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
