"""Attacks on the signed content: subject, statement, predicate and envelope."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from tests.world.sigstore.attacks import (
    DELETE_KEY,
    FILE_SHA256,
    FILENAME,
    OTHER_SHA256,
    UNVERIFIABLE,
    WHEEL_FILENAME,
    Attack,
    attack_by_editing,
    attack_other_file,
    attack_while_signing,
    make_listed_file,
    set_at_path,
    set_fields,
    set_in_statement,
)
from tests.world.sigstore.private_sigstore import SLSA_PREDICATE, EnvelopePlan, GitHub, GitLab, make_slsa_predicate
from tests.world.sigstore.transparency_log import derive_key


def _set_subject_name(name: object) -> Any:
    return set_in_statement("subject.0.name", name)


def _set_subject_digest(digest: object) -> Any:
    return set_in_statement("subject.0.digest", digest)


SUBJECT_ATTACKS: Final = (
    attack_while_signing(
        "the statement is about other bytes",
        "subject digest",
        OTHER_SHA256,
        statement=_set_subject_digest({"sha256": OTHER_SHA256}),
    ),
    attack_while_signing(
        "the statement names another project",
        "subject name",
        "gadget",
        statement=_set_subject_name("gadget-1.0.tar.gz"),
    ),
    attack_while_signing(
        "the statement names another version", "subject name", "1.1", statement=_set_subject_name("widget-1.1.tar.gz")
    ),
    attack_while_signing(
        "the statement names a wheel",
        "subject name",
        ".whl",
        statement=_set_subject_name("widget-1.0-py3-none-any.whl"),
    ),
    attack_while_signing(
        "the statement names a path", "subject name", "../", statement=_set_subject_name(f"../{FILENAME}")
    ),
    attack_while_signing(
        "the statement names no distribution", "subject name", "README", statement=_set_subject_name("README")
    ),
    attack_while_signing("the statement's name is empty", "subject name", FILENAME, statement=_set_subject_name("")),
    attack_while_signing("the statement's name is null", "subject name", "nothing", statement=_set_subject_name(None)),
    attack_while_signing(
        "the statement has no name", "subject name", "nothing", statement=_set_subject_name(DELETE_KEY)
    ),
    attack_while_signing("the statement's name is a number", "subject name", "int", statement=_set_subject_name(1)),
    attack_while_signing(
        "the wheel's statement names another tag",
        "subject name",
        "cp311",
        filename=WHEEL_FILENAME,
        statement=_set_subject_name("widget-1.0-1-cp311-none-any.whl"),
    ),
    attack_while_signing(
        "the wheel's statement names another build",
        "subject name",
        "-2-",
        filename=WHEEL_FILENAME,
        statement=_set_subject_name("widget-1.0-2-py3-none-any.whl"),
    ),
    attack_while_signing("no subject at all", "subject", "0", statement=set_in_statement("subject", [])),
    attack_while_signing(
        "the subject is no object", "subject", "one subject", statement=set_in_statement("subject", ["x"])
    ),
    attack_while_signing(
        "a second subject rides along",
        "subject",
        "2",
        statement=set_in_statement(
            "subject", lambda one: [*one, {"name": "evil-1.0.tar.gz", "digest": {"sha256": OTHER_SHA256}}]
        ),
    ),
    attack_while_signing(
        "the digest is SHA-512 only", "subject digest", "nothing", statement=_set_subject_digest({"sha512": "0" * 128})
    ),
    attack_while_signing(
        "the digest has a weak one beside it",
        "subject digest",
        "md5",
        statement=_set_subject_digest({"md5": "0" * 32, "sha256": FILE_SHA256}),
    ),
    attack_while_signing(
        "the digest is in capitals",
        "subject digest",
        FILE_SHA256.upper(),
        statement=_set_subject_digest({"sha256": FILE_SHA256.upper()}),
    ),
    attack_while_signing(
        "the digest is cut",
        "subject digest",
        FILE_SHA256[:32],
        statement=_set_subject_digest({"sha256": FILE_SHA256[:32]}),
    ),
    attack_while_signing(
        "the digest is a number", "subject digest", "digests", statement=_set_subject_digest({"sha256": 1})
    ),
    attack_while_signing("the digest is null", "subject digest", "nothing", statement=_set_subject_digest(None)),
    attack_other_file(
        "the index lists other bytes", "subject digest", OTHER_SHA256, make_listed_file(sha256=OTHER_SHA256)
    ),
    attack_other_file("the index lists another name", "subject name", "gadget", make_listed_file("gadget-1.0.tar.gz")),
    attack_other_file("the index gives no digest", UNVERIFIABLE, "no SHA-256", make_listed_file(sha256=None)),
    attack_other_file("the file is an egg", UNVERIFIABLE, "widget-1.0.egg", make_listed_file("widget-1.0.egg")),
)


def _sign_raw(content: bytes) -> Any:
    return lambda _: content


def _build_statement(**changes: object) -> bytes:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": FILENAME, "digest": {"sha256": FILE_SHA256}}],
            "predicateType": "https://docs.pypi.org/attestations/publish/v1",
            "predicate": None,
            **changes,
        }
    ).encode()


_TWICE: Final = _build_statement()[:-1] + b', "predicateType": "https://docs.pypi.org/attestations/publish/v1"}'
_DEEP: Final = b'{"a":' * 40 + b"1" + b"}" * 40

STATEMENT_ATTACKS: Final = (
    attack_while_signing(
        "the statement is of an older type",
        "statement",
        "v0.1",
        statement=set_in_statement("_type", "https://in-toto.io/Statement/v0.1"),
    ),
    attack_while_signing(
        "the statement has no type", "statement", "_type", statement=set_in_statement("_type", DELETE_KEY)
    ),
    attack_while_signing("the statement is no JSON", "statement", "well-formed", statement=_sign_raw(b"hello")),
    attack_while_signing("the statement is a list", "statement", "list", statement=_sign_raw(b"[]")),
    attack_while_signing(
        "the statement is followed by more", "statement", "Extra data", statement=_sign_raw(_build_statement() + b"{}")
    ),
    attack_while_signing("the statement says a key twice", "statement", "twice", statement=_sign_raw(_TWICE)),
    attack_while_signing(
        "the statement has a NaN", "statement", "NaN", statement=_sign_raw(_build_statement(x=float("nan")))
    ),
    attack_while_signing("the statement is nested deep", "statement", "deeper", statement=_sign_raw(_DEEP)),
    attack_while_signing(
        "the statement is in UTF-16",
        "statement",
        "UTF-8",
        statement=_sign_raw(_build_statement().decode().encode("utf-16")),
    ),
    attack_while_signing(
        "the statement begins with a mark",
        "statement",
        "BOM",
        statement=_sign_raw(b"\xef\xbb\xbf" + _build_statement()),
    ),
    attack_while_signing(
        "the statement has half a character",
        "statement",
        "surrogates",
        statement=_sign_raw(_build_statement(x="\ud800")),
    ),
    attack_while_signing(
        "the statement is longer than any", "statement", "bytes", statement=_sign_raw(_build_statement(x="x" * 300_000))
    ),
    attack_while_signing(
        "the predicate type is missing", "predicate", "nothing", statement=set_in_statement("predicateType", DELETE_KEY)
    ),
    attack_while_signing(
        "the predicate type is a number", "predicate", "int", statement=set_in_statement("predicateType", 1)
    ),
    attack_while_signing(
        "the predicate type is unknown", UNVERIFIABLE, "example.com/sbom", predicate_type="https://example.com/sbom"
    ),
    attack_while_signing(
        "a publish predicate has a body", "predicate", "empty PyPI Publish", predicate={"approved": True}
    ),
    attack_while_signing("a publish predicate is a list", "predicate", "empty PyPI Publish", predicate=[]),
    attack_while_signing("a publish predicate is false", "predicate", "False", predicate=False),
    attack_while_signing("a publish predicate is text", "predicate", "approved", predicate="approved"),
)

_PIPELINE: Final = GitHub(repository="acme/widget", workflow="release.yml")


def _attack_slsa(name: str, step: str, because: str, path: str, value: object) -> Attack:
    predicate = make_slsa_predicate(_PIPELINE)
    set_at_path(path, value)(predicate)
    honest = {"predicate_type": SLSA_PREDICATE, "predicate": make_slsa_predicate(_PIPELINE)}
    return attack_while_signing(name, step, because, signer=_PIPELINE, honest=honest, predicate=predicate)


_WORKFLOW: Final = "buildDefinition.externalParameters.workflow"
_TOKEN: Final = "buildDefinition.internalParameters.github"
PREDICATE_ATTACKS: Final = (
    _attack_slsa(
        "SLSA names another repository",
        "SLSA workflow repository",
        "evil",
        f"{_WORKFLOW}.repository",
        "https://github.com/evil/widget",
    ),
    _attack_slsa(
        "SLSA names another ref", "SLSA workflow ref", "refs/heads/evil", f"{_WORKFLOW}.ref", "refs/heads/evil"
    ),
    _attack_slsa(
        "SLSA names another workflow",
        "SLSA workflow path",
        "evil.yml",
        f"{_WORKFLOW}.path",
        ".github/workflows/evil.yml",
    ),
    _attack_slsa(
        "SLSA names another builder", "SLSA builder", "evil", "runDetails.builder.id", "https://github.com/evil/ci"
    ),
    _attack_slsa(
        "SLSA names another runner as builder",
        "SLSA builder",
        "self-hosted",
        "runDetails.builder.id",
        "https://github.com/actions/runner/self-hosted",
    ),
    _attack_slsa(
        "SLSA names another commit",
        "SLSA commit",
        "0" * 40,
        "buildDefinition.resolvedDependencies.0.digest.gitCommit",
        "0" * 40,
    ),
    _attack_slsa("SLSA names no commit", "predicate", "gitCommit", "buildDefinition.resolvedDependencies.0.digest", {}),
    _attack_slsa(
        "SLSA's dependency is no object", "predicate", "dependency", "buildDefinition.resolvedDependencies.0", "x"
    ),
    _attack_slsa("SLSA names another repository id", "SLSA repository id", "1", f"{_TOKEN}.repository_id", "1"),
    _attack_slsa("SLSA names another owner id", "SLSA repository owner id", "1", f"{_TOKEN}.repository_owner_id", "1"),
    _attack_slsa(
        "SLSA names another trigger", "SLSA event name", "pull_request", f"{_TOKEN}.event_name", "pull_request"
    ),
    _attack_slsa(
        "SLSA names another runner",
        "SLSA runner environment",
        "self-hosted",
        f"{_TOKEN}.runner_environment",
        "self-hosted",
    ),
    _attack_slsa("SLSA has no build definition", "predicate", "buildDefinition", "buildDefinition", DELETE_KEY),
    _attack_slsa("SLSA has no builder", "predicate", "builder", "runDetails", {}),
    _attack_slsa("SLSA has no workflow", "predicate", "workflow", "buildDefinition.externalParameters", {}),
    _attack_slsa("SLSA's repository is a number", "predicate", "repository", f"{_WORKFLOW}.repository", 1),
    _attack_slsa(
        "SLSA's build type is unknown",
        UNVERIFIABLE,
        "example.com/build",
        "buildDefinition.buildType",
        "https://example.com/build",
    ),
    attack_while_signing(
        "SLSA has no body",
        "predicate",
        "SLSA",
        honest={"predicate_type": SLSA_PREDICATE, "predicate": make_slsa_predicate(GitHub())},
        predicate=None,
    ),
    attack_while_signing(
        "SLSA of GitHub, signed by GitLab",
        "SLSA builder",
        "github.com",
        signer=GitLab(),
        predicate_type=SLSA_PREDICATE,
        predicate=make_slsa_predicate(GitHub()),
    ),
)


def _replaced(envelope: EnvelopePlan) -> None:
    envelope.signed = envelope.statement


def _typed(envelope: EnvelopePlan) -> None:
    envelope.payload_type = "text/plain"


def _restated(attestation: dict[str, Any]) -> None:
    attestation["envelope"]["statement"] = b64encode(_build_statement()).decode()


ENVELOPE_ATTACKS: Final = (
    attack_while_signing(
        "another key signed", "signature", "does not verify", envelope=set_fields(key=derive_key("thief"))
    ),
    attack_while_signing(
        "the signature lacks the pre-authentication encoding", "signature", "does not verify", envelope=_replaced
    ),
    attack_while_signing("the signature is over another payload type", "signature", "does not verify", envelope=_typed),
    attack_while_signing(
        "the signature is no DER", "signature", "does not verify", envelope=set_fields(signature=b"signature")
    ),
    attack_by_editing("the signature is empty", "signature", "1 to 1024 bytes", set_at_path("envelope.signature", "")),
    attack_by_editing("the signature is no base64", "signature", "base64", set_at_path("envelope.signature", "?!")),
    attack_by_editing(
        "the signature has spaces in it",
        "signature",
        "base64",
        set_at_path("envelope.signature", lambda text: f" {text} "),
    ),
    attack_by_editing("the signature is null", "signature", "nothing", set_at_path("envelope.signature", None)),
    attack_by_editing(
        "the signature is longer than any", "signature", "1024", set_at_path("envelope.signature", "A" * 4000)
    ),
    attack_by_editing("the statement was spelt anew", "signature", "does not verify", _restated),
    attack_by_editing("the statement is empty", "statement", "bytes", set_at_path("envelope.statement", "")),
    attack_by_editing("the envelope is gone", "document", "envelope", set_at_path("envelope", DELETE_KEY)),
)
