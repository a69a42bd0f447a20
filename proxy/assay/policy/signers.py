"""Signers of a file, and the publishers that a file establishes for its project. Pure.

`assay.policy.continuity` keeps the publishers that the files of one page have established. This module compares the
signers of a file with them, for the requirements `ratchet` and `min-age` (docs/policy-semantics.md, "Ratchet").
"""

from __future__ import annotations

from datetime import datetime, timedelta

from assay.evidence import Attested, Claims, PublisherIdentity
from assay.policy.candidate import FileFacts, PageContext, compute_existence_time
from assay.policy.continuity import Continuity, SignerStatus, SigningOrigin
from assay.policy.language.times import add_duration
from assay.ports import EstablishedPublisher, FileSigner, ForgottenKind
from assay.publishers.signers import identify_publisher, make_signer_key


def find_signers(facts: FileFacts, context: PageContext) -> dict[PublisherIdentity, datetime]:
    """Return the proven signers of a file, each with its first log time.

    Signers are proven by the attestations that count. They are also proven if the ledger has recorded them for the same
    filename and digest. The result is cached in `facts`.
    """
    if facts.signers is not None:
        return facts.signers
    facts.signers = found = dict[PublisherIdentity, datetime]()
    for attestation in facts.relevant_attestations:
        identity = identify_publisher(attestation)
        if identity is not None:
            logged = attestation.integrated_time
            found[identity] = min(logged, found.get(identity, logged))
    if context.signers_by_file:
        for fact in context.signers_by_file.get((facts.file.filename, facts.file.sha256), ()):
            if fact.identity not in found and fact.identity not in _find_ignored_signers(facts):
                found[fact.identity] = fact.logged
    return found


def assess_signers(
    facts: FileFacts, context: PageContext, now: datetime, *, names_publishers: bool
) -> tuple[SignerStatus, datetime | None]:
    """Return the status of a file's signers, and the instant at which `SETTLING` signers will be established.

    For any other status, the instant is None. If `names_publishers` is True, the governing rule names publishers. A
    file that meets such a rule's requirements on attestations has the status `ESTABLISHED`.
    """
    if not facts.relevant_attestations:
        return SignerStatus.UNKNOWN, None
    if names_publishers and not facts.provenance_failures:
        return SignerStatus.ESTABLISHED, None
    return context.ratchet_state.get_signer_status(find_signers(facts, context), now)


def recall_signer(facts: FileFacts, context: PageContext, now: datetime) -> bool:
    """Return whether an earlier file has the same signer key, and its signer is established by `now`.

    A signer key (`continuity.SignerKey`) contains all claims that identify or name a signer. Most files of a page have
    the key of an earlier file. For them, this look-up replaces `find_signers` and gives the same result in less time.
    If the result is True, the function also sets `facts.has_familiar_signer`.
    """
    since = recall_established_since(facts, context)
    if since is None or since > now:
        return False
    # The approval of such a file establishes no further publisher and changes no date.
    facts.has_familiar_signer = since <= facts.relevant_attestations[0].integrated_time <= now
    return True


def assess_continuity(facts: FileFacts, context: PageContext, now: datetime) -> Continuity:
    """Compare a file's signers with the publishers that earlier files have established.

    Publishers that only a rule names do not count here. The keys `ratchet` and `ratchet-except` do not affect the
    result.
    """
    state = context.ratchet_state
    if state.established_since is None and not state.has_unknown_evidence:
        return Continuity.EXEMPT
    if facts.has_familiar_signer or recall_signer(facts, context, now):
        return Continuity.KEPT
    signers = find_signers(facts, context)
    status, _ = state.get_signer_status(signers, now)
    if status is SignerStatus.ESTABLISHED:
        return Continuity.KEPT
    if not state.applies_to(compute_existence_time(facts, now), now):
        return Continuity.UNDETERMINED if state.has_unknown_evidence else Continuity.EXEMPT
    if not signers and not (isinstance(facts.evidence, Attested) and facts.evidence.provenance):
        return Continuity.LOST
    return Continuity.UNDETERMINED if status is SignerStatus.UNDETERMINED else Continuity.CHANGED


def establish_signers(
    facts: FileFacts, settle_time: timedelta, context: PageContext, now: datetime
) -> list[EstablishedPublisher]:
    """Admit the signers of an accepted file as publishers; return those that the caller must admit later.

    If a signature was logged after the file began to exist, its signer is returned. The caller must admit the returned
    publishers in the order of their `existed`. A signature proves nothing about the time before it was logged. An index
    therefore cannot place a new publisher in the past by attesting an old file.

    If a publisher was established before the file existed, the file establishes no other publisher. A signature that
    was logged before an operator declared the publishers of the project wrong establishes none.

    Args:
        facts: a file for which `assess_continuity` returns `KEPT` or `EXEMPT`.
        settle_time: value of `ratchet-settle`.
        context: facts about the page. The function changes `context.ratchet_state`.
        now: the current time, UTC.
    """
    if facts.has_familiar_signer:
        return []
    state = context.ratchet_state
    since = recall_established_since(facts, context)
    if (
        since is not None
        and not context.signers_by_file
        and add_duration(facts.relevant_attestations[0].integrated_time, settle_time) >= since
    ):
        return []  # same signer and names, and it settles no earlier than already recorded
    found = _without_forgotten(find_signers(facts, context), context)
    existed = compute_existence_time(facts, now)
    if state.applies_to(existed, now):
        found = {each: logged for each, logged in found.items() if each in state.established}
    later: list[EstablishedPublisher] = []
    for identity, logged in found.items():
        publisher = EstablishedPublisher(identity=identity, logged=logged, existed=max(existed, logged))
        if logged > existed:
            later.append(publisher)
        else:
            state.admit(publisher, settle_time, now)
    for attestation in facts.relevant_attestations:
        signer = identify_publisher(attestation)
        if signer is not None and signer in found and signer in state.established:
            state.origins.setdefault(signer, set()).add(get_signing_origin(attestation.claims))
            state.established_signers[make_signer_key(attestation)] = state.established[signer]
    return later


def _without_forgotten(
    signers: dict[PublisherIdentity, datetime], context: PageContext
) -> dict[PublisherIdentity, datetime]:
    """Return the signers whose log time is after the time at which the publishers of the project were forgotten."""
    forgotten_at = context.history.forgotten.find_last_time(ForgottenKind.PUBLISHERS)
    if forgotten_at is None:
        return signers
    return {identity: logged for identity, logged in signers.items() if logged > forgotten_at}


def derive_file_signers(facts: FileFacts, context: PageContext) -> tuple[FileSigner, ...]:
    """Return those signers of a file that are publishers of the project, as facts for the ledger."""
    file = facts.file
    if file.sha256 is None:
        return ()
    return tuple(
        FileSigner(identity=identity, filename=file.filename, sha256=file.sha256, logged=logged)
        for identity, logged in find_signers(facts, context).items()
        if identity in context.ratchet_state.established
    )


def get_signing_origin(claims: Claims) -> SigningOrigin:
    """Return repository, workflow and environment of a signature, which may change for the same publisher."""
    return claims.repository, claims.workflow, claims.environment


def recall_established_since(facts: FileFacts, context: PageContext) -> datetime | None:
    """Return the instant from which a file's signer is established, if an earlier file has the same signer key.

    Return None if no earlier file has this key, or if not exactly one attestation counts. The same publisher may also
    have signed files under other names. Such a file can give the publisher an earlier instant than the returned one.
    """
    remembered = context.ratchet_state.established_signers
    if not remembered or len(facts.relevant_attestations) != 1:
        return None
    return remembered.get(make_signer_key(facts.relevant_attestations[0]))


def _find_ignored_signers(facts: FileFacts) -> set[PublisherIdentity | None]:
    """Return the signers of those verified attestations of a file that do not count under the rule.

    The ledger may have recorded such a signer for the file under the policy of another view, or under an earlier
    policy.
    """
    if not isinstance(facts.evidence, Attested):
        return set()
    return {identify_publisher(each) for each in facts.evidence.provenance if each not in facts.relevant_attestations}
