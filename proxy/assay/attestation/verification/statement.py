"""Checks of the signed in-toto statement: its only subject is the file, and its predicate is known and valid.

PyPI accepts two types of predicate: PyPI Publish and SLSA provenance. A SLSA predicate repeats facts that the
certificate proves. Each of these facts must agree with the certificate. A statement that names another repository than
the certificate therefore fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from packaging.utils import parse_sdist_filename, parse_wheel_filename

from assay.attestation.verification import strict_json
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.strict_json import get_member
from assay.evidence import PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE, Claims, Slsa
from assay.simple.model import File

_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_DIGEST_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"})
"""Digest algorithms that sigstore accepts for a subject. None is weaker than SHA-256."""
_WORKFLOW_BUILD_TYPES: Final = frozenset(
    {
        "https://actions.github.io/buildtypes/workflow/v1",
        "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
    }
)
_RUNNER_BUILDER_PREFIX: Final = "https://github.com/actions/runner/"
"""First part of the builder id in older GitHub provenance. The runner environment follows, such as
``github-hosted``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Parsed in-toto statement with the required fields. Its values are not yet checked."""

    subject: str
    sha256: str
    predicate_type: str
    predicate: Any


def read_statement(raw: bytes) -> Statement:
    """Parse a signed statement.

    Raises:
        CheckFailed: the bytes are not an in-toto v1 statement about exactly one subject with a SHA-256.
    """
    content = strict_json.parse_strict_json(raw, "statement")
    kind = get_member(content, "_type", str, "statement")
    if kind != _STATEMENT_TYPE:
        raise CheckFailed("statement", f"_type {_STATEMENT_TYPE}", kind)
    subjects: list[Any] = get_member(content, "subject", list, "statement")
    if len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise CheckFailed("subject", "exactly one subject", f"{len(subjects)} subjects")
    digests: dict[str, Any] = get_member(subjects[0], "digest", dict, "subject digest")
    if not digests.keys() <= _DIGEST_ALGORITHMS or not all(isinstance(one, str) for one in digests.values()):
        raise CheckFailed(
            "subject digest", f"only digests of {', '.join(sorted(_DIGEST_ALGORITHMS))}", ", ".join(sorted(digests))
        )
    return Statement(
        subject=get_member(subjects[0], "name", str, "subject name"),
        sha256=get_member(digests, "sha256", str, "subject digest"),
        predicate_type=get_member(content, "predicateType", str, "predicate"),
        predicate=content.get("predicate"),
    )


def check_subject(statement: Statement, file: File) -> None:
    """Check that the subject of the statement is this file: the digests are equal, and so are the parsed filenames.

    Parsed filenames are compared, as by PyPI, so that another spelling of the same name is accepted.

    Raises:
        CheckFailed: the subject is another file.
        UnknownMaterial: the index gives no SHA-256 of the file, or the file is neither a wheel nor a source
            distribution. PEP 740 attests only these.
    """
    if file.sha256 is None:
        raise UnknownMaterial("the index's page gives no SHA-256 for the file")
    if statement.sha256 != file.sha256:
        raise CheckFailed("subject digest", f"{file.sha256} (the file)", f"{statement.sha256} (the signed statement)")
    try:
        ours = _parse_filename(file.filename)
    except ValueError as error:
        raise UnknownMaterial(
            f"PEP 740 attests only wheels and source distributions, and this file is neither: {error}"
        ) from error
    if statement.subject == file.filename:
        return
    try:
        theirs = _parse_filename(statement.subject)
    except ValueError as error:
        raise CheckFailed("subject name", file.filename, statement.subject) from error
    if ours != theirs:
        raise CheckFailed("subject name", file.filename, statement.subject)


def _parse_filename(filename: str) -> object:
    """Parse a filename for a comparison. The result has name and version, and for a wheel also build and tags.

    The reference implementation compares the same parts.

    Raises:
        ValueError: the filename is not that of a wheel or a source distribution.
    """
    if filename.endswith(".whl"):
        return parse_wheel_filename(filename)
    if filename.endswith((".tar.gz", ".zip")):
        return parse_sdist_filename(filename)
    raise ValueError(f"the filename ends neither like a wheel nor like a source distribution: {filename}")


def check_predicate(statement: Statement, claims: Claims) -> Slsa | None:
    """Check that the type of the predicate is known, and that the predicate is valid and agrees with the certificate.

    Returns:
        The facts of a SLSA predicate; None for a PyPI Publish predicate, which states no facts.

    Raises:
        CheckFailed: a PyPI Publish predicate is not empty, or a SLSA predicate is malformed or disagrees with the
            certificate.
        UnknownMaterial: the type of the predicate or its SLSA build type is unknown.
    """
    match statement.predicate_type:
        case t if t == PUBLISH_PREDICATE_TYPE:
            # "The predicate body itself MUST be either empty ({}) or not supplied (null)" (PyPI's publish/v1).
            if statement.predicate is not None and statement.predicate != {}:
                raise CheckFailed("predicate", "an empty PyPI Publish predicate", statement.predicate)
            return None
        case t if t == SLSA_PREDICATE_TYPE:
            return _check_slsa(statement.predicate, claims)
        case other:
            raise UnknownMaterial(f"unknown predicate type {other}")


def _check_slsa(predicate: object, claims: Claims) -> Slsa:
    if not isinstance(predicate, dict):
        raise CheckFailed("predicate", "a SLSA provenance object", predicate)
    definition: dict[str, Any] = get_member(predicate, "buildDefinition", dict, "predicate")
    build_type: str = get_member(definition, "buildType", str, "predicate")
    details: dict[str, Any] = get_member(predicate, "runDetails", dict, "predicate")
    builder: str = get_member(get_member(details, "builder", dict, "predicate"), "id", str, "predicate")
    if build_type not in _WORKFLOW_BUILD_TYPES:
        raise UnknownMaterial(f"unknown SLSA build type {build_type}")
    parameters: dict[str, Any] = get_member(definition, "externalParameters", dict, "predicate")
    workflow: dict[str, Any] = get_member(parameters, "workflow", dict, "predicate")
    _check_slsa_claim("builder", builder, claims.builder, f"{_RUNNER_BUILDER_PREFIX}{claims.runner}")
    _check_slsa_claim(
        "workflow repository", get_member(workflow, "repository", str, "predicate"), claims.repository_uri
    )
    # Older versions of GitHub's action state the ref of the source, newer ones that of the workflow.
    _check_slsa_claim("workflow ref", get_member(workflow, "ref", str, "predicate"), claims.ref, claims.workflow_ref)
    _check_slsa_claim("workflow path", get_member(workflow, "path", str, "predicate"), claims.workflow)
    _check_github_parameters(definition, claims)
    return Slsa(
        builder_id=builder,
        build_type=build_type,
        repository=claims.repository_uri,
        ref=claims.ref,
        workflow=claims.workflow,
        commit=_check_commit(definition, claims),
    )


def _check_github_parameters(definition: dict[str, Any], claims: Claims) -> None:
    """Check that the facts in ``internalParameters.github`` agree with the certificate.

    GitHub's builder copies these facts from its OIDC token. Absent ones are not checked.

    Raises:
        CheckFailed: a fact differs from the certificate.
    """
    internal = definition.get("internalParameters")
    token = internal.get("github") if isinstance(internal, dict) else None
    if not isinstance(token, dict):
        return
    for key, proven in (
        ("repository_id", claims.repository_id),
        ("repository_owner_id", claims.owner_id),
        ("event_name", claims.trigger),
        ("runner_environment", claims.runner),
    ):
        if key in token:
            _check_slsa_claim(key.replace("_", " "), token[key], proven)


def _check_slsa_claim(claim: str, stated: object, *proven: str | None) -> None:
    if stated not in proven:
        raise CheckFailed(f"SLSA {claim}", f"{proven[0] or 'no value'}, as in the certificate", stated)


def _check_commit(definition: dict[str, Any], claims: Claims) -> str | None:
    """Return the commit of the source repository in ``resolvedDependencies``; None if it is not listed there.

    Raises:
        CheckFailed: a dependency is malformed, or the commit differs from the commit in the certificate.
    """
    dependencies = definition.get("resolvedDependencies")
    commit = None
    for dependency in dependencies if isinstance(dependencies, list) else []:
        if not isinstance(dependency, dict) or not isinstance(uri := dependency.get("uri"), str):
            raise CheckFailed("predicate", "an object with the key uri for each resolved dependency", dependency)
        if claims.repository_uri is None or not uri.startswith(f"git+{claims.repository_uri}@"):
            continue
        digests: dict[str, Any] = get_member(dependency, "digest", dict, "predicate")
        commit = get_member(digests, "gitCommit", str, "predicate")
        _check_slsa_claim("commit", commit, claims.digest)
    return commit
