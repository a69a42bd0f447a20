"""The policy's language: every table and key of docs/policy.md as a frozen model, and nothing that judges. Pure.

A `Policy` holds what its author wrote; `assay.policy.compiled` lays rules over defaults. What contradicts itself is
refused here, with the key that is at fault.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self, TypeAlias

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    InstanceOf,
    PlainSerializer,
    StrictBool,
    Tag,
    WithJsonSchema,
    model_validator,
)

from assay.evidence import PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE
from assay.policy.language.patterns import normalize_name_pattern
from assay.policy.language.publishers import PrintableText, Publisher
from assay.policy.language.times import ExclusiveEnd, InclusiveStart
from assay.settings import Settings, make_key_error
from assay.simple.model import Kind, Sha256
from assay.units import Duration


class Mode(StrEnum):
    """Whether requirements are enforced, or only reported."""

    ENFORCE = "enforce"
    AUDIT = "audit"


class Showing(StrEnum):
    """What becomes of withheld files on pages."""

    HIDE = "hide"
    EXPLAIN = "explain"


class Attestations(StrEnum):
    """Whether a file must have verified attestations."""

    IF_PRESENT = "if-present"
    REQUIRED = "required"


class RatchetMode(StrEnum):
    """What a loss or change of provenance means."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


class Lift(StrEnum):
    """What a waiver may lift: the requirements of step 6, by their keys."""

    INDEXES = "indexes"
    TRUST = "trust"
    ATTESTATIONS = "attestations"
    PUBLISHERS = "publishers"
    PREDICATES = "predicates"
    BUILDER = "builder"
    MIN_AGE = "min-age"
    UPLOADED_BEFORE = "uploaded-before"
    RATCHET = "ratchet"
    LATE_FILES = "late-files"
    TYPES = "types"
    YANKED = "yanked"
    PROJECT_STATUS = "project-status"
    METADATA = "metadata"
    RELEASE = "release"


def _parse_sha256(text: object) -> str:
    if isinstance(text, str) and (match := re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", text.strip().lower())):
        return match[1]
    raise ValueError("a SHA-256: 64 hexadecimal digits")


def _parse_fingerprint(text: object) -> str:
    return _parse_sha256(text.replace(":", "").removeprefix("sha256") if isinstance(text, str) else text)


def _parse_specifiers(text: object) -> SpecifierSet:
    if isinstance(text, SpecifierSet):
        return text
    try:
        if isinstance(text, str) and text.strip():
            # With pre-releases: an alpha of a revoked line is revoked.
            return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        pass
    raise ValueError('a version specifier such as "==1.26.4" or ">=1,<2"')


def _parse_predicate_type(text: str) -> str:
    known = {"publish": PUBLISH_PREDICATE_TYPE, "slsa": SLSA_PREDICATE_TYPE}
    if text in known or re.match(r"[a-z][a-z0-9+.-]*:", text):
        return known.get(text, text)
    raise ValueError("'publish', 'slsa' or a predicate type URI")


Digest = Annotated[Sha256, BeforeValidator(_parse_sha256), WithJsonSchema({"type": "string"})]
Fingerprint = Annotated[str, BeforeValidator(_parse_fingerprint), WithJsonSchema({"type": "string"})]
NamePattern = Annotated[str, AfterValidator(normalize_name_pattern)]
PredicateType = Annotated[PrintableText, AfterValidator(_parse_predicate_type)]
Specifiers = Annotated[
    InstanceOf[SpecifierSet],
    BeforeValidator(_parse_specifiers),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
Age = Annotated[
    Duration, PlainSerializer(timedelta.total_seconds, return_type=float), WithJsonSchema({"type": "string"})
]
NonEmpty = Field(min_length=1)
NamePatterns = Annotated[tuple[NamePattern, ...], NonEmpty]
Publishers: TypeAlias = Annotated[
    Annotated[Literal["any"], Tag("any")] | Annotated[tuple[Publisher, ...], NonEmpty, Tag("publishers")],
    Discriminator(lambda value: "any" if isinstance(value, str) else "publishers"),
]


class Requirements(Settings):
    """What a file must meet. What a rule leaves out is as in `defaults`, and here it is None."""

    indexes: Annotated[tuple[PrintableText, ...], NonEmpty] | None = None
    """Indexes that the file may come from: a requirement, it selects nothing."""
    trust: Annotated[tuple[PrintableText, ...], NonEmpty] | None = None
    """Trust roots that may vouch for its attestation."""
    attestations: Attestations | None = None
    """``if-present`` (the default): what there is must be genuine. ``required``: there must be one, by `publishers`."""
    publishers: Publishers | None = None
    """Any one of these must have signed, or ``"any"`` Trusted Publisher. Implies ``required``."""
    predicates: Annotated[tuple[PredicateType, ...], NonEmpty] | None = None
    """All of these must be attested: ``publish``, ``slsa`` or a type URI. Implies ``required``."""
    builder: Annotated[tuple[PrintableText, ...], NonEmpty] | None = None
    """Build Signer URIs, with ``*`` and ``**``; without an ``@``, at any ref. Implies ``required``."""
    min_age: Age | None = None
    """How old a file must be: a cool-down. Left out: none."""
    min_age_attested: Age | None = None
    """The same for files of an established publisher. Left out: ``min-age``."""
    uploaded_before: ExclusiveEnd | None = None
    """A line in the sand: nothing that was uploaded later."""
    ratchet: RatchetMode | None = None
    """A loss or change of provenance withholds (``enforce``, the default), is noted (``warn``) or ignored (``off``)."""
    ratchet_settle: Age | None = None
    """How long ago a publisher's first file must have been logged to establish it. Left out: 14 days."""
    ratchet_except: Specifiers | None = None
    """Versions that the ratchet leaves alone: old lines that are still patched by hand."""
    late_files: Age | None = None
    """How long after the first file of its version a file may still be added."""
    types: Annotated[tuple[Kind, ...], NonEmpty] | None = None
    """Kinds of file that may be served."""
    yanked: Literal["allow", "deny"] | None = None
    """``deny`` withholds yanked files; ``allow`` (the default) leaves them to installers."""
    project_status: Annotated[tuple[PrintableText, ...], NonEmpty] | None = None
    """PEP 792 states that are good enough. Left out: all."""
    metadata: Literal["index", "wheel"] | None = None
    """``wheel`` serves metadata from verified wheels alone; ``index`` (the default) believes the index until then."""
    release: Literal["files", "whole"] | None = None
    """``whole`` withholds the source archive of a version of which a wheel is withheld; ``files`` is the default."""

    @model_validator(mode="after")
    def _check_attestations(self) -> Self:
        proving = next((key for key in ("publishers", "predicates", "builder") if getattr(self, key) is not None), None)
        if proving and self.attestations is Attestations.IF_PRESENT:
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


DEFAULT_RATCHET_SETTLE = timedelta(days=14)
"""How long a publisher must have been logged before the project is held to it, where nothing says otherwise."""


def _check_merged_rule(rule: Rule, defaults: Requirements, number: int) -> None:
    """What a rule says together with what it leaves to the defaults."""
    stated = {key: getattr(rule, key) or getattr(defaults, key) for key in ("publishers", "predicates", "builder")}
    proving = next((key for key, value in stated.items() if value), None)
    if proving and rule.attestations is Attestations.IF_PRESENT:
        key = ("rules", number, "attestations")
        raise make_key_error(
            key, expected=f'"required", or nothing, because [defaults] has {proving}', found="if-present"
        )
    attestations = rule.attestations or defaults.attestations
    if (proving or attestations is Attestations.REQUIRED) and not stated["publishers"] and rule.deny is None:
        expected = 'publishers, or publishers = "any", wherever attestations are required'
        raise make_key_error(("rules", number, "publishers"), expected=expected, found=None)
