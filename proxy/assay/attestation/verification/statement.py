"""Checks of the signed in-toto statement: it is about the file, and its predicate is valid.

In a provenance document (PEP 740), the file is the only subject of the statement, and the predicate is PyPI Publish or
SLSA provenance. In a Sigstore bundle, the file is one of the subjects, and the predicate is of any type.

A SLSA predicate repeats facts that the certificate proves. Each of these facts must agree with the certificate. A
statement that names another repository than the certificate therefore fails.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from packaging.utils import parse_sdist_filename, parse_wheel_filename

from assay.attestation.verification import strict_json
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.strict_json import get_member
from assay.evidence import PROVENANCE_PREDICATE_TYPES, PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE, Claims, Slsa
from assay.simple.model import File

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_BUNDLE_STATEMENT_TYPES: Final = frozenset({STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1"})
_DIGEST_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"})
"""Digest algorithms that sigstore accepts for a subject. None is weaker than SHA-256."""
_WORKFLOW_BUILD_TYPES: Final = frozenset(
    {
        "https://actions.github.io/buildtypes/workflow/v1",
        "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
    }
)
_MAX_PREDICATE_CHARS: Final = 16_384
"""Maximum length of a predicate that is kept as text. Reviews are short; lists of components are longer."""
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
    if kind != STATEMENT_TYPE:
        raise CheckFailed("statement", f"_type {STATEMENT_TYPE}", kind)
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

    Raises:
        CheckFailed: the subject is another file.
        UnknownMaterial: the index gives no SHA-256 of the file, or the file is neither a wheel nor a source
            distribution. PEP 740 attests only these.
    """
    if statement.sha256 != _require_digest(file):
        raise CheckFailed("subject digest", f"{file.sha256} (the file)", f"{statement.sha256} (the signed statement)")
    if not _is_same_filename(file.filename, statement.subject):
        raise CheckFailed("subject name", file.filename, statement.subject)


def read_bundle_statement(raw: bytes, file: File) -> tuple[Statement, UnknownMaterial | None]:
    """Parse the signed statement of a Sigstore bundle, and find the file among its subjects by its SHA-256.

    Returns:
        The statement about the file; and None, or the exception if the statement does not bind its signer to this file:
        it names the same bytes several times, or under another name.

    Raises:
        CheckFailed: the bytes are not an in-toto statement (0.1 or 1), no subject has the SHA-256 of the file, or an
            object has the same key twice. Only in a predicate that states neither a publisher nor a build, this is no
            error: the statement then meets no condition of a policy, but it is not ignored either.
        UnknownMaterial: the statement has too many subjects, or the index gives no SHA-256 of the file.
    """
    content, has_duplicates = strict_json.parse_json_with_duplicates(raw, "statement")
    kind = get_member(content, "_type", str, "statement")
    if kind not in _BUNDLE_STATEMENT_TYPES:
        raise CheckFailed("statement", f"_type {' or '.join(sorted(_BUNDLE_STATEMENT_TYPES))}", kind)
    subjects: list[Any] = get_member(content, "subject", list, "statement")
    if len(subjects) > strict_json.MAX_SUBJECTS:
        raise UnknownMaterial(f"the statement has {len(subjects)} subjects; Assay reads {strict_json.MAX_SUBJECTS}")
    sha256 = _require_digest(file)
    names = [_read_subject_name(one) for one in subjects if _read_subject_digest(one) == sha256]
    if not names:
        raise CheckFailed("subject digest", f"{sha256} (the file)", f"{len(subjects)} subjects with other digests")
    unknown = None
    if len(names) > 1:
        unknown = UnknownMaterial(f"the statement names the file's bytes {len(names)} times: {', '.join(names)}")
    elif not _is_name_of(file, names[0].rpartition("/")[2]):
        unknown = UnknownMaterial(f"the bundle is for the same bytes under another name: {names[0] or 'none'}")
    statement = Statement(
        subject=names[0],
        sha256=sha256,
        predicate_type=get_member(content, "predicateType", str, "predicate"),
        predicate=content.get("predicate"),
    )
    if has_duplicates and statement.predicate_type in PROVENANCE_PREDICATE_TYPES:
        raise CheckFailed("statement", "well-formed JSON in UTF-8", "a JSON object with the same key twice")
    return statement, unknown


def write_predicate(statement: Statement) -> str | None:
    """Return the predicate as JSON text; None if it is too large to be kept, or has the same key twice."""
    try:
        text = json.dumps(statement.predicate, sort_keys=True, separators=(",", ":"))
    except TypeError:  # `strict_json.DUPLICATE_KEYS`
        return None
    return text if len(text) <= _MAX_PREDICATE_CHARS else None


def _is_name_of(file: File, name: str) -> bool:
    """Return whether a subject's name is that of the file. A file that is no distribution has only its exact name."""
    try:
        return name == file.filename or _is_same_filename(file.filename, name)
    except UnknownMaterial:
        return False


def _read_subject_digest(subject: object) -> str | None:
    if not isinstance(subject, dict):
        raise CheckFailed("subject", "a JSON object for each subject", type(subject).__name__)
    digests = subject.get("digest")
    sha256 = digests.get("sha256") if isinstance(digests, dict) else None
    return sha256 if isinstance(sha256, str) else None


def _read_subject_name(subject: dict[str, Any]) -> str:
    """Return the name of a subject; an empty string if it has none, which in-toto 1 allows."""
    return "" if subject.get("name") is None else get_member(subject, "name", str, "subject name")


def _require_digest(file: File) -> str:
    if file.sha256 is None:
        raise UnknownMaterial("the index's page gives no SHA-256 for the file")
    return file.sha256


def _is_same_filename(filename: str, other: str) -> bool:
    """Return whether two filenames are equal after parsing them.

    Parsed filenames are compared, as by PyPI, so that another spelling of the same name is accepted.

    Raises:
        UnknownMaterial: `filename` is neither that of a wheel nor that of a source distribution.
    """
    try:
        ours = _parse_filename(filename)
    except ValueError as error:
        raise UnknownMaterial(
            f"PEP 740 attests only wheels and source distributions, and this file is neither: {error}"
        ) from error
    if filename == other:
        return True
    try:
        return ours == _parse_filename(other)
    except ValueError:
        return False


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
