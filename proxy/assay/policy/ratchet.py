"""Provenance continuity: what the ratchet says of one file, and what an approved file adds to its memory. Pure.

"Once some publisher is established, a file later than that which has no attestation (`provenance-lost`) or one by a
publisher that is not established (`publisher-changed`) is withheld; before that the ratchet says nothing. Another
workflow or environment of it is a note" (POLICY.md).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version

from assay.evidence import Attestation, Attested, Claims, Forged, Identity, Unverifiable, identity_of
from assay.policy.candidate import Context, Exhibit, existed
from assay.policy.compiled import Terms
from assay.policy.continuity import Continuity, Origin, Signature, Standing
from assay.policy.language.model import RatchetMode
from assay.policy.language.publishers import describe_claims, name_claims
from assay.policy.language.times import show
from assay.policy.verdict import Code, Reason
from assay.ports import Established
from assay.simple.model import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What the ratchet says of a file."""

    reason: Reason | None = None
    note: str | None = None
    is_open: bool = False
    """It cannot be said before the evidence of earlier files is known."""


SILENT = Opinion()
_OPEN = Opinion(is_open=True)


def identities(exhibit: Exhibit, context: Context) -> dict[Identity, datetime]:
    """Who is proven to have signed this file, and when; what the ledger proved of this digest counts as well."""
    if exhibit.signers is not None:
        return exhibit.signers
    exhibit.signers = found = dict[Identity, datetime]()
    for attestation in exhibit.counted:
        identity = identity_of(attestation)
        if identity is not None:
            logged = attestation.integrated_time
            found[identity] = min(logged, found.get(identity, logged))
    if context.facts:
        for fact in context.facts.get((exhibit.file.filename, exhibit.file.sha256), ()):
            if fact.identity not in found and fact.identity not in _passed_over(exhibit):
                found[fact.identity] = fact.logged
    return found


def opinion(exhibit: Exhibit, terms: Terms, context: Context, now: datetime) -> Opinion:
    """What the ratchet says of this file, given what the files before it established."""
    continuity = context.continuity
    if terms.ratchet is RatchetMode.OFF or (continuity.since is None and not continuity.open):
        return SILENT
    since = _known_since(exhibit, continuity)
    if since is not None and since <= now:
        # The long way would find the signer established and nothing moved.
        exhibit.familiar = since <= exhibit.counted[0].integrated_time <= now
        return SILENT
    if isinstance(exhibit.evidence, Forged) or _is_excepted(exhibit, terms):
        return SILENT
    if terms.publishers is not None and exhibit.counted and not exhibit.doubts:
        return SILENT  # "established … when a rule names it"
    found = identities(exhibit, context)
    standing, until = continuity.standing(found, now)
    if standing is Standing.ESTABLISHED:
        return _moved(exhibit, context)
    if not continuity.holds(existed(exhibit, now), now):
        return _OPEN if continuity.open else SILENT
    if not found and not isinstance(exhibit.evidence, Attested):
        return Opinion(reason=_lost(exhibit, terms))
    if standing is Standing.OPEN:
        return _OPEN
    return Opinion(reason=_changed(exhibit, terms, context, until))


def is_established(exhibit: Exhibit, terms: Terms, context: Context, now: datetime) -> tuple[Standing, datetime | None]:
    """Whether an established publisher signed this file, for `min-age-attested`."""
    if not exhibit.counted:
        return Standing.STRANGER, None
    if terms.publishers is not None and not exhibit.doubts:
        return Standing.ESTABLISHED, None
    return context.continuity.standing(identities(exhibit, context), now)


def remember(exhibit: Exhibit, terms: Terms, context: Context, now: datetime) -> None:
    """Let `context.continuity` learn whom this approved file establishes, once it has settled.

    Nobody new, where the file is `familiar`.

    Beside an established publisher's signature another one establishes nobody: it would ride along.
    """
    continuity = context.continuity
    since = _known_since(exhibit, continuity)
    if since is not None and not context.facts and exhibit.counted[0].integrated_time + terms.settle >= since:
        return  # the same signer under the same names, settled no earlier than is known
    found = identities(exhibit, context)
    if continuity.holds(existed(exhibit, now), now):
        found = {each: logged for each, logged in found.items() if each in continuity.established} or found
    for identity, logged in found.items():
        settled = logged + terms.settle
        # It could not be approved before it was there, whatever its log entry says.
        continuity.add(identity, settled if exhibit.time is None else max(settled, exhibit.time))
    for attestation in exhibit.counted:
        signer = identity_of(attestation)
        if signer is not None and signer in found:
            continuity.origins.setdefault(signer, set()).add(_origin(attestation.claims))
            continuity.familiar[_signature(attestation)] = continuity.established[signer]


def facts_of(exhibit: Exhibit, context: Context) -> tuple[Established, ...]:
    """What the ledger is to remember of an approved file: those of its signers who are publishers of the project."""
    file = exhibit.file
    if file.sha256 is None:
        return ()
    return tuple(
        Established(identity=identity, filename=file.filename, sha256=file.sha256, logged=logged)
        for identity, logged in identities(exhibit, context).items()
        if identity in context.continuity.established
    )


def builds_on_wheels(exhibit: Exhibit, wheels: Container[Version]) -> bool:
    """Whether a source archive stands or falls with its wheels under `release = "whole"`, and so establishes nobody."""
    distribution = exhibit.file.distribution
    return distribution is not None and distribution.kind is Kind.SDIST and distribution.version in wheels


def _known_since(exhibit: Exhibit, continuity: Continuity) -> datetime | None:
    """The short way for what is signed exactly as files before it, as most are: from when their signer is established.

    Not so early, perhaps, as by now is known from files that were signed otherwise.
    """
    if not continuity.familiar or len(exhibit.counted) != 1:
        return None
    return continuity.familiar.get(_signature(exhibit.counted[0]))


def _signature(attestation: Attestation) -> Signature:
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


def _passed_over(exhibit: Exhibit) -> set[Identity | None]:
    """Signers whom the rule sees and does not count: another view's policy, or an earlier one, may have."""
    if not isinstance(exhibit.evidence, Attested):
        return set()
    return {identity_of(each) for each in exhibit.evidence.attestations if each not in exhibit.counted}


def _origin(claims: Claims) -> Origin:
    return claims.repository, claims.workflow, claims.environment


def _moved(exhibit: Exhibit, context: Context) -> Opinion:
    """A note where the same publisher signs under another name than before."""
    for attestation in exhibit.counted:
        before = context.continuity.origins.get(identity_of(attestation))  # type: ignore[arg-type]  # None is in no dict
        if before and (origin := _origin(attestation.claims)) not in before:
            names = ("repository", "workflow", "environment")
            latest = max(before, key=str)  # any of them, but always the same
            changes = [
                f"{name} {new or 'none'}, before {old or 'none'}"
                for name, new, old in zip(names, origin, latest, strict=True)
                if new != old
            ]
            return Opinion(note=f"the same publisher under another name: {'; '.join(changes)}")
    return SILENT


def _is_excepted(exhibit: Exhibit, terms: Terms) -> bool:
    distribution = exhibit.file.distribution
    return (
        terms.ratchet_except is not None
        and distribution is not None
        and terms.ratchet_except.contains(distribution.version, prereleases=True)
    )


def _lost(exhibit: Exhibit, terms: Terms) -> Reason:
    why = f" that can be verified ({exhibit.evidence.reason})" if isinstance(exhibit.evidence, Unverifiable) else ""
    # Short enough to reach pip's console whole, with rule and nearest version.
    message = f'it has no attestation{why}, but earlier files of the project have; ask for a waiver of "ratchet"'
    return Reason(
        code=Code.PROVENANCE_LOST,
        rule=terms.label,
        message=message,
        expected="an attestation by an established publisher",
        found="none",
    )


def _changed(exhibit: Exhibit, terms: Terms, context: Context, until: datetime | None) -> Reason:
    signers = "; ".join(dict.fromkeys(describe_claims(each.claims) for each in exhibit.counted)) or "somebody unknown"
    short = ", ".join(dict.fromkeys(name_claims(each.claims) for each in exhibit.counted)) or "somebody unknown"
    known = ", ".join(sorted({_name(each, context) for each in context.continuity.established}))
    heal = f"allowed from {show(until)}" if until else 'name it in a rule, or ask for a waiver of "ratchet"'
    return Reason(
        code=Code.PUBLISHER_CHANGED,
        rule=terms.label,
        message=f"it is signed by {short}, who is not established for this project; {heal}",
        expected=known,
        found=signers,
        until=until,
    )


def _name(identity: Identity, context: Context) -> str:
    """An identity as people know it, where an earlier file of the page tells."""
    repositories = sorted(origin[0] for origin in context.continuity.origins.get(identity, ()) if origin[0])
    return f"{repositories[0]} ({identity.subject})" if repositories else identity.subject
