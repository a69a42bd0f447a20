"""Which attestations count under a rule, and what they lack: `trust`, `publishers`, `builder`, `predicates`. Pure.

"One bundle that matches a publisher and carries all `predicates` suffices", and its attestations must meet all of the
others as well. Where one requirement fails, the next are held against the same attestations, so that a waiver of the
one does not lift the others.
"""

from __future__ import annotations

from functools import lru_cache

from assay.evidence import Attestation, Attested, Evidence, Forged, Unattested, Unverifiable
from assay.policy.compiled import Terms
from assay.policy.language.publishers import describe, describe_claims
from assay.policy.verdict import Code, Reason

_NONE: tuple[Attestation, ...] = ()
_PRIVILEGED = frozenset({"pull_request_target", "workflow_run"})
"""Triggers under which a stranger's pull request can run with the repository's own rights."""


def count(evidence: Evidence | None, terms: Terms) -> tuple[tuple[Attestation, ...], tuple[Reason, ...]]:
    """The attestations that count, and what is wrong with them or with there being none."""
    # In this order, because thousands of a page are one of the first two.
    match evidence:
        case Unattested():
            return _NONE, _unattested(terms.label) if terms.required else ()
        case Attested():
            found = evidence.attestations
            if len(found) == 1 and terms.any_trusted and found[0].claims.kind is not None:
                return found, ()
            if found:
                return _count(found, terms)
            return _NONE, _unattested(terms.label) if terms.required else ()
        case None | Forged():
            return _NONE, ()
        case Unverifiable(reason=reason):
            return _NONE, _unverifiable(terms.label, reason) if terms.required else ()


def _count(found: tuple[Attestation, ...], terms: Terms) -> tuple[tuple[Attestation, ...], tuple[Reason, ...]]:
    if terms.any_bundle and len(found) == 1 and _is_by_publisher(found[0], terms):
        return found, ()
    doubts = []
    counted = found
    if terms.trust is not None:
        trusted = tuple(each for each in counted if each.trust_root in terms.trust)
        if not trusted:
            doubts.append(_trust(terms, counted))
        counted = trusted or counted
    matching = tuple(each for each in counted if _is_by_publisher(each, terms))
    if not matching and terms.required:
        doubts.append(_publisher(terms, counted))
    # Nobody but a Trusted Publisher ever counts: a person's signature is genuine and proves nothing about a project.
    counted = matching or tuple(each for each in counted if each.claims.kind is not None)
    if terms.builders is not None:
        built = tuple(each for each in counted if _is_built(each, terms))
        if not built:
            doubts.append(_builder(terms, counted))
        counted = built or counted
    if terms.predicates and not _carries_all(counted, terms):
        doubts.append(_predicate(terms, counted))
    return counted, tuple(doubts)


def notes(counted: tuple[Attestation, ...], terms: Terms) -> tuple[str, ...]:
    """What is worth knowing of the attestations that count, and withholds nothing."""
    if len(counted) == 1 and not terms.noting and counted[0].claims.trigger not in _PRIVILEGED:
        return ()
    told: list[str] = []
    for each in counted:
        if each.claims.trigger in _PRIVILEGED:
            told.append(f"signed under {each.claims.trigger}, which a stranger's pull request may set off")
        for publisher in terms.noting:
            if publisher.covers(each):
                told.extend(publisher.notes(each))
    return tuple(told)


def _is_by_publisher(attestation: Attestation, terms: Terms) -> bool:
    if terms.publishers is None:
        return attestation.claims.kind is not None
    for publisher in terms.publishers:  # noqa: SIM110 - `any` and a generator cost 0.3 µs a file
        if publisher.covers(attestation):
            return True
    return False


def _is_built(attestation: Attestation, terms: Terms) -> bool:
    uri = attestation.claims.builder
    return uri is not None and any(matches(uri) for matches in terms.builders or ())


def _carries_all(counted: tuple[Attestation, ...], terms: Terms) -> bool:
    carried: dict[int, set[str]] = {}
    for each in counted:
        carried.setdefault(each.bundle, set()).add(each.predicate_type)
    return any(terms.predicates <= types for types in carried.values())


@lru_cache(maxsize=1024)
def _unattested(label: str | None) -> tuple[Reason]:
    return (
        Reason(
            code=Code.UNATTESTED,
            rule=label,
            message='it has no attestation, which the rule requires; ask for a waiver of "attestations"',
            expected="a verified attestation",
            found="none",
        ),
    )


@lru_cache(maxsize=1024)
def _unverifiable(label: str | None, reason: str) -> tuple[Reason]:
    return (
        Reason(
            code=Code.UNVERIFIABLE,
            rule=label,
            message=f'its attestation cannot be verified here ({reason}); ask for a waiver of "attestations"',
            expected="an attestation that this trust root and verifier know",
            found=reason,
        ),
    )


def _trust(terms: Terms, found: tuple[Attestation, ...]) -> Reason:
    roots = ", ".join(sorted({each.trust_root for each in found}))
    expected = " or ".join(sorted(terms.trust or ()))
    return Reason(
        code=Code.TRUST,
        rule=terms.label,
        message=f'its attestation is vouched for by {roots}, the rule asks for {expected}; ask for a waiver of "trust"',
        expected=expected,
        found=roots,
    )


def _publisher(terms: Terms, found: tuple[Attestation, ...]) -> Reason:
    signers = "; ".join(dict.fromkeys(describe_claims(each.claims) for each in found))
    wanted = "any Trusted Publisher"
    if terms.publishers is not None:
        wanted = " or ".join(describe(each.publisher) for each in terms.publishers)
    return Reason(
        code=Code.PUBLISHER,
        rule=terms.label,
        message=f'it is signed by {signers}, the rule asks for {wanted}; ask for a waiver of "publishers"',
        expected=wanted,
        found=signers,
    )


def _builder(terms: Terms, found: tuple[Attestation, ...]) -> Reason:
    wanted = " or ".join(terms.builder_patterns)
    built = "; ".join(sorted({each.claims.builder or "none" for each in found})) or "none"
    return Reason(
        code=Code.BUILDER,
        rule=terms.label,
        message=f'it was built by {built}, the rule asks for {wanted}; ask for a waiver of "builder"',
        expected=wanted,
        found=built,
    )


def _predicate(terms: Terms, found: tuple[Attestation, ...]) -> Reason:
    wanted = " and ".join(sorted(terms.predicates))
    carried = ", ".join(sorted({each.predicate_type for each in found})) or "none"
    return Reason(
        code=Code.PREDICATE,
        rule=terms.label,
        message=(
            f"its attestations state {carried}, the rule asks for {wanted} in one bundle; "
            'ask for a waiver of "predicates"'
        ),
        expected=wanted,
        found=carried,
    )
