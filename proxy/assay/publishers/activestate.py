"""Publisher kind of the ActiveState Platform: builds of projects. Pure.

PyPI documents which claims of ActiveState's OIDC token it checks: the subject, ``org:ORGANIZATION:project:PROJECT``,
the organization, the project and the actor (https://docs.pypi.org/trusted-publishers/using-a-publisher/). Of these,
a certificate has only the subject, in Fulcio's extension Token Subject. So the actor is never proven, and a policy
cannot require one. The reference implementation does not know this kind.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator

from assay.evidence import Claims
from assay.publishers.base import (
    ClaimKey,
    ClaimTest,
    IdentityClaim,
    PublisherKind,
    PublisherTable,
    match_glob,
    state_claim,
)
from assay.publishers.extensions import CertificateFacts, InvalidClaimsError
from assay.publishers.globs import compile_glob
from assay.publishers.texts import ActiveStateName, Issuer

_ISSUER: Final = "https://platform.activestate.com/api/v1/oauth/oidc"
_SUBJECT: Final = re.compile(r"org:([^:/]+):project:([^:/]+)(?::.*)?", re.DOTALL)
"""Pattern of the token's subject. PyPI compares its first four parts, and ignores further ones."""


def _check_issuer(issuer: str) -> str:
    if issuer.rstrip("/") != _ISSUER:
        raise ValueError(f"{_ISSUER}, the only issuer of this kind")
    return issuer


class ActiveState(PublisherTable):
    """ActiveState project as a publisher."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("organization",)
    kind: Literal["ActiveState"]
    """Kind of publisher."""
    issuer: Annotated[Issuer, AfterValidator(_check_issuer)] = _ISSUER
    organization: ActiveStateName
    """Organization on the ActiveState Platform."""
    project: ActiveStateName | None = None
    """Project of the organization. Without this key, all its projects match."""


def _get_project(claims: Claims) -> str | None:
    """Return the name of the project, without its organization."""
    return None if claims.project_path is None else claims.project_path.rpartition("/")[2]


def _compile_project(pattern: str) -> ClaimTest:
    return _get_project, compile_glob(pattern)


def _read_claims(facts: CertificateFacts) -> Claims:
    subject = facts.require(24)
    parts = _SUBJECT.fullmatch(subject)
    if parts is None:
        raise InvalidClaimsError("certificate claims", "a Token Subject org:ORGANIZATION:project:PROJECT", subject)
    organization, project = parts.groups()
    return Claims(
        kind=facts.kind,
        issuer=facts.issuer,
        san=facts.san,
        token_subject=subject,
        organization=organization,
        project_path=f"{organization}/{project}",
    )


ACTIVESTATE: Final = PublisherKind(
    table=ActiveState,
    recognizes=None,
    read_claims=_read_claims,
    block_keys=(state_claim("organization"), state_claim("project", _get_project)),
    claim_keys={
        "organization": match_glob("organization"),
        "project": ClaimKey(claim="project_path", compile=_compile_project, propose=_get_project),
    },
    identity=(IdentityClaim(claim="project_path", label="project-path"),),
    proposed_keys=("organization", "project"),
    details=(("project", _get_project),),
    commit_path=None,
)
