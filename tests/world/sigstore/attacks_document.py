"""Attacks on the provenance document around the attestations; and the whole table."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.world.sigstore import attacks_certificate as certificate
from tests.world.sigstore import attacks_identity as identity
from tests.world.sigstore import attacks_log as log
from tests.world.sigstore import attacks_roots as roots
from tests.world.sigstore import attacks_statement as statement
from tests.world.sigstore.attacks import GONE, UNVERIFIABLE, Attack, at, documented

_BUNDLE: Final = "attestation_bundles.0"
_ATTESTATION: Final = f"{_BUNDLE}.attestations.0"


def _text(change: Any) -> Any:
    return lambda document: change(json.dumps(document))


def _bundles(count: int) -> Any:
    return at("attestation_bundles", lambda bundles: bundles * count)


DOCUMENT: Final = (
    documented("the document is empty", "document", "well-formed", lambda _: b""),
    documented("the document is no JSON", "document", "well-formed", lambda _: "<html>"),
    documented("the document is a list", "document", "list", lambda _: "[]"),
    documented("the document is null", "document", "NoneType", lambda _: "null"),
    documented("the document is followed by more", "document", "Extra data", _text(lambda text: text + "1")),
    documented("the document is in UTF-16", "document", "UTF-8", _text(lambda text: text.encode("utf-16"))),
    documented(
        "the document begins with a mark", "document", "BOM", _text(lambda text: b"\xef\xbb\xbf" + text.encode())
    ),
    documented(
        "the document says a key twice",
        "document",
        "twice",
        _text(lambda text: text.replace('"version": 1', '"version": 1, "version": 1', 1)),
    ),
    documented(
        "the document has half a character",
        "document",
        "surrogates",
        _text(lambda text: text[:-1] + ', "x": "\\udc00"}'),
    ),
    documented("the document has a NaN", "document", "NaN", _text(lambda text: text[:-1] + ', "x": NaN}')),
    documented(
        "the document is nested deep",
        "document",
        "deeper",
        _text(lambda text: text[:-1] + ', "x": ' + "[" * 40 + "]" * 40 + "}"),
    ),
    documented("the document is nested beyond the stack", "document", "deeper", lambda _: "[" * 100_000),
    documented("the document is longer than any", "document", "1048576", _text(lambda text: text + " " * 1_100_000)),
    documented(
        "the document has a number without end",
        "document",
        "well-formed",
        _text(lambda text: text[:-1] + ', "x": ' + "9" * 10_000 + "}"),
    ),
    documented("the document is of the next version", UNVERIFIABLE, "provenance format version 2", at("version", 2)),
    documented("the document's version is text", "document", "str", at("version", "1")),
    documented("the document's version is true", "document", "bool", at("version", True)),
    documented("the document's version is 1.0", "document", "float", at("version", 1.0)),
    documented("the document has no version", "document", "nothing", at("version", GONE)),
    documented("there are no bundles", "document", "attestation_bundles", at("attestation_bundles", GONE)),
    documented("the bundles are an object", "document", "dict", at("attestation_bundles", {})),
    documented("the bundles are null", "document", "nothing", at("attestation_bundles", None)),
    documented("there are too many bundles", "document", "16 bundles", _bundles(17)),
    documented(
        "there are too many attestations",
        "document",
        "32 attestations",
        at(f"{_BUNDLE}.attestations", lambda one: one * 33),
    ),
    documented("a bundle is text", "document", "str", at(_BUNDLE, "bundle")),
    documented("a bundle has no publisher", "document", "publisher", at(f"{_BUNDLE}.publisher", GONE)),
    documented("a publisher is text", "document", "str", at(f"{_BUNDLE}.publisher", "GitHub")),
    documented("a publisher has no kind", "publisher", "kind", at(f"{_BUNDLE}.publisher.kind", GONE)),
    documented("a bundle has no attestations", "document", "attestations", at(f"{_BUNDLE}.attestations", GONE)),
    documented("the attestations are an object", "document", "dict", at(f"{_BUNDLE}.attestations", {})),
    documented("an attestation is text", "document", "str", at(_ATTESTATION, "attestation")),
    documented(
        "an attestation is of the next version",
        UNVERIFIABLE,
        "attestation format version 2",
        at(f"{_ATTESTATION}.version", 2),
    ),
    documented("an attestation's version is text", "document", "str", at(f"{_ATTESTATION}.version", "1")),
    documented("an attestation has no version", "document", "version", at(f"{_ATTESTATION}.version", GONE)),
    documented(
        "an attestation has no material",
        "document",
        "verification_material",
        at(f"{_ATTESTATION}.verification_material", GONE),
    ),
    documented(
        "an attestation has no certificate",
        "certificate",
        "nothing",
        at(f"{_ATTESTATION}.verification_material.certificate", GONE),
    ),
    documented(
        "a bad attestation stands behind a good one",
        "signature",
        "base64",
        at(f"{_BUNDLE}.attestations", lambda one: [*one, _spoilt(one[0])]),
    ),
    documented(
        "a bad bundle stands behind a good one",
        "publisher repository",
        "evil",
        at("attestation_bundles", lambda one: [*one, _claimed(one[0])]),
    ),
)


def _spoilt(attestation: Any) -> Any:
    copy = json.loads(json.dumps(attestation))
    at("envelope.signature", "?")(copy)
    return copy


def _claimed(bundle: Any) -> Any:
    copy = json.loads(json.dumps(bundle))
    at("publisher.repository", "evil/widget")(copy)
    return copy


ATTACKS: Final[tuple[Attack, ...]] = (
    *statement.SUBJECT,
    *statement.STATEMENT,
    *statement.PREDICATE,
    *statement.ENVELOPE,
    *certificate.CHAIN,
    *identity.NAMES,
    *identity.CLAIMS,
    *identity.PUBLISHER,
    *log.TIME,
    *log.PROMISE,
    *log.LOG_ID,
    *log.BODY,
    *log.PROOF,
    *log.CHECKPOINT,
    *roots.ROOTS,
    *DOCUMENT,
)
