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
    DEFAULT_RATCHET_SETTLE,
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
from assay.policy.language.patterns import StringPredicate, compile_name_patterns
from assay.policy.language.publishers import PublisherMatcher, compile_builder_pattern, compile_publisher
from assay.policy.verdict import ReasonCode
from assay.simple.model import File, Kind, NormalizedName, Sha256

T = TypeVar("T")

CODES_BY_LIFT: Final[dict[Lift, frozenset[ReasonCode]]] = {
    Lift.INDEXES: frozenset({ReasonCode.INDEX}),
    Lift.TRUST: frozenset({ReasonCode.TRUST}),
    Lift.ATTESTATIONS: frozenset({ReasonCode.UNATTESTED, ReasonCode.UNVERIFIABLE}),
    Lift.PUBLISHERS: frozenset({ReasonCode.PUBLISHER}),
    Lift.PREDICATES: frozenset({ReasonCode.PREDICATE}),
    Lift.BUILDER: frozenset({ReasonCode.BUILDER}),
    Lift.MIN_AGE: frozenset({ReasonCode.TOO_YOUNG}),
    Lift.UPLOADED_BEFORE: frozenset({ReasonCode.UPLOADED_AFTER}),
    Lift.RATCHET: frozenset({ReasonCode.PROVENANCE_LOST, ReasonCode.PUBLISHER_CHANGED}),
    Lift.LATE_FILES: frozenset({ReasonCode.LATE_FILE}),
    Lift.TYPES: frozenset({ReasonCode.FILE_TYPE}),
    Lift.YANKED: frozenset({ReasonCode.YANKED}),
    Lift.PROJECT_STATUS: frozenset({ReasonCode.PROJECT_STATUS}),
    Lift.METADATA: frozenset({ReasonCode.METADATA_MISMATCH}),
    Lift.RELEASE: frozenset({ReasonCode.FILE_TYPE}),
}
"""Which reasons each word of `lifts` lifts. `release` shares its code with `types`, so that either lifts both."""
LIFT_BY_CODE: Final[dict[ReasonCode, Lift]] = {
    code: lift for lift, codes in reversed(CODES_BY_LIFT.items()) for code in codes
}
"""The word to ask for, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWaiver:
    """A waiver, compiled."""

    label: str
    versions: SpecifierSet | None
    sha256: frozenset[Sha256] | None
    uploaded_before: datetime | None
    lifted_codes: frozenset[ReasonCode]
    expires: datetime

    def covers(self, file: File, time: datetime | None) -> bool:
        """Whether it is for this file; `time` is the file's own, None where that is unknown."""
        if self.sha256 is not None and file.sha256 not in self.sha256:
            return False
        if self.uploaded_before is not None and not (time is not None and time < self.uploaded_before):
            return False
        if self.versions is None:
            return True
        return file.distribution is not None and self.versions.contains(file.distribution.version, prereleases=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRevocation:
    """A revocation, compiled."""

    label: str
    reason: str
    publishers: tuple[PublisherMatcher, ...]
    signed_from: datetime | None
    signed_until: datetime | None
    certificates: frozenset[str]
    log_indexes: range | None
    sha256: frozenset[Sha256]
    selects_project: bool
    versions: SpecifierSet | None

    @property
    def needs_evidence(self) -> bool:
        """Whether only evidence tells if a file is covered."""
        return bool(self.publishers or self.certificates or self.log_indexes is not None)

    def covers(self, file: File, attestations: tuple[Attestation, ...]) -> bool:
        """Whether this file is revoked."""
        if self.needs_evidence:
            return any(self._covers_attestation(attestation) for attestation in attestations)
        if self.selects_project:
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
class CompiledRule:
    """What one project's files are judged by."""

    label: str | None
    """Of the governing rule; None where none governs."""
    mode: Mode
    deny_reason: str | None
    pins: frozenset[Sha256]
    pinned_only: bool
    indexes: frozenset[str] | None
    trust_roots: frozenset[str] | None
    requires_attestations: bool
    publishers: tuple[PublisherMatcher, ...] | None
    """None where any Trusted Publisher will do."""
    predicates: frozenset[str]
    builders: tuple[StringPredicate, ...] | None
    builder_patterns: tuple[str, ...]
    min_age: timedelta
    min_age_attested: timedelta
    """For files of an established publisher."""
    uploaded_before: datetime | None
    ratchet: RatchetMode
    ratchet_settle: timedelta
    ratchet_except: SpecifierSet | None
    late_files: timedelta | None
    types: frozenset[Kind] | None
    allows_yanked: bool
    """Whether yanked files are allowed."""
    project_statuses: frozenset[str] | None
    requires_whole_release: bool
    requires_wheel_metadata: bool
    waivers: tuple[CompiledWaiver, ...]
    revocations: tuple[CompiledRevocation, ...]

    has_evidence_revocations: bool
    """Whether only evidence tells if some file is revoked."""
    partially_proven_publishers: tuple[PublisherMatcher, ...]
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
class _CompiledPolicy:
    """What of a policy is independent of the project."""

    rules: tuple[tuple[StringPredicate, str, Rule], ...]
    waivers: tuple[tuple[StringPredicate, CompiledWaiver], ...]
    revocations: tuple[tuple[StringPredicate, CompiledRevocation], ...]

    def find_rule(self, name: str) -> tuple[str, Rule] | None:
        return next(((label, rule) for covers, label, rule in self.rules if covers(name)), None)


@lru_cache(maxsize=4096)
def compile_rule(policy: Policy, name: NormalizedName) -> CompiledRule:
    """What `name`'s files are judged by."""
    book = _compile_policy(policy)
    repeals = tuple(repeal for covers, repeal in book.revocations if covers(name))
    label, rule = book.find_rule(name) or (None, None)
    merged = _merge_requirements(rule, policy.defaults)
    publishers = _compile_publishers(merged)
    min_age = merged.min_age or timedelta()
    compiled = CompiledRule(
        label=label,
        mode=(rule.mode if rule else None) or policy.mode,
        deny_reason=rule.deny if rule else None,
        pins=frozenset((rule.pins if rule else None) or ()),
        pinned_only=rule is not None and rule.pinned_only,
        indexes=_to_frozenset(merged.indexes),
        trust_roots=_to_frozenset(merged.trust),
        requires_attestations=merged.attestations is Attestations.REQUIRED,
        publishers=publishers,
        predicates=frozenset(merged.predicates or ()),
        builders=None if merged.builder is None else tuple(compile_builder_pattern(each) for each in merged.builder),
        builder_patterns=merged.builder or (),
        min_age=min_age,
        min_age_attested=min_age if merged.min_age_attested is None else min(min_age, merged.min_age_attested),
        uploaded_before=merged.uploaded_before,
        ratchet=merged.ratchet or RatchetMode.ENFORCE,
        ratchet_settle=DEFAULT_RATCHET_SETTLE if merged.ratchet_settle is None else merged.ratchet_settle,
        ratchet_except=merged.ratchet_except,
        late_files=merged.late_files,
        types=_to_frozenset(merged.types),
        allows_yanked=merged.yanked != "deny",
        project_statuses=_to_frozenset(merged.project_status),
        requires_whole_release=merged.release == "whole",
        requires_wheel_metadata=merged.metadata == "wheel",
        waivers=tuple(exemption for covers, exemption in book.waivers if covers(name)),
        revocations=repeals,
        has_evidence_revocations=any(repeal.needs_evidence for repeal in repeals),
        partially_proven_publishers=tuple(each for each in publishers or () if each.environment is not None),
    )
    return _with_short_ways(compiled)


def is_denied(policy: Policy, name: NormalizedName) -> bool:
    """Whether no file of the project can be approved, whatever it is: denied, or no rule governs.

    For the root list, whose hundreds of thousands of names are not worth compiling terms for.
    """
    governing = _compile_policy(policy).find_rule(name)
    return governing is None or governing[1].deny is not None


def _compile_publishers(merged: Requirements) -> tuple[PublisherMatcher, ...] | None:
    return (
        tuple(compile_publisher(each) for each in merged.publishers) if isinstance(merged.publishers, tuple) else None
    )


def _with_short_ways(rule: CompiledRule) -> CompiledRule:
    asks_of_page = not rule.allows_yanked or any(
        (rule.uploaded_before, rule.late_files is not None, rule.types, rule.project_statuses)
    )
    is_plain = rule.label is not None and not rule.revocations and rule.deny_reason is None and not rule.pinned_only
    any_bundle = not (rule.trust_roots or rule.builders or rule.predicates)
    return replace(
        rule,
        is_plain=is_plain,
        is_lean=is_plain and not rule.pins and rule.indexes is None and not asks_of_page,
        any_bundle=any_bundle,
        any_trusted=any_bundle and rule.publishers is None,
        asks_of_page=asks_of_page,
    )


def _to_frozenset(values: tuple[T, ...] | None) -> frozenset[T] | None:
    return None if values is None else frozenset(values)


def _merge_requirements(rule: Rule | None, defaults: Requirements) -> Requirements:
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
def _compile_policy(policy: Policy) -> _CompiledPolicy:
    return _CompiledPolicy(
        rules=tuple(
            (compile_name_patterns(rule.projects), rule.name or f"rules[{number}]", rule)
            for number, rule in enumerate(policy.rules)
        ),
        waivers=tuple(
            (compile_name_patterns(waiver.projects), _compile_waiver(waiver, f"waivers[{number}]"))
            for number, waiver in enumerate(policy.waivers)
        ),
        revocations=tuple(
            (compile_name_patterns(each.projects or ("*",)), _compile_revocation(each, f"revocations[{number}]"))
            for number, each in enumerate(policy.revocations)
        ),
    )


def _compile_waiver(waiver: Waiver, key_path: str) -> CompiledWaiver:
    return CompiledWaiver(
        label=waiver.name or f"{key_path}: {waiver.reason}",
        versions=waiver.versions,
        sha256=None if waiver.sha256 is None else frozenset(waiver.sha256),
        uploaded_before=waiver.uploaded_before,
        lifted_codes=frozenset().union(*(CODES_BY_LIFT[lift] for lift in waiver.lifts)),
        expires=waiver.expires,
    )


def _compile_revocation(revocation: Revocation, key_path: str) -> CompiledRevocation:
    start, stop = revocation.log_index_from, revocation.log_index_until
    return CompiledRevocation(
        label=revocation.name or key_path,
        reason=revocation.reason,
        publishers=tuple(compile_publisher(each) for each in revocation.publishers or ()),
        signed_from=revocation.signed_from,
        signed_until=revocation.signed_until,
        certificates=frozenset(revocation.certificates or ()),
        log_indexes=None if start is None or stop is None else range(start, stop),
        sha256=frozenset(revocation.sha256 or ()),
        selects_project=bool(revocation.projects),
        versions=revocation.versions,
    )
