"""The in-toto statement that was signed: its one subject is the file, its predicate is one we understand.

Owns the two predicates that PyPI takes. A SLSA predicate repeats facts that the certificate proves; every one of them
must agree, so that nobody reads an unproven repository out of a signed statement.
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
"""What sigstore takes in a subject's digest set: as strong as SHA-256 or stronger."""
_WORKFLOW_BUILD_TYPES: Final = frozenset(
    {
        "https://actions.github.io/buildtypes/workflow/v1",
        "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
    }
)
_RUNNER_BUILDER_PREFIX: Final = "https://github.com/actions/runner/"
"""The builder id of older GitHub provenance, followed by the runner environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement whose shape is right; of its content nothing is checked yet."""

    subject: str
    sha256: str
    predicate_type: str
    predicate: Any


def read_statement(raw: bytes) -> Statement:
    """The statement in `raw`.

    Raises:
        CheckFailed: no in-toto v1 statement about exactly one subject with a SHA-256.
    """
    content = strict_json.parse_strict_json(raw, "statement")
    kind = get_member(content, "_type", str, "statement")
    if kind != _STATEMENT_TYPE:
        raise CheckFailed("statement", f"_type {_STATEMENT_TYPE}", kind)
    subjects: list[Any] = get_member(content, "subject", list, "statement")
    if len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise CheckFailed("subject", "exactly one subject", f"{len(subjects)}")
    digests: dict[str, Any] = get_member(subjects[0], "digest", dict, "subject digest")
    if not digests.keys() <= _DIGEST_ALGORITHMS or not all(isinstance(one, str) for one in digests.values()):
        raise CheckFailed(
            "subject digest", f"digests by {', '.join(sorted(_DIGEST_ALGORITHMS))}", ", ".join(sorted(digests))
        )
    return Statement(
        subject=get_member(subjects[0], "name", str, "subject name"),
        sha256=get_member(digests, "sha256", str, "subject digest"),
        predicate_type=get_member(content, "predicateType", str, "predicate"),
        predicate=content.get("predicate"),
    )


def check_subject(statement: Statement, file: File) -> None:
    """The statement is about this file: the same digest, and the same name as PyPI compares names, parsed.

    Raises:
        CheckFailed: it is about another file.
        UnknownMaterial: the file has no SHA-256, or is nothing that PEP 740 attests.
    """
    if file.sha256 is None:
        raise UnknownMaterial("the index gives no SHA-256 of the file")
    if statement.sha256 != file.sha256:
        raise CheckFailed("subject digest", f"{file.sha256} (the file)", f"{statement.sha256} (the signed statement)")
    try:
        ours = _parse_filename(file.filename)
    except ValueError as error:
        raise UnknownMaterial(f"PEP 740 attests wheels and source distributions: {error}") from error
    if statement.subject == file.filename:
        return
    try:
        theirs = _parse_filename(statement.subject)
    except ValueError as error:
        raise CheckFailed("subject name", file.filename, statement.subject) from error
    if ours != theirs:
        raise CheckFailed("subject name", file.filename, statement.subject)


def _parse_filename(filename: str) -> object:
    """What the reference compares: name, version, and for wheels build and tags. The digest settles the rest."""
    if filename.endswith(".whl"):
        return parse_wheel_filename(filename)
    if filename.endswith((".tar.gz", ".zip")):
        return parse_sdist_filename(filename)
    raise ValueError(f"neither a wheel nor a source distribution: {filename}")


def check_predicate(statement: Statement, claims: Claims) -> Slsa | None:
    """The predicate is one we know, says what it may, and agrees with the certificate.

    Returns:
        The facts of a SLSA predicate; None for a publish one, which has none.

    Raises:
        CheckFailed: a body where none may be, or one that disagrees with the certificate.
        UnknownMaterial: another predicate, or a SLSA build type that we can't compare.
    """
    match statement.predicate_type:
        case t if t == PUBLISH_PREDICATE_TYPE:
            # "The predicate body itself MUST be either empty ({}) or not supplied (null)" (PyPI's publish/v1).
            if statement.predicate is not None and statement.predicate != {}:
                raise CheckFailed("predicate", "an empty publish predicate", statement.predicate)
            return None
        case t if t == SLSA_PREDICATE_TYPE:
            return _check_slsa(statement.predicate, claims)
        case other:
            raise UnknownMaterial(f"predicate type {other}")


def _check_slsa(predicate: object, claims: Claims) -> Slsa:
    if not isinstance(predicate, dict):
        raise CheckFailed("predicate", "a SLSA provenance object", predicate)
    definition: dict[str, Any] = get_member(predicate, "buildDefinition", dict, "predicate")
    build_type: str = get_member(definition, "buildType", str, "predicate")
    details: dict[str, Any] = get_member(predicate, "runDetails", dict, "predicate")
    builder: str = get_member(get_member(details, "builder", dict, "predicate"), "id", str, "predicate")
    if build_type not in _WORKFLOW_BUILD_TYPES:
        raise UnknownMaterial(f"SLSA build type {build_type}")
    parameters: dict[str, Any] = get_member(definition, "externalParameters", dict, "predicate")
    workflow: dict[str, Any] = get_member(parameters, "workflow", dict, "predicate")
    _check_slsa_claim("builder", builder, claims.builder, f"{_RUNNER_BUILDER_PREFIX}{claims.runner}")
    _check_slsa_claim(
        "workflow repository", get_member(workflow, "repository", str, "predicate"), claims.repository_uri
    )
    _check_slsa_claim("workflow ref", get_member(workflow, "ref", str, "predicate"), claims.ref)
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
    """What GitHub's builder adds of its token (``internalParameters.github``) is the certificate's too."""
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
        raise CheckFailed(f"SLSA {claim}", f"the certificate's {proven[0]}", stated)


def _check_commit(definition: dict[str, Any], claims: Claims) -> str | None:
    """The dependency that is the source repository itself must be at the certificate's commit."""
    dependencies = definition.get("resolvedDependencies")
    commit = None
    for dependency in dependencies if isinstance(dependencies, list) else []:
        if not isinstance(dependency, dict) or not isinstance(uri := dependency.get("uri"), str):
            raise CheckFailed("predicate", "each dependency an object with a uri", dependency)
        if claims.repository_uri is None or not uri.startswith(f"git+{claims.repository_uri}@"):
            continue
        digests: dict[str, Any] = get_member(dependency, "digest", dict, "predicate")
        commit = get_member(digests, "gitCommit", str, "predicate")
        _check_slsa_claim("commit", commit, claims.digest)
    return commit
