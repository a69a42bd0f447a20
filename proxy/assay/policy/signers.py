"""Who signed a file, and whom an approved file establishes as a publisher of its project. Pure.

The memory of one page is `assay.policy.continuity`; what it means for a file is said by the requirements `ratchet` and
`min-age` (docs/policy-semantics.md, "Ratchet").
"""

from __future__ import annotations

from datetime import datetime, timedelta

from assay.evidence import Attested, Claims, PublisherIdentity
from assay.policy.candidate import FileFacts, PageContext, compute_existence_time
from assay.policy.continuity import SignerStatus, SigningOrigin
from assay.ports import EstablishedIdentity
from assay.publishers.signers import identify_publisher, make_signer_key


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


def assess_signers(
    facts: FileFacts, context: PageContext, now: datetime, *, names_publishers: bool
) -> tuple[SignerStatus, datetime | None]:
    """Return what is known of a file's signers as publishers of the project, and when they will be established.

    `names_publishers`: the governing rule names publishers, who are established for what they signed.
    """
    if not facts.relevant_attestations:
        return SignerStatus.UNKNOWN, None
    if names_publishers and not facts.provenance_failures:
        return SignerStatus.ESTABLISHED, None
    return context.ratchet_state.get_signer_status(find_signers(facts, context), now)


def recall_signer(facts: FileFacts, context: PageContext, now: datetime) -> bool:
    """Whether the file is signed exactly as files before it by a publisher that is established by now.

    Most files of a page are. This remembers what `find_signers` and the state of the ratchet would say, and no more.
    """
    since = recall_established_since(facts, context)
    if since is None or since > now:
        return False
    # Approving it then establishes no further publisher and changes no date.
    facts.has_familiar_signer = since <= facts.relevant_attestations[0].integrated_time <= now
    return True


def establish_signers(facts: FileFacts, settle_time: timedelta, context: PageContext, now: datetime) -> None:
    """Let `context.ratchet_state` learn which publishers this approved file establishes, once it has settled.

    A file that an established publisher signed establishes no other of its signers.
    """
    if facts.has_familiar_signer:
        return
    continuity = context.ratchet_state
    since = recall_established_since(facts, context)
    if (
        since is not None
        and not context.established_by_file
        and facts.relevant_attestations[0].integrated_time + settle_time >= since
    ):
        return  # the same signer under the same names, settled no earlier than is known
    found = find_signers(facts, context)
    if continuity.applies_to(compute_existence_time(facts, now), now):
        found = {each: logged for each, logged in found.items() if each in continuity.established} or found
    for identity, logged in found.items():
        settled = logged + settle_time
        # It could not be approved before it was there, whatever its log entry says.
        continuity.establish(identity, settled if facts.effective_time is None else max(settled, facts.effective_time))
    for attestation in facts.relevant_attestations:
        signer = identify_publisher(attestation)
        if signer is not None and signer in found:
            continuity.origins.setdefault(signer, set()).add(get_signing_origin(attestation.claims))
            continuity.established_signers[make_signer_key(attestation)] = continuity.established[signer]


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


def get_signing_origin(claims: Claims) -> SigningOrigin:
    """Return the names under which a publisher signed, which may change."""
    return claims.repository, claims.workflow, claims.environment


def recall_established_since(facts: FileFacts, context: PageContext) -> datetime | None:
    """Return since when the signer of a file that is signed exactly as one before is established.

    Not so early, perhaps, as by now is known from files that were signed otherwise.
    """
    remembered = context.ratchet_state.established_signers
    if not remembered or len(facts.relevant_attestations) != 1:
        return None
    return remembered.get(make_signer_key(facts.relevant_attestations[0]))


def _find_ignored_signers(facts: FileFacts) -> set[PublisherIdentity | None]:
    """Signers whom the rule sees and does not count: another view's policy, or an earlier one, may have."""
    if not isinstance(facts.evidence, Attested):
        return set()
    return {identify_publisher(each) for each in facts.evidence.attestations if each not in facts.relevant_attestations}
