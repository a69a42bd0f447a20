"""Attacks on what is signed: the subject, the statement, the predicate, the envelope."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from tests.world.sigstore.attacks import (
    FILENAME,
    GONE,
    OTHER,
    SHA256,
    UNVERIFIABLE,
    WHEEL,
    Attack,
    at,
    edited,
    filed,
    listed,
    put,
    signed,
    statement_at,
)
from tests.world.sigstore.private_sigstore import SLSA, Envelope, GitHub, GitLab, slsa
from tests.world.sigstore.transparency_log import curve_key


def _name(name: object) -> Any:
    return statement_at("subject.0.name", name)


def _digest(digest: object) -> Any:
    return statement_at("subject.0.digest", digest)


SUBJECT: Final = (
    signed("the statement is about other bytes", "subject digest", OTHER, statement=_digest({"sha256": OTHER})),
    signed("the statement names another project", "subject name", "gadget", statement=_name("gadget-1.0.tar.gz")),
    signed("the statement names another version", "subject name", "1.1", statement=_name("widget-1.1.tar.gz")),
    signed("the statement names a wheel", "subject name", ".whl", statement=_name("widget-1.0-py3-none-any.whl")),
    signed("the statement names a path", "subject name", "../", statement=_name(f"../{FILENAME}")),
    signed("the statement names no distribution", "subject name", "README", statement=_name("README")),
    signed("the statement's name is empty", "subject name", FILENAME, statement=_name("")),
    signed("the statement's name is null", "subject name", "nothing", statement=_name(None)),
    signed("the statement has no name", "subject name", "nothing", statement=_name(GONE)),
    signed("the statement's name is a number", "subject name", "int", statement=_name(1)),
    signed(
        "the wheel's statement names another tag",
        "subject name",
        "cp311",
        filename=WHEEL,
        statement=_name("widget-1.0-1-cp311-none-any.whl"),
    ),
    signed(
        "the wheel's statement names another build",
        "subject name",
        "-2-",
        filename=WHEEL,
        statement=_name("widget-1.0-2-py3-none-any.whl"),
    ),
    signed("no subject at all", "subject", "0", statement=statement_at("subject", [])),
    signed("the subject is no object", "subject", "one subject", statement=statement_at("subject", ["x"])),
    signed(
        "a second subject rides along",
        "subject",
        "2",
        statement=statement_at("subject", lambda one: [*one, {"name": "evil-1.0.tar.gz", "digest": {"sha256": OTHER}}]),
    ),
    signed("the digest is SHA-512 only", "subject digest", "nothing", statement=_digest({"sha512": "0" * 128})),
    signed(
        "the digest has a weak one beside it",
        "subject digest",
        "md5",
        statement=_digest({"md5": "0" * 32, "sha256": SHA256}),
    ),
    signed(
        "the digest is in capitals", "subject digest", SHA256.upper(), statement=_digest({"sha256": SHA256.upper()})
    ),
    signed("the digest is cut", "subject digest", SHA256[:32], statement=_digest({"sha256": SHA256[:32]})),
    signed("the digest is a number", "subject digest", "digests", statement=_digest({"sha256": 1})),
    signed("the digest is null", "subject digest", "nothing", statement=_digest(None)),
    filed("the index lists other bytes", "subject digest", OTHER, listed(sha256=OTHER)),
    filed("the index lists another name", "subject name", "gadget", listed("gadget-1.0.tar.gz")),
    filed("the index gives no digest", UNVERIFIABLE, "no SHA-256", listed(sha256=None)),
    filed("the file is an egg", UNVERIFIABLE, "widget-1.0.egg", listed("widget-1.0.egg")),
)


def _raw(content: bytes) -> Any:
    return lambda _: content


def _statement(**changes: object) -> bytes:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": FILENAME, "digest": {"sha256": SHA256}}],
            "predicateType": "https://docs.pypi.org/attestations/publish/v1",
            "predicate": None,
            **changes,
        }
    ).encode()


_TWICE: Final = _statement()[:-1] + b', "predicateType": "https://docs.pypi.org/attestations/publish/v1"}'
_DEEP: Final = b'{"a":' * 40 + b"1" + b"}" * 40

STATEMENT: Final = (
    signed(
        "the statement is of an older type",
        "statement",
        "v0.1",
        statement=statement_at("_type", "https://in-toto.io/Statement/v0.1"),
    ),
    signed("the statement has no type", "statement", "_type", statement=statement_at("_type", GONE)),
    signed("the statement is no JSON", "statement", "well-formed", statement=_raw(b"hello")),
    signed("the statement is a list", "statement", "list", statement=_raw(b"[]")),
    signed("the statement is followed by more", "statement", "Extra data", statement=_raw(_statement() + b"{}")),
    signed("the statement says a key twice", "statement", "twice", statement=_raw(_TWICE)),
    signed("the statement has a NaN", "statement", "NaN", statement=_raw(_statement(x=float("nan")))),
    signed("the statement is nested deep", "statement", "deeper", statement=_raw(_DEEP)),
    signed("the statement is in UTF-16", "statement", "UTF-8", statement=_raw(_statement().decode().encode("utf-16"))),
    signed("the statement begins with a mark", "statement", "BOM", statement=_raw(b"\xef\xbb\xbf" + _statement())),
    signed("the statement has half a character", "statement", "surrogates", statement=_raw(_statement(x="\ud800"))),
    signed("the statement is longer than any", "statement", "bytes", statement=_raw(_statement(x="x" * 300_000))),
    signed("the predicate type is missing", "predicate", "nothing", statement=statement_at("predicateType", GONE)),
    signed("the predicate type is a number", "predicate", "int", statement=statement_at("predicateType", 1)),
    signed(
        "the predicate type is unknown", UNVERIFIABLE, "example.com/sbom", predicate_type="https://example.com/sbom"
    ),
    signed("a publish predicate has a body", "predicate", "empty publish", predicate={"approved": True}),
    signed("a publish predicate is a list", "predicate", "empty publish", predicate=[]),
    signed("a publish predicate is false", "predicate", "False", predicate=False),
    signed("a publish predicate is text", "predicate", "approved", predicate="approved"),
)

_PIPELINE: Final = GitHub(repository="acme/widget", workflow="release.yml")


def _slsa(name: str, step: str, because: str, path: str, value: object) -> Attack:
    predicate = slsa(_PIPELINE)
    at(path, value)(predicate)
    honest = {"predicate_type": SLSA, "predicate": slsa(_PIPELINE)}
    return signed(name, step, because, signer=_PIPELINE, honest=honest, predicate=predicate)


_WORKFLOW: Final = "buildDefinition.externalParameters.workflow"
_TOKEN: Final = "buildDefinition.internalParameters.github"
PREDICATE: Final = (
    _slsa(
        "SLSA names another repository",
        "SLSA workflow repository",
        "evil",
        f"{_WORKFLOW}.repository",
        "https://github.com/evil/widget",
    ),
    _slsa("SLSA names another ref", "SLSA workflow ref", "refs/heads/evil", f"{_WORKFLOW}.ref", "refs/heads/evil"),
    _slsa(
        "SLSA names another workflow",
        "SLSA workflow path",
        "evil.yml",
        f"{_WORKFLOW}.path",
        ".github/workflows/evil.yml",
    ),
    _slsa("SLSA names another builder", "SLSA builder", "evil", "runDetails.builder.id", "https://github.com/evil/ci"),
    _slsa(
        "SLSA names another runner as builder",
        "SLSA builder",
        "self-hosted",
        "runDetails.builder.id",
        "https://github.com/actions/runner/self-hosted",
    ),
    _slsa(
        "SLSA names another commit",
        "SLSA commit",
        "0" * 40,
        "buildDefinition.resolvedDependencies.0.digest.gitCommit",
        "0" * 40,
    ),
    _slsa("SLSA names no commit", "predicate", "gitCommit", "buildDefinition.resolvedDependencies.0.digest", {}),
    _slsa("SLSA's dependency is no object", "predicate", "dependency", "buildDefinition.resolvedDependencies.0", "x"),
    _slsa("SLSA names another repository id", "SLSA repository id", "1", f"{_TOKEN}.repository_id", "1"),
    _slsa("SLSA names another owner id", "SLSA repository owner id", "1", f"{_TOKEN}.repository_owner_id", "1"),
    _slsa("SLSA names another trigger", "SLSA event name", "pull_request", f"{_TOKEN}.event_name", "pull_request"),
    _slsa(
        "SLSA names another runner",
        "SLSA runner environment",
        "self-hosted",
        f"{_TOKEN}.runner_environment",
        "self-hosted",
    ),
    _slsa("SLSA has no build definition", "predicate", "buildDefinition", "buildDefinition", GONE),
    _slsa("SLSA has no builder", "predicate", "builder", "runDetails", {}),
    _slsa("SLSA has no workflow", "predicate", "workflow", "buildDefinition.externalParameters", {}),
    _slsa("SLSA's repository is a number", "predicate", "repository", f"{_WORKFLOW}.repository", 1),
    _slsa(
        "SLSA's build type is unknown",
        UNVERIFIABLE,
        "example.com/build",
        "buildDefinition.buildType",
        "https://example.com/build",
    ),
    signed(
        "SLSA has no body",
        "predicate",
        "SLSA",
        honest={"predicate_type": SLSA, "predicate": slsa(GitHub())},
        predicate=None,
    ),
    signed(
        "SLSA of GitHub, signed by GitLab",
        "SLSA builder",
        "github.com",
        signer=GitLab(),
        predicate_type=SLSA,
        predicate=slsa(GitHub()),
    ),
)


def _replaced(envelope: Envelope) -> None:
    envelope.signed = envelope.statement


def _typed(envelope: Envelope) -> None:
    envelope.payload_type = "text/plain"


def _restated(attestation: dict[str, Any]) -> None:
    attestation["envelope"]["statement"] = b64encode(_statement()).decode()


ENVELOPE: Final = (
    signed("another key signed", "signature", "another signature", envelope=put(key=curve_key("thief"))),
    signed("the signature lacks the pre-authentication encoding", "signature", "another signature", envelope=_replaced),
    signed("the signature is over another payload type", "signature", "another signature", envelope=_typed),
    signed("the signature is no DER", "signature", "another signature", envelope=put(signature=b"signature")),
    edited("the signature is empty", "signature", "1 to 1024 bytes", at("envelope.signature", "")),
    edited("the signature is no base64", "signature", "base64", at("envelope.signature", "?!")),
    edited("the signature has spaces in it", "signature", "base64", at("envelope.signature", lambda text: f" {text} ")),
    edited("the signature is null", "signature", "nothing", at("envelope.signature", None)),
    edited("the signature is longer than any", "signature", "1024", at("envelope.signature", "A" * 4000)),
    edited("the statement was spelt anew", "signature", "another signature", _restated),
    edited("the statement is empty", "statement", "bytes", at("envelope.statement", "")),
    edited("the envelope is gone", "document", "envelope", at("envelope", GONE)),
)
