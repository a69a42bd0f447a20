"""The policy's language: every table and key of docs/policy.md as a frozen model, and nothing that judges. Pure.

A `Policy` holds what its author wrote. The keys of a rule that ask something of a file are those of
`assay.policy.requirements`. What contradicts itself is refused here, with the key that is at fault.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from assay.policy.language.times import ExclusiveEnd, InclusiveStart
from assay.policy.language.values import Digest, Fingerprint, NamePatterns, NonEmpty, Specifiers
from assay.policy.requirements.attestations import AttestationMode
from assay.policy.requirements.base import RuleTerms
from assay.policy.requirements.registry import REQUIREMENTS
from assay.publishers.base import PrintableText
from assay.publishers.registry import Publisher
from assay.settings import Settings, make_key_error


class Mode(StrEnum):
    """Whether requirements are enforced, or only reported."""

    ENFORCE = "enforce"
    AUDIT = "audit"


class Showing(StrEnum):
    """What becomes of withheld files on pages."""

    HIDE = "hide"
    EXPLAIN = "explain"


Lift = StrEnum("Lift", [(each.lift.upper().replace("-", "_"), each.lift) for each in REQUIREMENTS])  # type: ignore[misc]  # the words are the registry's
Lift.__doc__ = "What a waiver may lift: the requirements of step 6, by their keys."

_KEYS = tuple(each.keys for each in reversed(REQUIREMENTS))
"""Reversed, because a model has the fields of its last base first."""


def _find_implying_key(stated: Settings) -> str | None:
    """Return the first stated key that implies required attestations."""
    keys = (key for each in REQUIREMENTS if each.implies_attestations for key in each.keys.model_fields)
    return next((key for key in keys if getattr(stated, key) is not None), None)


class Requirements(*_KEYS):  # type: ignore[misc]  # the keys are the registry's
    """What a file must meet. What a rule leaves out is as in `defaults`, and here it is None."""

    @model_validator(mode="after")
    def _check_attestations(self) -> Self:
        proving = _find_implying_key(self)
        if proving and self.attestations is AttestationMode.IF_PRESENT:
            raise make_key_error(
                "attestations", expected=f'"required", or nothing, beside {proving}', found="if-present"
            )
        return self


class Rule(Requirements):
    """What holds for the projects it covers, if no rule before it covers them."""

    name: PrintableText | None = None
    """What reasons, logs and metrics call it."""
    projects: NamePatterns
    """Names that it governs, with ``*`` and ``?``."""
    mode: Mode | None = None
    """``audit`` or ``enforce``, for these projects alone."""
    deny: PrintableText | None = None
    """Withholds everything of these projects, and says this."""
    pins: Annotated[tuple[Digest, ...], NonEmpty] | None = None
    """SHA-256 of files that are approved whatever their provenance: a person's decision."""
    pinned_only: StrictBool = False
    """Whether the pinned files are the only ones."""

    @model_validator(mode="after")
    def _check_pins(self) -> Self:
        if self.pinned_only and not self.pins:
            raise make_key_error("pins", expected="at least one SHA-256 beside pinned-only", found=None)
        return self


class Waiver(Settings):
    """A dated exception for files that exist already."""

    name: PrintableText | None = None
    """What notes and logs call it."""
    projects: NamePatterns
    """Names that it is for, with ``*`` and ``?``."""
    versions: Specifiers | None = None
    """Only these versions."""
    sha256: Annotated[tuple[Digest, ...], NonEmpty] | None = None
    """Only these files."""
    uploaded_before: ExclusiveEnd | None = None
    """Only files that were there by then; this or ``sha256`` is required."""
    lifts: Annotated[tuple[Lift, ...], NonEmpty]
    """Which requirements, by their keys. Nothing that is revoked, denied or forged is ever lifted."""
    expires: ExclusiveEnd
    """When it ends."""
    reason: PrintableText
    """Why."""
    approved_by: PrintableText | None = None
    """Who answers for it."""

    @model_validator(mode="after")
    def _check_covers_only_existing_files(self) -> Self:
        if not self.sha256 and self.uploaded_before is None:
            expected = "uploaded-before or sha256: a waiver never covers a file that doesn't exist yet"
            raise make_key_error("uploaded-before", expected=expected, found=None)
        return self


class Revocation(Settings):
    """What is trusted no longer, whatever else would approve it.

    It selects in exactly one way: two ways in one table could mean either or both, and the wrong reading revokes less.
    """

    name: PrintableText | None = None
    """What logs call it."""
    publishers: Annotated[tuple[Publisher, ...], NonEmpty] | None = None
    """Whatever any of these signed."""
    signed_from: InclusiveStart | None = None
    """Beside ``publishers``: signed from then on."""
    signed_until: ExclusiveEnd | None = None
    """Beside ``publishers``: signed before then."""
    certificates: Annotated[tuple[Fingerprint, ...], NonEmpty] | None = None
    """SHA-256 fingerprints of signing certificates."""
    log_index_from: Annotated[int, Field(ge=0, strict=True)] | None = None
    """First log entry, beside ``log-index-until``."""
    log_index_until: Annotated[int, Field(ge=0, strict=True)] | None = None
    """First log entry that is not meant any more."""
    sha256: Annotated[tuple[Digest, ...], NonEmpty] | None = None
    """These files."""
    projects: NamePatterns | None = None
    """These names, with ``*`` and ``?``."""
    versions: Specifiers | None = None
    """Beside ``projects``: only these, pre-releases included."""
    reason: PrintableText
    """Why; whoever asks for such a file reads it."""

    @model_validator(mode="after")
    def _check_single_selector(self) -> Self:
        by_log = self.log_index_from is not None or self.log_index_until is not None
        ways = [key for key in ("publishers", "certificates", "sha256", "projects") if getattr(self, key)]
        ways += ["log-index-from"] if by_log else []
        if len(ways) != 1:
            expected = "one of publishers, certificates, log-index-from with log-index-until, sha256, projects"
            raise make_key_error(ways[1] if ways else "publishers", expected=expected, found=" and ".join(ways) or None)
        if by_log and (self.log_index_from is None or self.log_index_until is None):
            missing = "log-index-until" if self.log_index_until is None else "log-index-from"
            raise make_key_error(missing, expected="both ends of the range", found=None)
        if self.versions is not None and not self.projects:
            raise make_key_error("versions", expected="projects beside versions", found=str(self.versions))
        if not self.publishers and (self.signed_from or self.signed_until):
            key = "signed-from" if self.signed_from else "signed-until"
            raise make_key_error(key, expected="publishers beside it", found=ways[0])
        return self


class Policy(Settings):
    """What an organisation approves. Policies are equal when their digests are."""

    version: Literal[1]
    """Of this language: 1."""
    mode: Mode = Mode.ENFORCE
    """``audit`` reports requirements without enforcing them; what is revoked, denied or forged stays withheld."""
    withheld: Showing = Showing.HIDE
    """``explain`` lists a version that has no approved file as yanked with the reason, which pip and uv print."""
    show_withheld: StrictBool = True
    """Whether pages carry `_withheld`."""
    defaults: Requirements = Requirements()
    """What a rule leaves out."""
    rules: tuple[Rule, ...] = ()
    """The first whose ``projects`` cover a name governs it; a name that none covers is withheld."""
    waivers: tuple[Waiver, ...] = ()
    """Dated exceptions for files that exist already."""
    revocations: tuple[Revocation, ...] = ()
    """What is trusted no longer, whatever else would approve it, cached copies included."""

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for number, rule in enumerate(self.rules):
            _check_merged_rule(rule, self.defaults, number)
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of a canonical form: layout, comments and the spelling of names, times, durations don't count."""
        canonical = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.digest == other.digest


def merge_requirements(rule: Rule | None, defaults: Requirements) -> Requirements:
    """Return the rule's requirements, the defaults' where it leaves them out, and what they imply."""
    stated = {
        key: value
        for key in Requirements.model_fields
        if (value := getattr(rule, key, None)) is not None or (value := getattr(defaults, key)) is not None
    }
    merged: Requirements = Requirements.model_construct(**stated)
    if _find_implying_key(merged) is not None:
        merged = Requirements.model_construct(**stated | {"attestations": AttestationMode.REQUIRED})
    return merged


def get_rule_terms(merged: Requirements, label: str | None) -> RuleTerms:
    """Return what each requirement may know of the others; `merged` is of `merge_requirements`."""
    return RuleTerms(
        label=label,
        requires_attestations=merged.attestations is AttestationMode.REQUIRED,
        names_publishers=isinstance(merged.publishers, tuple),
    )


def _check_merged_rule(rule: Rule, defaults: Requirements, number: int) -> None:
    """What a rule says together with what it leaves to the defaults."""
    merged = merge_requirements(rule, defaults)
    proving = _find_implying_key(merged)
    if proving and rule.attestations is AttestationMode.IF_PRESENT:
        key = ("rules", number, "attestations")
        raise make_key_error(
            key, expected=f'"required", or nothing, because [defaults] has {proving}', found="if-present"
        )
    if merged.attestations is AttestationMode.REQUIRED and merged.publishers is None and rule.deny is None:
        expected = 'publishers, or publishers = "any", wherever attestations are required'
        raise make_key_error(("rules", number, "publishers"), expected=expected, found=None)
