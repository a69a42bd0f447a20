"""Policy language: each table and key of docs/policy.md as a frozen model. The models judge no files. Pure.

A `Policy` holds the values of a policy document. `assay.policy.requirements` defines those keys of a rule that are
requirements for files. Validators in this module refuse contradictory tables and name the wrong key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from assay.evidence import Attestation
from assay.policy.language.times import ExclusiveEnd, InclusiveStart
from assay.policy.language.values import (
    EXPECTED_LOG,
    AdvisoryId,
    Digest,
    Fingerprint,
    KeyReference,
    LogReference,
    NamePatterns,
    NonEmpty,
    Specifiers,
)
from assay.policy.requirements.attestations import AttestationMode
from assay.policy.requirements.base import RuleTerms, is_never_revoked
from assay.policy.requirements.registry import REQUIREMENTS
from assay.publishers.base import PrintableText
from assay.publishers.registry import Publisher
from assay.settings import Settings, make_key_error


class Mode(StrEnum):
    """Values of the key `mode`: requirements are enforced, or unmet requirements are only reported."""

    ENFORCE = "enforce"
    AUDIT = "audit"


class Showing(StrEnum):
    """Values of the key `withheld`: how pages list a version whose files are all withheld."""

    STOP = "stop"
    EXPLAIN = "explain"
    HIDE = "hide"


class MalwareMode(StrEnum):
    """Values of the key `malware`: what a malware advisory means for the files that it covers."""

    DENY = "deny"
    NOTE = "note"


class AdvisoryMode(StrEnum):
    """Values of the key `advisories`: whether pages and commands show the advisories that are not about malware."""

    NOTE = "note"
    OFF = "off"


Lift = StrEnum("Lift", [(each.lift.upper().replace("-", "_"), each.lift) for each in REQUIREMENTS])  # type: ignore[misc]  # the words come from the registry
Lift.__doc__ = "Requirements that a waiver can lift, each named by its key."

_KEYS = tuple(each.keys for each in reversed(REQUIREMENTS))
"""Models of the keys of all requirements. The order is reversed, because pydantic puts the fields of the last base
class first."""


def _find_implying_key(stated: Settings) -> str | None:
    """Return the first key in `stated` that implies ``attestations = "required"``; None if no key does."""
    keys = (key for each in REQUIREMENTS if each.implies_attestations for key in each.keys.model_fields)
    return next((key for key in keys if getattr(stated, key) is not None), None)


class Requirements(*_KEYS):  # type: ignore[misc]  # the keys come from the registry
    """Requirements for files. A rule inherits each key that it omits from `[defaults]`."""

    @model_validator(mode="after")
    def _check_attestations(self) -> Self:
        implying_key = _find_implying_key(self)
        if implying_key and self.attestations is AttestationMode.IF_PRESENT:
            raise make_key_error(
                "attestations",
                expected=f'"required", or no value, because the table has {implying_key}',
                found="if-present",
            )
        return self


class Rule(Requirements):
    """Rule for the projects that match `projects` and that no earlier rule matches."""

    name: PrintableText | None = None
    """Name of the rule in reasons, logs and metrics."""
    projects: NamePatterns
    """Project names that the rule governs; ``*`` and ``?`` are wildcards."""
    mode: Mode | None = None
    """``audit`` or ``enforce`` for the projects of this rule. Default: the policy's ``mode``."""
    deny: PrintableText | None = None
    """Withholds all files of these projects. Clients see this text as the reason."""
    pins: Annotated[tuple[Digest, ...], NonEmpty] | None = None
    """SHA-256 digests of files that are approved regardless of provenance and requirements. Revocations and
    always-on checks still apply."""
    pinned_only: StrictBool = False
    """If true, only the files in ``pins`` are approved."""

    @model_validator(mode="after")
    def _check_pins(self) -> Self:
        if self.pinned_only and not self.pins:
            raise make_key_error("pins", expected="at least one SHA-256, because pinned-only is true", found=None)
        return self


class Waiver(Settings):
    """Exception with an end date for files that already exist."""

    name: PrintableText | None = None
    """Name of the waiver in notes and logs."""
    projects: NamePatterns
    """Project names that the waiver covers; ``*`` and ``?`` are wildcards."""
    versions: Specifiers | None = None
    """Restricts the waiver to these versions."""
    sha256: Annotated[tuple[Digest, ...], NonEmpty] | None = None
    """Restricts the waiver to the files with these digests."""
    uploaded_before: ExclusiveEnd | None = None
    """Restricts the waiver to files that were uploaded before this instant. This key or ``sha256`` is required."""
    lifts: Annotated[tuple[Lift, ...], NonEmpty]
    """Requirements that the waiver lifts, each named by its key. A waiver never lifts a revocation, a denial, an
    always-on check or forged evidence."""
    expires: ExclusiveEnd
    """End of the waiver. From this instant on, the waiver lifts nothing."""
    reason: PrintableText
    """Reason for the waiver."""
    approved_by: PrintableText | None = None
    """Person or team that approved the waiver."""

    @model_validator(mode="after")
    def _check_covers_only_existing_files(self) -> Self:
        if not self.sha256 and self.uploaded_before is None:
            expected = "uploaded-before or sha256, because a waiver covers only files that exist already"
            raise make_key_error("uploaded-before", expected=expected, found=None)
        return self


class Revocation(Settings):
    """Withdrawal of trust from files, which overrules every approval.

    A revocation selects files in exactly one way. Two ways in one table could be read as "and" or as "or", and the
    wrong reading would revoke too little.
    """

    name: PrintableText | None = None
    """Name of the revocation in reasons and logs."""
    publishers: Annotated[tuple[Publisher, ...], NonEmpty] | None = None
    """Selects files that any of these publishers signed."""
    signed_from: InclusiveStart | None = None
    """With ``publishers``: selects only signatures from this instant on."""
    signed_until: ExclusiveEnd | None = None
    """With ``publishers``: selects only signatures before this instant."""
    certificates: Annotated[tuple[Fingerprint, ...], NonEmpty] | None = None
    """Selects files by the SHA-256 fingerprint of their signing certificate."""
    log_index_from: Annotated[int, Field(ge=0, strict=True)] | None = None
    """First index of a range of log entries. The files of these entries are revoked. Requires ``log-index-until``."""
    log_index_until: Annotated[int, Field(ge=0, strict=True)] | None = None
    """First log index after the range that begins at ``log-index-from``. Both keys are required together."""
    log: LogReference | None = None
    """Transparency log of the range: its id (64 hexadecimal digits) or its URL, as the trust root lists it. Required
    with ``log-index-from``."""
    sha256: Annotated[tuple[Digest, ...], NonEmpty] | None = None
    """Selects files by SHA-256 digest."""
    projects: NamePatterns | None = None
    """Selects all files of these projects; ``*`` and ``?`` are wildcards."""
    versions: Specifiers | None = None
    """With ``projects``: selects only these versions, compared by order: pre-releases, post-releases and local versions
    included."""
    keys: Annotated[tuple[KeyReference, ...], NonEmpty] | None = None
    """Names of keys in ``[trust.keys]`` whose countersignatures no longer count. Such a revocation withholds only files
    of rules with ``countersigned``."""
    reason: PrintableText
    """Reason for the revocation, which clients see."""

    @model_validator(mode="after")
    def _check_single_selector(self) -> Self:
        by_log = self.log_index_from is not None or self.log_index_until is not None
        ways = [key for key in ("publishers", "certificates", "sha256", "projects", "keys") if getattr(self, key)]
        ways += ["log-index-from"] if by_log else []
        if len(ways) != 1:
            expected = "one of publishers, certificates, log-index-from with log-index-until, sha256, projects, keys"
            raise make_key_error(ways[1] if ways else "publishers", expected=expected, found=" and ".join(ways) or None)
        if by_log and (self.log_index_from is None or self.log_index_until is None):
            missing = "log-index-until" if self.log_index_until is None else "log-index-from"
            raise make_key_error(missing, expected="both log-index-from and log-index-until", found=None)
        if by_log and self.log is None:
            raise make_key_error("log", expected=EXPECTED_LOG, found=None)
        if self.log is not None and not by_log:
            raise make_key_error("log", expected="log together with log-index-from", found=self.log)
        self._check_ranges()
        if self.versions is not None and not self.projects:
            raise make_key_error("versions", expected="versions together with projects", found=str(self.versions))
        if not self.publishers and (self.signed_from or self.signed_until):
            key = "signed-from" if self.signed_from else "signed-until"
            raise make_key_error(key, expected=f"{key} together with publishers", found=ways[0])
        return self

    def _check_ranges(self) -> None:
        """Raise an error if the range of log indexes or the period of signatures is empty.

        Raises:
            PydanticCustomError: the end is not after the start.
        """
        start, end = self.log_index_from, self.log_index_until
        if start is not None and end is not None and end <= start:
            raise make_key_error(
                "log-index-until", expected=f"at least {start + 1}, more than log-index-from", found=end
            )
        if self.signed_from is not None and self.signed_until is not None and self.signed_until <= self.signed_from:
            after = f"a time after signed-from, {self.signed_from.isoformat()}"
            raise make_key_error("signed-until", expected=after, found=self.signed_until)


class IgnoredAdvisory(Settings):
    """Advisory that does not count until an end date, because it is wrong or its risk is accepted."""

    id: AdvisoryId
    """Id of the advisory, such as ``MAL-2026-1234``. An alias of the advisory does not select it."""
    reason: PrintableText
    """Reason why the advisory is ignored."""
    expires: ExclusiveEnd
    """End of the exception. From this instant on, the advisory counts again."""


def _check_version(value: object) -> object:
    """Return the version if it is the integer 1. pydantic alone would also accept true and 1.0."""
    if type(value) is not int:
        raise ValueError("1")
    return value


class Policy(Settings):
    """Policy of an organisation. Two policies are equal if their digests are equal."""

    version: Annotated[Literal[1], BeforeValidator(_check_version)]
    """Version of the policy language: 1."""
    mode: Mode = Mode.ENFORCE
    """``enforce``: a file that does not meet the requirements is withheld. ``audit``: unmet requirements are only
    reported; revoked, malicious, denied and forged files are still withheld."""
    withheld: Showing = Showing.STOP
    """Listing of versions without an approved file. ``hide``: pages omit them. ``explain``: pages list them as yanked
    with the reason, which pip and uv print if the version is pinned. ``stop``: like ``explain`` if an approved version
    is lower; otherwise pages list them as available, so that an installer that chooses one is stopped with the
    reason."""
    malware: MalwareMode = MalwareMode.DENY
    """Effect of malware advisories (``MAL-…``), if the configuration has ``[[advisories]]``. ``deny``: a file that such
    a record covers is withheld, also in audit mode. ``note``: the record is only shown."""
    advisories: AdvisoryMode = AdvisoryMode.NOTE
    """Other advisories. ``note``: pages and commands show them. ``off``: they are not shown. They never withhold a
    file, because installers would then choose an older version."""
    show_withheld: StrictBool = True
    """If true, JSON pages have the key `_withheld` with the withheld files and their reasons."""
    defaults: Requirements = Requirements()
    """Default requirements for all rules."""
    rules: tuple[Rule, ...] = ()
    """Rules in order. The first rule whose ``projects`` match a name governs it; a name without a rule is withheld."""
    waivers: tuple[Waiver, ...] = ()
    """Exceptions with an end date for files that already exist."""
    revocations: tuple[Revocation, ...] = ()
    """Withdrawals of trust, which overrule every approval and also apply to cached files."""
    ignored_advisories: tuple[IgnoredAdvisory, ...] = ()
    """Advisories that do not count until an end date. Only this table lifts a malware advisory."""

    def find_ignored_advisory(self, advisory_id: str, now: datetime) -> IgnoredAdvisory | None:
        """Return the table that ignores this advisory at the time `now`; None if the advisory counts."""
        found = (each for each in self.ignored_advisories if each.id == advisory_id and each.expires > now)
        return max(found, key=lambda each: each.expires, default=None)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for number, rule in enumerate(self.rules):
            _check_merged_rule(rule, self.defaults, number)
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical form. Layout, comments and the spelling of values do not affect it."""
        canonical = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.digest == other.digest


def merge_requirements(rule: Rule | None, defaults: Requirements) -> Requirements:
    """Return the requirements of a rule, with the defaults for the keys that the rule omits.

    If a key makes attestations required, `attestations` is ``required`` in the result.
    """
    stated = {
        key: value
        for key in Requirements.model_fields
        if (value := getattr(rule, key, None)) is not None or (value := getattr(defaults, key)) is not None
    }
    merged: Requirements = Requirements.model_construct(**stated)
    if _find_implying_key(merged) is not None:
        merged = Requirements.model_construct(**stated | {"attestations": AttestationMode.REQUIRED})
    return merged


def get_rule_terms(
    merged: Requirements,
    label: str | None,
    revoked_keys: frozenset[str] = frozenset(),
    is_revoked: Callable[[Attestation], bool] = is_never_revoked,
) -> RuleTerms:
    """Return the facts about a rule that its requirements need; `merged` is the result of `merge_requirements`."""
    return RuleTerms(
        label=label,
        requires_attestations=merged.attestations is AttestationMode.REQUIRED,
        names_publishers=isinstance(merged.publishers, tuple),
        sources=None if merged.evidence is None else frozenset(merged.evidence),
        revoked_keys=revoked_keys,
        is_revoked=is_revoked,
    )


def _check_merged_rule(rule: Rule, defaults: Requirements, number: int) -> None:
    """Raise an error if a rule contradicts the defaults, or requires attestations but names no `publishers`."""
    merged = merge_requirements(rule, defaults)
    implying_key = _find_implying_key(merged)
    if implying_key and rule.attestations is AttestationMode.IF_PRESENT:
        key = ("rules", number, "attestations")
        raise make_key_error(
            key, expected=f'"required", or no value, because [defaults] has {implying_key}', found="if-present"
        )
    if merged.attestations is AttestationMode.REQUIRED and merged.publishers is None and rule.deny is None:
        raise make_key_error(
            ("rules", number, "publishers"),
            expected="a value, because attestations are required",
            found=None,
            remedy='add publishers = "any", or name publishers',
        )
