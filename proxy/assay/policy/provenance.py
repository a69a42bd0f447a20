"""Which attestations count under a rule, and what they lack: `trust`, `publishers`, `builder`, `predicates`. Pure.

"One bundle that matches a publisher and carries all `predicates` suffices", and its attestations must meet all of the
others as well. Where one requirement fails, the next are held against the same attestations, so that a waiver of the
one does not lift the others.
"""

from __future__ import annotations

from functools import lru_cache

from assay.evidence import Attestation, Attested, Evidence, Forged, Unattested, Unverifiable
from assay.policy.compiled import CompiledRule
from assay.policy.language.publishers import describe_publisher, describe_signer
from assay.policy.verdict import Reason, ReasonCode

_NO_ATTESTATIONS: tuple[Attestation, ...] = ()
_PRIVILEGED_TRIGGERS = frozenset({"pull_request_target", "workflow_run"})
"""Triggers under which a stranger's pull request can run with the repository's own rights."""


def select_attestations(
    evidence: Evidence | None, rule: CompiledRule
) -> tuple[tuple[Attestation, ...], tuple[Reason, ...]]:
    """The attestations that count, and what is wrong with them or with there being none."""
    # In this order, because thousands of a page are one of the first two.
    match evidence:
        case Unattested():
            return _NO_ATTESTATIONS, _make_unattested_reasons(rule.label) if rule.requires_attestations else ()
        case Attested():
            found = evidence.attestations
            if len(found) == 1 and rule.any_trusted and found[0].claims.kind is not None:
                return found, ()
            if found:
                return _apply_requirements(found, rule)
            return _NO_ATTESTATIONS, _make_unattested_reasons(rule.label) if rule.requires_attestations else ()
        case None | Forged():
            return _NO_ATTESTATIONS, ()
        case Unverifiable(reason=reason):
            return _NO_ATTESTATIONS, _make_unverifiable_reasons(
                rule.label, reason
            ) if rule.requires_attestations else ()


def _apply_requirements(
    attestations: tuple[Attestation, ...], rule: CompiledRule
) -> tuple[tuple[Attestation, ...], tuple[Reason, ...]]:
    if rule.any_bundle and len(attestations) == 1 and _is_by_allowed_publisher(attestations[0], rule):
        return attestations, ()
    doubts = []
    counted = attestations
    if rule.trust_roots is not None:
        trusted = tuple(each for each in counted if each.trust_root in rule.trust_roots)
        if not trusted:
            doubts.append(_make_trust_reason(rule, counted))
        counted = trusted or counted
    matching = tuple(each for each in counted if _is_by_allowed_publisher(each, rule))
    if not matching and rule.requires_attestations:
        doubts.append(_make_publisher_reason(rule, counted))
    # Nobody but a Trusted Publisher ever counts: a person's signature is genuine and proves nothing about a project.
    counted = matching or tuple(each for each in counted if each.claims.kind is not None)
    if rule.builders is not None:
        built = tuple(each for each in counted if _is_built_by_allowed_builder(each, rule))
        if not built:
            doubts.append(_make_builder_reason(rule, counted))
        counted = built or counted
    if rule.predicates and not _has_all_predicates(counted, rule):
        doubts.append(_make_predicate_reason(rule, counted))
    return counted, tuple(doubts)


def collect_provenance_notes(attestations: tuple[Attestation, ...], rule: CompiledRule) -> tuple[str, ...]:
    """What is worth knowing of the attestations that count, and withholds nothing."""
    if (
        len(attestations) == 1
        and not rule.partially_proven_publishers
        and attestations[0].claims.trigger not in _PRIVILEGED_TRIGGERS
    ):
        return ()
    told: list[str] = []
    for each in attestations:
        if each.claims.trigger in _PRIVILEGED_TRIGGERS:
            told.append(f"signed under {each.claims.trigger}, which a stranger's pull request may set off")
        for publisher in rule.partially_proven_publishers:
            if publisher.covers(each):
                told.extend(publisher.note_unproven(each))
    return tuple(told)


def _is_by_allowed_publisher(attestation: Attestation, rule: CompiledRule) -> bool:
    if rule.publishers is None:
        return attestation.claims.kind is not None
    for publisher in rule.publishers:  # noqa: SIM110 - `any` and a generator cost 0.3 µs a file
        if publisher.covers(attestation):
            return True
    return False


def _is_built_by_allowed_builder(attestation: Attestation, rule: CompiledRule) -> bool:
    uri = attestation.claims.builder
    return uri is not None and any(matches(uri) for matches in rule.builders or ())


def _has_all_predicates(attestations: tuple[Attestation, ...], rule: CompiledRule) -> bool:
    carried: dict[int, set[str]] = {}
    for each in attestations:
        carried.setdefault(each.bundle, set()).add(each.predicate_type)
    return any(rule.predicates <= types for types in carried.values())


@lru_cache(maxsize=1024)
def _make_unattested_reasons(label: str | None) -> tuple[Reason]:
    return (
        Reason(
            code=ReasonCode.UNATTESTED,
            rule=label,
            message='it has no attestation, which the rule requires; ask for a waiver of "attestations"',
            expected="a verified attestation",
            found="none",
        ),
    )


@lru_cache(maxsize=1024)
def _make_unverifiable_reasons(label: str | None, reason: str) -> tuple[Reason]:
    return (
        Reason(
            code=ReasonCode.UNVERIFIABLE,
            rule=label,
            message=f'its attestation cannot be verified here ({reason}); ask for a waiver of "attestations"',
            expected="an attestation that this trust root and verifier know",
            found=reason,
        ),
    )


def _make_trust_reason(rule: CompiledRule, attestations: tuple[Attestation, ...]) -> Reason:
    roots = ", ".join(sorted({each.trust_root for each in attestations}))
    expected = " or ".join(sorted(rule.trust_roots or ()))
    return Reason(
        code=ReasonCode.TRUST,
        rule=rule.label,
        message=f'its attestation is vouched for by {roots}, the rule asks for {expected}; ask for a waiver of "trust"',
        expected=expected,
        found=roots,
    )


def _make_publisher_reason(rule: CompiledRule, attestations: tuple[Attestation, ...]) -> Reason:
    signers = "; ".join(dict.fromkeys(describe_signer(each.claims) for each in attestations))
    wanted = "any Trusted Publisher"
    if rule.publishers is not None:
        wanted = " or ".join(describe_publisher(each.publisher) for each in rule.publishers)
    return Reason(
        code=ReasonCode.PUBLISHER,
        rule=rule.label,
        message=f'it is signed by {signers}, the rule asks for {wanted}; ask for a waiver of "publishers"',
        expected=wanted,
        found=signers,
    )


def _make_builder_reason(rule: CompiledRule, attestations: tuple[Attestation, ...]) -> Reason:
    wanted = " or ".join(rule.builder_patterns)
    built = "; ".join(sorted({each.claims.builder or "none" for each in attestations})) or "none"
    return Reason(
        code=ReasonCode.BUILDER,
        rule=rule.label,
        message=f'it was built by {built}, the rule asks for {wanted}; ask for a waiver of "builder"',
        expected=wanted,
        found=built,
    )


def _make_predicate_reason(rule: CompiledRule, attestations: tuple[Attestation, ...]) -> Reason:
    wanted = " and ".join(sorted(rule.predicates))
    carried = ", ".join(sorted({each.predicate_type for each in attestations})) or "none"
    return Reason(
        code=ReasonCode.PREDICATE,
        rule=rule.label,
        message=(
            f"its attestations state {carried}, the rule asks for {wanted} in one bundle; "
            'ask for a waiver of "predicates"'
        ),
        expected=wanted,
        found=carried,
    )
