"""A policy laid out for judging: for one project, its rule over the defaults, its waivers, its revocations. Pure.

Compiled once per policy and project and remembered; judging a file then touches plain values only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, TypeVar

from packaging.specifiers import SpecifierSet

from assay.evidence import Attestation
from assay.policy.language.model import (
    RATCHET_SETTLE,
    Attestations,
    Lift,
    Mode,
    Policy,
    RatchetMode,
    Requirements,
    Revocation,
    Rule,
    Waiver,
)
from assay.policy.language.patterns import Matches, names
from assay.policy.language.publishers import Matcher, builder, matcher
from assay.policy.verdict import Code
from assay.simple.model import File, Kind, NormalizedName, Sha256

T = TypeVar("T")

LIFTS: Final[dict[Lift, frozenset[Code]]] = {
    Lift.INDEXES: frozenset({Code.INDEX}),
    Lift.TRUST: frozenset({Code.TRUST}),
    Lift.ATTESTATIONS: frozenset({Code.UNATTESTED, Code.UNVERIFIABLE}),
    Lift.PUBLISHERS: frozenset({Code.PUBLISHER}),
    Lift.PREDICATES: frozenset({Code.PREDICATE}),
    Lift.BUILDER: frozenset({Code.BUILDER}),
    Lift.MIN_AGE: frozenset({Code.TOO_YOUNG}),
    Lift.UPLOADED_BEFORE: frozenset({Code.UPLOADED_AFTER}),
    Lift.RATCHET: frozenset({Code.PROVENANCE_LOST, Code.PUBLISHER_CHANGED}),
    Lift.LATE_FILES: frozenset({Code.LATE_FILE}),
    Lift.TYPES: frozenset({Code.FILE_TYPE}),
    Lift.YANKED: frozenset({Code.YANKED}),
    Lift.PROJECT_STATUS: frozenset({Code.PROJECT_STATUS}),
    Lift.METADATA: frozenset({Code.METADATA_MISMATCH}),
    Lift.RELEASE: frozenset({Code.FILE_TYPE}),
}
"""Which reasons each word of `lifts` lifts. `release` shares its code with `types`, so that either lifts both."""
LIFT_OF: Final[dict[Code, Lift]] = {code: lift for lift, codes in reversed(LIFTS.items()) for code in codes}
"""The word to ask for, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """A waiver, compiled."""

    label: str
    versions: SpecifierSet | None
    sha256: frozenset[Sha256] | None
    before: datetime | None
    codes: frozenset[Code]
    expires: datetime

    def covers(self, file: File, time: datetime | None) -> bool:
        """Whether it is for this file; `time` is the file's own, None where that is unknown."""
        if self.sha256 is not None and file.sha256 not in self.sha256:
            return False
        if self.before is not None and not (time is not None and time < self.before):
            return False
        if self.versions is None:
            return True
        return file.distribution is not None and self.versions.contains(file.distribution.version, prereleases=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeal:
    """A revocation, compiled."""

    label: str
    reason: str
    publishers: tuple[Matcher, ...]
    signed_from: datetime | None
    signed_until: datetime | None
    certificates: frozenset[str]
    log_indexes: range | None
    sha256: frozenset[Sha256]
    of_project: bool
    versions: SpecifierSet | None

    @property
    def needs_evidence(self) -> bool:
        """Whether only evidence tells if a file is covered."""
        return bool(self.publishers or self.certificates or self.log_indexes is not None)

    def covers(self, file: File, attestations: tuple[Attestation, ...]) -> bool:
        """Whether this file is revoked."""
        if self.needs_evidence:
            return any(self._covers_attestation(attestation) for attestation in attestations)
        if self.of_project:
            # A file whose version cannot be read is of none that was spared.
            version = file.distribution.version if file.distribution is not None else None
            return self.versions is None or version is None or self.versions.contains(version, prereleases=True)
        return file.sha256 in self.sha256

    def _covers_attestation(self, attestation: Attestation) -> bool:
        if self.log_indexes is not None:
            return attestation.log_index in self.log_indexes
        if self.certificates:
            return attestation.certificate.lower() in self.certificates
        signed = attestation.integrated_time
        if self.signed_from is not None and signed < self.signed_from:
            return False
        if self.signed_until is not None and signed >= self.signed_until:
            return False
        return any(publisher.covers(attestation) for publisher in self.publishers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one project's files are judged by."""

    label: str | None
    """Of the governing rule; None where none governs."""
    mode: Mode
    deny: str | None
    pins: frozenset[Sha256]
    pinned_only: bool
    indexes: frozenset[str] | None
    trust: frozenset[str] | None
    required: bool
    publishers: tuple[Matcher, ...] | None
    """None where any Trusted Publisher will do."""
    predicates: frozenset[str]
    builders: tuple[Matches, ...] | None
    builder_patterns: tuple[str, ...]
    min_age: timedelta
    min_age_attested: timedelta
    """For files of an established publisher."""
    uploaded_before: datetime | None
    ratchet: RatchetMode
    settle: timedelta
    ratchet_except: SpecifierSet | None
    late_files: timedelta | None
    types: frozenset[Kind] | None
    yanked: bool
    """Whether yanked files are allowed."""
    statuses: frozenset[str] | None
    whole: bool
    metadata_from_wheel: bool
    exemptions: tuple[Exemption, ...]
    repeals: tuple[Repeal, ...]

    revokes_by_evidence: bool
    """Whether only evidence tells if some file is revoked."""
    noting: tuple[Matcher, ...]
    """Those of `publishers` that may match without proof of all they name."""

    # Short ways: closed, until `_with_short_ways` has seen that they lead where the long one does.
    is_plain: bool = False
    """Whether steps 1, 2 and 4 have nothing to say of any file."""
    is_lean: bool = False
    """And of the requirements, whether none but age, provenance and the ratchet may fail."""
    any_bundle: bool = False
    """Whether nothing is asked of attestations beside their publisher."""
    any_trusted: bool = False
    """Nor of that but to be a Trusted Publisher."""
    asks_of_page: bool = True
    """Whether anything is asked beside age, provenance and the index."""


@dataclass(frozen=True, slots=True)
class _Book:
    """What of a policy is independent of the project."""

    rules: tuple[tuple[Matches, str, Rule], ...]
    exemptions: tuple[tuple[Matches, Exemption], ...]
    repeals: tuple[tuple[Matches, Repeal], ...]

    def governing(self, name: str) -> tuple[str, Rule] | None:
        return next(((label, rule) for covers, label, rule in self.rules if covers(name)), None)


@lru_cache(maxsize=4096)
def terms(policy: Policy, name: NormalizedName) -> Terms:
    """What `name`'s files are judged by."""
    book = _book(policy)
    repeals = tuple(repeal for covers, repeal in book.repeals if covers(name))
    label, rule = book.governing(name) or (None, None)
    merged = _merged(rule, policy.defaults)
    publishers = _publishers(merged)
    min_age = merged.min_age or timedelta()
    compiled = Terms(
        label=label,
        mode=(rule.mode if rule else None) or policy.mode,
        deny=rule.deny if rule else None,
        pins=frozenset((rule.pins if rule else None) or ()),
        pinned_only=rule is not None and rule.pinned_only,
        indexes=_set(merged.indexes),
        trust=_set(merged.trust),
        required=merged.attestations is Attestations.REQUIRED,
        publishers=publishers,
        predicates=frozenset(merged.predicates or ()),
        builders=None if merged.builder is None else tuple(builder(each) for each in merged.builder),
        builder_patterns=merged.builder or (),
        min_age=min_age,
        min_age_attested=min_age if merged.min_age_attested is None else min(min_age, merged.min_age_attested),
        uploaded_before=merged.uploaded_before,
        ratchet=merged.ratchet or RatchetMode.ENFORCE,
        settle=RATCHET_SETTLE if merged.ratchet_settle is None else merged.ratchet_settle,
        ratchet_except=merged.ratchet_except,
        late_files=merged.late_files,
        types=_set(merged.types),
        yanked=merged.yanked != "deny",
        statuses=_set(merged.project_status),
        whole=merged.release == "whole",
        metadata_from_wheel=merged.metadata == "wheel",
        exemptions=tuple(exemption for covers, exemption in book.exemptions if covers(name)),
        repeals=repeals,
        revokes_by_evidence=any(repeal.needs_evidence for repeal in repeals),
        noting=tuple(each for each in publishers or () if each.environment is not None),
    )
    return _with_short_ways(compiled)


def is_denied(policy: Policy, name: NormalizedName) -> bool:
    """Whether no file of the project can be approved, whatever it is: denied, or no rule governs.

    For the root list, whose hundreds of thousands of names are not worth compiling terms for.
    """
    governing = _book(policy).governing(name)
    return governing is None or governing[1].deny is not None


def _publishers(merged: Requirements) -> tuple[Matcher, ...] | None:
    return tuple(matcher(each) for each in merged.publishers) if isinstance(merged.publishers, tuple) else None


def _with_short_ways(stated: Terms) -> Terms:
    asks_of_page = not stated.yanked or any(
        (stated.uploaded_before, stated.late_files is not None, stated.types, stated.statuses)
    )
    is_plain = stated.label is not None and not stated.repeals and stated.deny is None and not stated.pinned_only
    any_bundle = not (stated.trust or stated.builders or stated.predicates)
    return replace(
        stated,
        is_plain=is_plain,
        is_lean=is_plain and not stated.pins and stated.indexes is None and not asks_of_page,
        any_bundle=any_bundle,
        any_trusted=any_bundle and stated.publishers is None,
        asks_of_page=asks_of_page,
    )


def _set(values: tuple[T, ...] | None) -> frozenset[T] | None:
    return None if values is None else frozenset(values)


def _merged(rule: Rule | None, defaults: Requirements) -> Requirements:
    """The rule's requirements, and the defaults' where it leaves them out."""
    stated = {
        key: value
        for key in Requirements.model_fields
        if (value := getattr(rule, key, None)) is not None or (value := getattr(defaults, key)) is not None
    }
    if stated.get("publishers") or stated.get("predicates") or stated.get("builder"):
        stated["attestations"] = Attestations.REQUIRED
    return Requirements.model_construct(**stated)


@lru_cache(maxsize=8)
def _book(policy: Policy) -> _Book:
    return _Book(
        rules=tuple(
            (names(rule.projects), rule.name or f"rules[{number}]", rule) for number, rule in enumerate(policy.rules)
        ),
        exemptions=tuple(
            (names(waiver.projects), _exemption(waiver, f"waivers[{number}]"))
            for number, waiver in enumerate(policy.waivers)
        ),
        repeals=tuple(
            (names(each.projects or ("*",)), _repeal(each, f"revocations[{number}]"))
            for number, each in enumerate(policy.revocations)
        ),
    )


def _exemption(waiver: Waiver, place: str) -> Exemption:
    return Exemption(
        label=waiver.name or f"{place}: {waiver.reason}",
        versions=waiver.versions,
        sha256=None if waiver.sha256 is None else frozenset(waiver.sha256),
        before=waiver.uploaded_before,
        codes=frozenset().union(*(LIFTS[lift] for lift in waiver.lifts)),
        expires=waiver.expires,
    )


def _repeal(revocation: Revocation, place: str) -> Repeal:
    start, stop = revocation.log_index_from, revocation.log_index_until
    return Repeal(
        label=revocation.name or place,
        reason=revocation.reason,
        publishers=tuple(matcher(each) for each in revocation.publishers or ()),
        signed_from=revocation.signed_from,
        signed_until=revocation.signed_until,
        certificates=frozenset(revocation.certificates or ()),
        log_indexes=None if start is None or stop is None else range(start, stop),
        sha256=frozenset(revocation.sha256 or ()),
        of_project=bool(revocation.projects),
        versions=revocation.versions,
    )
