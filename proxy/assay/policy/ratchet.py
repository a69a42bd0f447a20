"""Provenance continuity: what the ratchet says of one file, and what an approved file adds to its memory. Pure.

Once some publisher is established, a file later than that which has no attestation (`provenance-lost`) or one by a
publisher that is not established (`publisher-changed`) is withheld; before that the ratchet says nothing. Another
workflow or environment of an established publisher is a note (docs/policy-semantics.md, "Ratchet").
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version

from assay.evidence import Attestation, Attested, Claims, Forged, PublisherIdentity, Unverifiable, identify_publisher
from assay.policy.candidate import FileFacts, PageContext, compute_existence_time
from assay.policy.compiled import CompiledRule
from assay.policy.continuity import RatchetState, SignerKey, SignerStatus, SigningOrigin
from assay.policy.language.model import RatchetMode
from assay.policy.language.publishers import describe_signer, name_signer
from assay.policy.language.times import format_instant
from assay.policy.verdict import Reason, ReasonCode
from assay.ports import EstablishedIdentity
from assay.simple.model import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class RatchetOutcome:
    """What the ratchet says of a file."""

    reason: Reason | None = None
    note: str | None = None
    is_undetermined: bool = False
    """It cannot be said before the evidence of earlier files is known."""


NO_OBJECTION = RatchetOutcome()
_UNDETERMINED = RatchetOutcome(is_undetermined=True)


def find_signers(facts: FileFacts, context: PageContext) -> dict[PublisherIdentity, datetime]:
    """Who is proven to have signed this file, and when; what the ledger proved of this digest counts as well."""
    if facts.signers is not None:
        return facts.signers
    facts.signers = found = dict[PublisherIdentity, datetime]()
    for attestation in facts.relevant_attestations:
        identity = identify_publisher(attestation)
        if identity is not None:
            logged = attestation.integrated_time
            found[identity] = min(logged, found.get(identity, logged))
    if context.established_by_file:
        for fact in context.established_by_file.get((facts.file.filename, facts.file.sha256), ()):
            if fact.identity not in found and fact.identity not in _find_ignored_signers(facts):
                found[fact.identity] = fact.logged
    return found


def apply_ratchet(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> RatchetOutcome:
    """What the ratchet says of this file, given what the files before it established."""
    continuity = context.ratchet_state
    if rule.ratchet is RatchetMode.OFF or (
        continuity.established_since is None and not continuity.has_unknown_evidence
    ):
        return NO_OBJECTION
    since = _find_established_since(facts, continuity)
    if since is not None and since <= now:
        # The long way would find the signer established and nothing moved.
        facts.has_familiar_signer = since <= facts.relevant_attestations[0].integrated_time <= now
        return NO_OBJECTION
    if isinstance(facts.evidence, Forged) or _is_excepted(facts, rule):
        return NO_OBJECTION
    if rule.publishers is not None and facts.relevant_attestations and not facts.provenance_failures:
        return NO_OBJECTION  # "established … when a rule names it"
    found = find_signers(facts, context)
    standing, until = continuity.get_signer_status(found, now)
    if standing is SignerStatus.ESTABLISHED:
        return _note_changed_origin(facts, context)
    if not continuity.applies_to(compute_existence_time(facts, now), now):
        return _UNDETERMINED if continuity.has_unknown_evidence else NO_OBJECTION
    if not found and not isinstance(facts.evidence, Attested):
        return RatchetOutcome(reason=_make_lost_reason(facts, rule))
    if standing is SignerStatus.UNDETERMINED:
        return _UNDETERMINED
    return RatchetOutcome(reason=_make_changed_reason(facts, rule, context, until))


def assess_signers(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime
) -> tuple[SignerStatus, datetime | None]:
    """Whether an established publisher signed this file, for `min-age-attested`."""
    if not facts.relevant_attestations:
        return SignerStatus.UNKNOWN, None
    if rule.publishers is not None and not facts.provenance_failures:
        return SignerStatus.ESTABLISHED, None
    return context.ratchet_state.get_signer_status(find_signers(facts, context), now)


def establish_signers(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> None:
    """Let `context.continuity` learn whom this approved file establishes, once it has settled.

    Nobody new, where the file is `familiar`.

    Beside an established publisher's signature another one establishes nobody: it would ride along.
    """
    continuity = context.ratchet_state
    since = _find_established_since(facts, continuity)
    if (
        since is not None
        and not context.established_by_file
        and facts.relevant_attestations[0].integrated_time + rule.ratchet_settle >= since
    ):
        return  # the same signer under the same names, settled no earlier than is known
    found = find_signers(facts, context)
    if continuity.applies_to(compute_existence_time(facts, now), now):
        found = {each: logged for each, logged in found.items() if each in continuity.established} or found
    for identity, logged in found.items():
        settled = logged + rule.ratchet_settle
        # It could not be approved before it was there, whatever its log entry says.
        continuity.establish(identity, settled if facts.effective_time is None else max(settled, facts.effective_time))
    for attestation in facts.relevant_attestations:
        signer = identify_publisher(attestation)
        if signer is not None and signer in found:
            continuity.origins.setdefault(signer, set()).add(_make_signing_origin(attestation.claims))
            continuity.established_signers[_make_signer_key(attestation)] = continuity.established[signer]


def derive_established_facts(facts: FileFacts, context: PageContext) -> tuple[EstablishedIdentity, ...]:
    """What the ledger is to remember of an approved file: those of its signers who are publishers of the project."""
    file = facts.file
    if file.sha256 is None:
        return ()
    return tuple(
        EstablishedIdentity(identity=identity, filename=file.filename, sha256=file.sha256, logged=logged)
        for identity, logged in find_signers(facts, context).items()
        if identity in context.ratchet_state.established
    )


def depends_on_wheels(facts: FileFacts, wheel_versions: Container[Version]) -> bool:
    """Whether a source archive stands or falls with its wheels under `release = "whole"`, and so establishes nobody."""
    distribution = facts.file.distribution
    return distribution is not None and distribution.kind is Kind.SDIST and distribution.version in wheel_versions


def _find_established_since(facts: FileFacts, continuity: RatchetState) -> datetime | None:
    """The short way for what is signed exactly as files before it, as most are: from when their signer is established.

    Not so early, perhaps, as by now is known from files that were signed otherwise.
    """
    if not continuity.established_signers or len(facts.relevant_attestations) != 1:
        return None
    return continuity.established_signers.get(_make_signer_key(facts.relevant_attestations[0]))


def _make_signer_key(attestation: Attestation) -> SignerKey:
    claims = attestation.claims
    return (
        attestation.trust_root,
        claims.issuer,
        claims.repository_id,
        claims.repository,
        claims.email,
        claims.project_id,
        claims.workflow,
        claims.environment,
    )


def _find_ignored_signers(facts: FileFacts) -> set[PublisherIdentity | None]:
    """Signers whom the rule sees and does not count: another view's policy, or an earlier one, may have."""
    if not isinstance(facts.evidence, Attested):
        return set()
    return {identify_publisher(each) for each in facts.evidence.attestations if each not in facts.relevant_attestations}


def _make_signing_origin(claims: Claims) -> SigningOrigin:
    return claims.repository, claims.workflow, claims.environment


def _note_changed_origin(facts: FileFacts, context: PageContext) -> RatchetOutcome:
    """A note where the same publisher signs under another name than before."""
    for attestation in facts.relevant_attestations:
        before = context.ratchet_state.origins.get(identify_publisher(attestation))  # type: ignore[arg-type]  # None is in no dict
        if before and (origin := _make_signing_origin(attestation.claims)) not in before:
            names = ("repository", "workflow", "environment")
            latest = max(before, key=str)  # any of them, but always the same
            changes = [
                f"{name} {new or 'none'}, before {old or 'none'}"
                for name, new, old in zip(names, origin, latest, strict=True)
                if new != old
            ]
            return RatchetOutcome(note=f"the same publisher under another name: {'; '.join(changes)}")
    return NO_OBJECTION


def _is_excepted(facts: FileFacts, rule: CompiledRule) -> bool:
    distribution = facts.file.distribution
    return (
        rule.ratchet_except is not None
        and distribution is not None
        and rule.ratchet_except.contains(distribution.version, prereleases=True)
    )


def _make_lost_reason(facts: FileFacts, rule: CompiledRule) -> Reason:
    why = f" that can be verified ({facts.evidence.reason})" if isinstance(facts.evidence, Unverifiable) else ""
    # Short enough to reach pip's console whole, with rule and nearest version.
    message = f'it has no attestation{why}, but earlier files of the project have; ask for a waiver of "ratchet"'
    return Reason(
        code=ReasonCode.PROVENANCE_LOST,
        rule=rule.label,
        message=message,
        expected="an attestation by an established publisher",
        found="none",
    )


def _make_changed_reason(facts: FileFacts, rule: CompiledRule, context: PageContext, until: datetime | None) -> Reason:
    signers = (
        "; ".join(dict.fromkeys(describe_signer(each.claims) for each in facts.relevant_attestations))
        or "somebody unknown"
    )
    short = (
        ", ".join(dict.fromkeys(name_signer(each.claims) for each in facts.relevant_attestations)) or "somebody unknown"
    )
    known = ", ".join(sorted({_name_identity(each, context) for each in context.ratchet_state.established}))
    heal = f"allowed from {format_instant(until)}" if until else 'name it in a rule, or ask for a waiver of "ratchet"'
    return Reason(
        code=ReasonCode.PUBLISHER_CHANGED,
        rule=rule.label,
        message=f"it is signed by {short}, who is not established for this project; {heal}",
        expected=known,
        found=signers,
        until=until,
    )


def _name_identity(identity: PublisherIdentity, context: PageContext) -> str:
    """An identity as people know it, where an earlier file of the page tells."""
    repositories = sorted(origin[0] for origin in context.ratchet_state.origins.get(identity, ()) if origin[0])
    return f"{repositories[0]} ({identity.subject})" if repositories else identity.subject
