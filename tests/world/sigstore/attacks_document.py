"""Attacks on the provenance document around the attestations, and the complete attack table."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.world.sigstore import attacks_certificate as certificate
from tests.world.sigstore import attacks_identity as identity
from tests.world.sigstore import attacks_log as log
from tests.world.sigstore import attacks_roots as roots
from tests.world.sigstore import attacks_statement as statement
from tests.world.sigstore.attacks import DELETE_KEY, UNVERIFIABLE, Attack, attack_document, set_at_path

_BUNDLE_PATH: Final = "attestation_bundles.0"
_ATTESTATION_PATH: Final = f"{_BUNDLE_PATH}.attestations.0"


def _edit_text(change: Any) -> Any:
    return lambda document: change(json.dumps(document))


def _repeat_bundles(count: int) -> Any:
    return set_at_path("attestation_bundles", lambda bundles: bundles * count)


DOCUMENT_ATTACKS: Final = (
    attack_document("the document is empty", "document", "well-formed", lambda _: b""),
    attack_document("the document is no JSON", "document", "well-formed", lambda _: "<html>"),
    attack_document("the document is a list", "document", "list", lambda _: "[]"),
    attack_document("the document is null", "document", "NoneType", lambda _: "null"),
    attack_document("the document is followed by more", "document", "Extra data", _edit_text(lambda text: text + "1")),
    attack_document("the document is in UTF-16", "document", "UTF-8", _edit_text(lambda text: text.encode("utf-16"))),
    attack_document(
        "the document begins with a mark", "document", "BOM", _edit_text(lambda text: b"\xef\xbb\xbf" + text.encode())
    ),
    attack_document(
        "the document says a key twice",
        "document",
        "twice",
        _edit_text(lambda text: text.replace('"version": 1', '"version": 1, "version": 1', 1)),
    ),
    attack_document(
        "the document has half a character",
        "document",
        "surrogates",
        _edit_text(lambda text: text[:-1] + ', "x": "\\udc00"}'),
    ),
    attack_document("the document has a NaN", "document", "NaN", _edit_text(lambda text: text[:-1] + ', "x": NaN}')),
    attack_document(
        "the document is nested deep",
        "document",
        "deeper",
        _edit_text(lambda text: text[:-1] + ', "x": ' + "[" * 40 + "]" * 40 + "}"),
    ),
    attack_document("the document is nested beyond the stack", "document", "deeper", lambda _: "[" * 100_000),
    attack_document(
        "the document is longer than any", "document", "1048576", _edit_text(lambda text: text + " " * 1_100_000)
    ),
    attack_document(
        "the document has a number without end",
        "document",
        "well-formed",
        _edit_text(lambda text: text[:-1] + ', "x": ' + "9" * 10_000 + "}"),
    ),
    attack_document(
        "the document is of the next version", UNVERIFIABLE, "provenance format version 2", set_at_path("version", 2)
    ),
    attack_document("the document's version is text", "document", "str", set_at_path("version", "1")),
    attack_document("the document's version is true", "document", "bool", set_at_path("version", True)),
    attack_document("the document's version is 1.0", "document", "float", set_at_path("version", 1.0)),
    attack_document("the document has no version", "document", "nothing", set_at_path("version", DELETE_KEY)),
    attack_document(
        "there are no bundles", "document", "attestation_bundles", set_at_path("attestation_bundles", DELETE_KEY)
    ),
    attack_document("the bundles are an object", "document", "dict", set_at_path("attestation_bundles", {})),
    attack_document("the bundles are null", "document", "nothing", set_at_path("attestation_bundles", None)),
    attack_document("there are too many bundles", "document", "16 bundles", _repeat_bundles(17)),
    attack_document(
        "there are too many attestations",
        "document",
        "32 attestations",
        set_at_path(f"{_BUNDLE_PATH}.attestations", lambda one: one * 33),
    ),
    attack_document("a bundle is text", "document", "str", set_at_path(_BUNDLE_PATH, "bundle")),
    attack_document(
        "a bundle has no publisher", "document", "publisher", set_at_path(f"{_BUNDLE_PATH}.publisher", DELETE_KEY)
    ),
    attack_document("a publisher is text", "document", "str", set_at_path(f"{_BUNDLE_PATH}.publisher", "GitHub")),
    attack_document(
        "a publisher has no kind", "publisher", "kind", set_at_path(f"{_BUNDLE_PATH}.publisher.kind", DELETE_KEY)
    ),
    attack_document(
        "a bundle has no attestations",
        "document",
        "attestations",
        set_at_path(f"{_BUNDLE_PATH}.attestations", DELETE_KEY),
    ),
    attack_document(
        "the attestations are an object", "document", "dict", set_at_path(f"{_BUNDLE_PATH}.attestations", {})
    ),
    attack_document("an attestation is text", "document", "str", set_at_path(_ATTESTATION_PATH, "attestation")),
    attack_document(
        "an attestation is of the next version",
        UNVERIFIABLE,
        "attestation format version 2",
        set_at_path(f"{_ATTESTATION_PATH}.version", 2),
    ),
    attack_document(
        "an attestation's version is text", "document", "str", set_at_path(f"{_ATTESTATION_PATH}.version", "1")
    ),
    attack_document(
        "an attestation has no version", "document", "version", set_at_path(f"{_ATTESTATION_PATH}.version", DELETE_KEY)
    ),
    attack_document(
        "an attestation has no material",
        "document",
        "verification_material",
        set_at_path(f"{_ATTESTATION_PATH}.verification_material", DELETE_KEY),
    ),
    attack_document(
        "an attestation has no certificate",
        "certificate",
        "nothing",
        set_at_path(f"{_ATTESTATION_PATH}.verification_material.certificate", DELETE_KEY),
    ),
    attack_document(
        "a bad attestation stands behind a good one",
        "signature",
        "base64",
        set_at_path(f"{_BUNDLE_PATH}.attestations", lambda one: [*one, _break_signature(one[0])]),
    ),
    attack_document(
        "a bad bundle stands behind a good one",
        "publisher repository",
        "evil",
        set_at_path("attestation_bundles", lambda one: [*one, _claim_other_repository(one[0])]),
    ),
)


def _break_signature(attestation: Any) -> Any:
    copy = json.loads(json.dumps(attestation))
    set_at_path("envelope.signature", "?")(copy)
    return copy


def _claim_other_repository(bundle: Any) -> Any:
    copy = json.loads(json.dumps(bundle))
    set_at_path("publisher.repository", "evil/widget")(copy)
    return copy


ATTACKS: Final[tuple[Attack, ...]] = (
    *statement.SUBJECT_ATTACKS,
    *statement.STATEMENT_ATTACKS,
    *statement.PREDICATE_ATTACKS,
    *statement.ENVELOPE_ATTACKS,
    *certificate.CERTIFICATE_ATTACKS,
    *identity.SUBJECT_NAME_ATTACKS,
    *identity.CLAIM_ATTACKS,
    *identity.PUBLISHER_ATTACKS,
    *log.TIME_ATTACKS,
    *log.PROMISE_ATTACKS,
    *log.LOG_ID_ATTACKS,
    *log.BODY_ATTACKS,
    *log.PROOF_ATTACKS,
    *log.CHECKPOINT_ATTACKS,
    *roots.TRUST_ROOT_ATTACKS,
    *DOCUMENT_ATTACKS,
)
