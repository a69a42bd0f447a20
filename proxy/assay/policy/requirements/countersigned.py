"""Requirement `countersigned`: third parties must have signed statements about the file, such as reviews. Pure.

A countersigner is a key of the configuration or a Trusted Publisher. Its statements are in Sigstore bundles of sources
besides the index. All statements of a countersigner with its predicate type must meet its conditions, so a later one
that says otherwise withholds the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Self, final

from pydantic import BeforeValidator, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from assay.evidence import INDEX_SOURCE, Attestation, Attested, Evidence, Forged
from assay.policy.candidate import FileFacts, PageContext
from assay.policy.language.values import KeyReference, NonEmpty
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.base import PrintableText
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import Publisher
from assay.publishers.signers import describe_publisher
from assay.settings import Settings, make_key_error


class Condition(Settings):
    """Condition on the predicate of a statement: the value at a path."""

    path: Annotated[tuple[PrintableText, ...], NonEmpty]
    """Keys of nested JSON objects, from the outermost."""
    equals: StrictBool | StrictInt | StrictFloat | StrictStr
    """Expected value. A string, a number and a boolean are never equal."""

    def is_met(self, predicate: object) -> bool:
        """Return whether a predicate has the expected value at the path."""
        value = predicate
        for key in self.path:
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        if isinstance(value, bool) or isinstance(self.equals, bool):
            return value is self.equals
        if isinstance(value, str) or isinstance(self.equals, str):
            return isinstance(value, str) and value == self.equals
        return isinstance(value, int | float) and value == self.equals

    def describe(self) -> str:
        """Return the condition as text, such as ``verdict = "ok"``."""
        return f"{'.'.join(self.path)} = {json.dumps(self.equals)}"


def _list_conditions(where: object) -> object:
    """Return the tables of a mapping from single keys to values; return other values unchanged."""
    if isinstance(where, Mapping):
        return tuple({"path": (key,), "equals": value} for key, value in where.items())
    return where


class Countersigner(Settings):
    """Third party that must have signed a statement about the file: a key, or a publisher by its own keys."""

    # The keys of the publisher may be in the table, which the JSON Schema for editors cannot say otherwise.
    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    key: KeyReference | None = None
    """Name of a key in ``[trust.keys]``."""
    publisher: Publisher | None = None
    """Trusted Publisher. Its keys may be in this table directly: ``kind``, ``repository`` and so on."""
    predicate: PrintableText
    """Predicate type URI of the statements."""
    where: Annotated[tuple[Condition, ...], BeforeValidator(_list_conditions)] = ()
    """Conditions that all these statements must meet: ``{ verdict = "ok" }``, or for a nested value
    ``[{ path = ["scan", "result"], equals = "ok" }]``."""

    @model_validator(mode="before")
    @classmethod
    def _gather_publisher(cls, table: Any) -> Any:  # noqa: ANN401 - the raw table
        if not isinstance(table, dict) or "kind" not in table:
            return table
        own = {key: value for key, value in table.items() if key in cls.model_fields}
        return {**own, "publisher": {key: value for key, value in table.items() if key not in cls.model_fields}}

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.key is None) == (self.publisher is None):
            found = "neither" if self.key is None else "both"
            raise make_key_error("key", expected="either key or the keys of a publisher", found=found)
        return self

    def describe(self) -> str:
        """Return the name of the countersigner, for messages."""
        return f"the key {self.key}" if self.publisher is None else describe_publisher(self.publisher)


class CountersignedKeys(Settings):
    """Model of the key `countersigned`."""

    countersigned: Annotated[tuple[Countersigner, ...], NonEmpty] | None = None
    """Third parties that must all have countersigned the file, each a table with ``key`` or the keys of a publisher,
    ``predicate`` and ``where``. The statements come from the sources of ``[[evidence]]``."""


@final
@dataclass(frozen=True, slots=True)
class _CountersignedCheck(FileCheck):
    label: str | None
    signers: tuple[tuple[Countersigner, PublisherMatcher | None], ...]
    sources: frozenset[str] | None
    revoked_keys: frozenset[str]
    is_revoked: Callable[[Attestation], bool]

    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:  # noqa: ARG002 - base class
        for signer, matcher in self.signers:
            statements = self._find_statements(facts.evidence, signer, matcher)
            if all(is_revoked for _, is_revoked in statements):
                named = (signer.describe(), signer.predicate, self._describe_revoked(signer, bool(statements)))
                return make_reason(ReasonCode.COUNTERSIGNED, self.label, _tell_missing, named)
            # A revoked statement approves nothing, but it can still withhold: a revocation never approves a file.
            predicates = [predicate for predicate, _ in statements]
            unmet = next((each for each in signer.where if not all(each.is_met(one) for one in predicates)), None)
            if unmet is not None:
                stated = (signer.describe(), signer.predicate, unmet.describe())
                return make_reason(ReasonCode.COUNTERSIGNED, self.label, _tell_unmet, stated)
        return None

    def _describe_revoked(self, signer: Countersigner, has_statements: bool) -> str | None:  # noqa: FBT001 - private
        """Return what is revoked, so that no statement counts; None if no statement exists."""
        if signer.key in self.revoked_keys:
            return "the key is revoked"
        return "its statement is revoked" if has_statements else None

    def check_best_case(self, _facts: FileFacts, _context: PageContext, _now: datetime) -> Reason | None:
        return None

    def _find_statements(
        self, evidence: Evidence | None, signer: Countersigner, matcher: PublisherMatcher | None
    ) -> list[tuple[object, bool]]:
        """Return the predicate of each statement of a countersigner with its predicate type; and True if revoked."""
        if evidence is None or isinstance(evidence, Forged):
            return []
        texts: list[tuple[str | None, bool]]
        if matcher is None:
            texts = [
                (each.predicate, each.key in self.revoked_keys)
                for each in evidence.key_statements
                if each.key == signer.key and each.predicate_type == signer.predicate and self._counts(each.source)
            ]
        else:
            attestations = evidence.attestations if isinstance(evidence, Attested) else ()
            texts = [
                (each.predicate, self.is_revoked(each))
                for each in attestations
                if each.predicate_type == signer.predicate
                and each.source != INDEX_SOURCE
                and self._counts(each.source)
                and matcher.covers(each)
            ]
        return [(None if text is None else _parse_predicate(text), is_revoked) for text, is_revoked in texts]

    def _counts(self, source: str) -> bool:
        return self.sources is None or source in self.sources


@lru_cache(maxsize=1024)
def _parse_predicate(text: str) -> object:
    """Return the JSON value of a predicate, which verification has written. The result must not be modified."""
    value: object = json.loads(text)
    return value


def _tell_missing(signer: str, predicate: str, revoked: str | None) -> Words:
    why = revoked or f"it has no statement of the type {predicate}"
    message = f'the file is not countersigned by {signer}: {why}; ask for a review, or for a waiver of "countersigned"'
    return Words(message, f"a statement of the type {predicate} by {signer}", "none")


def _tell_unmet(signer: str, predicate: str, condition: str) -> Words:
    message = (
        f"a statement about the file by {signer} does not say {condition} (type {predicate});"
        ' ask for a review, or for a waiver of "countersigned"'
    )
    return Words(message, condition, "another value, or none")


def _activate(stated: CountersignedKeys, terms: RuleTerms) -> _CountersignedCheck | None:
    if stated.countersigned is None:
        return None
    signers = tuple(
        (each, None if each.publisher is None else compile_publisher(each.publisher)) for each in stated.countersigned
    )
    return _CountersignedCheck(terms.label, signers, terms.sources, terms.revoked_keys, terms.is_revoked)


def _describe(stated: CountersignedKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.countersigned:
        items = tuple(
            f"{each.describe()}, type {each.predicate}"
            + "".join(f", {condition.describe()}" for condition in each.where)
            for each in stated.countersigned
        )
        yield Phrase("is countersigned by" if len(items) == 1 else "is countersigned by each of", items)


COUNTERSIGNED: Final = Requirement(
    keys=CountersignedKeys,
    lift="countersigned",
    codes=frozenset({ReasonCode.COUNTERSIGNED}),
    active=_activate,
    describe=_describe,
)
