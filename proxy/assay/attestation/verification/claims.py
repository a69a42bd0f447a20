"""Who signed, read from a certificate's claims, and what the index says of it compared with that.

Owns the shapes of the four Trusted Publishers' identities. A claim is taken only when the certificate agrees with
itself about it: issuer in both encodings, repository, owner and workflow in every URI that names them, the subject
alternative name. Only then does the index's publisher block come into it, and it must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from assay.attestation.verification.certificate import EXTENSION_NAMES, SigningCertificate
from assay.attestation.verification.document import StatedPublisher
from assay.attestation.verification.errors import CheckFailed
from assay.evidence import Claims, PublisherKind

GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"
GITLAB_ISSUER: Final = "https://gitlab.com"
GOOGLE_ISSUER: Final = "https://accounts.google.com"
CIRCLECI_ISSUER: Final = "https://oidc.circleci.com"
_KIND_BY_ISSUER: Final = {
    GITHUB_ISSUER: PublisherKind.GITHUB,
    GITLAB_ISSUER: PublisherKind.GITLAB,
    GOOGLE_ISSUER: PublisherKind.GOOGLE,
    CIRCLECI_ISSUER: PublisherKind.CIRCLECI,
}
_SERVER_BY_ISSUER: Final = {GITHUB_ISSUER: "https://github.com", GITLAB_ISSUER: "https://gitlab.com"}
"""Where the public issuers' repositories are; a self-managed issuer's are wherever its owner put them."""
_WORKFLOW_DIRECTORY: Final = ".github/workflows/"
_PIPELINE_DEFINITION_URL: Final = re.compile(
    r"https://circleci\.com/api/v2/projects/([^/?#]+)/pipeline-definitions/([^/?#]+)", re.ASCII
)
# The same fact by an older and a newer extension: Fulcio fills both from one token.
_EQUIVALENT_ARCS: Final = ((2, 20), (3, 13), (6, 14))


def read_claims(certificate: SigningCertificate) -> Claims:
    """The certificate's claims.

    Raises:
        CheckFailed: it contradicts itself, or lacks what its issuer's certificates must have.
        UnknownMaterial: its subject alternative name is of a type we can't compare.
    """
    is_email, name = certificate.subject_alternative_name
    arcs = certificate.claims
    issuer = arcs.get(8) or arcs.get(1)
    if issuer is None:
        raise CheckFailed("issuer", "an OIDC issuer in the certificate (OID .8 or .1)", None)
    _check_equal(arcs, 1, 8)
    kind = _KIND_BY_ISSUER.get(issuer) or _infer_kind(arcs)
    match kind:
        case PublisherKind.GITHUB | PublisherKind.GITLAB:
            return _read_repository_claims(kind, issuer, name, arcs)
        case PublisherKind.CIRCLECI:
            return _read_circleci_claims(issuer, name, arcs)
        case PublisherKind.GOOGLE:
            # The reference reads the issuer's first encoding for Google, and has none without it.
            _require_claim(arcs, 1, kind)
            if not is_email:
                raise CheckFailed("subject alternative name", "an e-mail address, from Google", name)
            return Claims(kind=kind, issuer=issuer, san=name, email=name)
        case None:
            return _read_generic_claims(issuer, name, arcs, email=name if is_email else None)


def _infer_kind(extensions: Mapping[int, str]) -> PublisherKind | None:
    """Self-managed GitLab and GitHub Enterprise are known by their Build Config URI, which names the repository."""
    repository, config = extensions.get(12, ""), extensions.get(18, "")
    if repository and config.startswith(f"{repository}/{_WORKFLOW_DIRECTORY}"):
        return PublisherKind.GITHUB
    if repository and config.startswith(f"{repository}//"):
        return PublisherKind.GITLAB
    return None


def _check_equal(extensions: Mapping[int, str], older_arc: int, newer_arc: int) -> None:
    if older_arc in extensions and newer_arc in extensions and extensions[older_arc] != extensions[newer_arc]:
        raise CheckFailed(
            "certificate claims",
            f"{EXTENSION_NAMES[older_arc]} = {EXTENSION_NAMES[newer_arc]} ({extensions[newer_arc]})",
            extensions[older_arc],
        )


def _require_claim(extensions: Mapping[int, str], arc: int, kind: PublisherKind) -> str:
    if arc not in extensions:
        raise CheckFailed(
            "certificate claims", f"{EXTENSION_NAMES[arc]} (OID .{arc}), as {kind} certificates have", None
        )
    return extensions[arc]


def _read_repository_claims(kind: PublisherKind, issuer: str, name: str, extensions: Mapping[int, str]) -> Claims:
    repository_uri = _require_claim(extensions, 12, kind)
    builder = _require_claim(extensions, 9, kind)
    # SAN and Build Signer URI are one value in every certificate that Fulcio makes of these tokens.
    if name != builder:
        raise CheckFailed("subject alternative name", builder, name)
    for older, newer in _EQUIVALENT_ARCS:
        _check_equal(extensions, older, newer)
    repository = _parse_repository(kind, issuer, repository_uri)
    if 5 in extensions and extensions[5] != repository:  # noqa: PLR2004 - OID .5
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[5]} {repository}", extensions[5])
    owner_uri = extensions.get(16)
    if owner_uri is not None and not repository_uri.startswith(f"{owner_uri}/"):
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[16]} of {repository_uri}", owner_uri)
    workflow, suffix = _parse_workflow(kind, repository_uri, extensions)
    claims = _read_generic_claims(issuer, name, extensions, email=None)
    return replace(
        claims,
        kind=kind,
        repository=repository,
        owner=repository.rpartition("/")[0],
        workflow=workflow,
        workflow_ref=suffix,
        environment=_read_environment(extensions),
    )


def _parse_repository(kind: PublisherKind, issuer: str, uri: str) -> str:
    """``owner/name`` from ``https://host/owner/name``; GitLab's groups nest."""
    server = _SERVER_BY_ISSUER.get(issuer)
    if server is not None and not uri.startswith(f"{server}/"):
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[12]} on {server}", uri)
    path = uri.split("/", 3)[3] if uri.startswith("https://") and uri.count("/") > 3 else ""  # noqa: PLR2004 - scheme, host, owner, name
    parts = path.split("/")
    if not all(parts) or (len(parts) != 2 and kind is PublisherKind.GITHUB):  # noqa: PLR2004 - owner and name
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[12]} like https://host/owner/name", uri)
    return path


def _parse_workflow(kind: PublisherKind, repository_uri: str, extensions: Mapping[int, str]) -> tuple[str, str]:
    """Path and ref from the Build Config URI, which ends in ``@`` and the certificate's own ref or commit."""
    config = _require_claim(extensions, 18, kind)
    between = "/" if kind is PublisherKind.GITHUB else "//"
    suffixes = [extensions[arc] for arc in (13, 14) if arc in extensions]
    if not suffixes or (kind is PublisherKind.GITLAB and len(suffixes) != 2):  # noqa: PLR2004 - both
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[13]} and {EXTENSION_NAMES[14]}", "neither or one")
    for suffix in suffixes:
        start, end = f"{repository_uri}{between}", f"@{suffix}"
        path = config[len(start) : -len(end)] if config.startswith(start) and config.endswith(end) else ""
        if path and (kind is PublisherKind.GITLAB or _is_workflow_path(path)):
            return path, suffix
    directory = _WORKFLOW_DIRECTORY if kind is PublisherKind.GITHUB else ""
    shape = f"{repository_uri}{between}{directory}…@{' or '.join(suffixes)}"
    raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[18]} {shape}", config)


def _is_workflow_path(path: str) -> bool:
    name = path.removeprefix(_WORKFLOW_DIRECTORY)
    return name != path and bool(name) and "/" not in name


def _read_environment(extensions: Mapping[int, str]) -> str | None:
    """The proven environment: .23, and what the token's subject says of it must be the same.

    GitHub's default subject is ``repo:o/r:environment:x``; it ends otherwise (``:ref:…``) where the job had none.
    """
    stated = extensions.get(23)
    subject = extensions.get(24, "")
    _, marker, rest = subject.partition(":environment:")
    # A customised subject may go on; a colon in the name itself is written %3A.
    named = unquote(rest.partition(":")[0]) if marker else None
    if named is not None and stated is not None and named.casefold() != stated.casefold():
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[24]} with environment {stated}", subject)
    return stated or named or None


def _read_circleci_claims(issuer: str, name: str, extensions: Mapping[int, str]) -> Claims:
    builder = _require_claim(extensions, 9, PublisherKind.CIRCLECI)
    if name != builder:
        raise CheckFailed("subject alternative name", builder, name)
    pipeline = _PIPELINE_DEFINITION_URL.fullmatch(builder)
    if pipeline is None:
        raise CheckFailed("certificate claims", f"{EXTENSION_NAMES[9]} of a CircleCI pipeline definition", builder)
    return Claims(
        kind=PublisherKind.CIRCLECI,
        issuer=issuer,
        san=name,
        builder=builder,
        project_id=pipeline[1],
        pipeline_definition_id=pipeline[2],
        vcs_origin=extensions.get(12),
        vcs_ref=extensions.get(14),
        runner=extensions.get(11),
        run_url=extensions.get(21),
    )


def _read_generic_claims(issuer: str, name: str, extensions: Mapping[int, str], *, email: str | None) -> Claims:
    return Claims(
        kind=None,
        issuer=issuer,
        san=name,
        email=email,
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


def check_publisher(stated_publisher: StatedPublisher, claims: Claims) -> None:
    """What the index says of the publisher must be what the certificate proves.

    Raises:
        CheckFailed: it says something else. `expected` is the certificate's, `found` the index's.
    """
    if claims.kind is not stated_publisher.kind:
        signer = f"{claims.kind or 'no Trusted Publisher'}: {claims.san} by {claims.issuer}"
        raise CheckFailed("publisher kind", f"the certificate's signer ({signer})", f"kind {stated_publisher.kind}")
    for key, said in stated_publisher.fields:
        match key:
            case "environment":
                _check_environment(said, claims)
                continue
            case "workflow":
                proven: str | None = (claims.workflow or "").removeprefix(_WORKFLOW_DIRECTORY)
            case "workflow_filepath":
                proven = claims.workflow
            case _:
                proven = getattr(claims, key)
        if said != proven:
            raise CheckFailed(
                f"publisher {key}", f"the certificate's {proven}", f"{said or 'an empty text'}, says the index"
            )


def _check_environment(stated_environment: str, claims: Claims) -> None:
    """An older certificate proves no environment, and then the index's word is nobody's evidence.

    A newer one carries the token's subject, which in GitHub's default form names the ref only where no environment was.
    Environment names compare without case, as GitHub's do.
    """
    without = claims.token_subject is not None and re.fullmatch(
        r"repo:[^:]+:(ref:.*|pull_request)", claims.token_subject, re.DOTALL
    )
    if claims.environment is None and not without:
        return
    if (claims.environment or "").casefold() != stated_environment.casefold():
        proven = claims.environment or "no environment"
        raise CheckFailed(
            "publisher environment", f"the certificate's {proven}", f"{stated_environment}, says the index"
        )
