"""Ratchet with facts of the ledger and with evidence that is not known yet."""

from __future__ import annotations

import random
from dataclasses import replace

from assay.evidence import Attested, Evidence, PublisherIdentity
from assay.policy.continuity import RatchetState
from assay.policy.judge import PageContext, derive_ledger_changes, judge_file
from assay.policy.language.document import load_policy
from assay.policy.verdict import Approved, ReasonCode, Undecided, Verdict
from assay.ports import FileSigner, ForgottenFact, ForgottenFacts, ForgottenKind, HistoryChanges, ProjectHistory
from assay.simple.model import File, NormalizedName
from tests.unit.policy.factories import (
    ENFORCE,
    GITHUB,
    INDEX,
    NOW,
    STRANGER,
    UNATTESTED,
    a_file,
    a_policy,
    a_project,
    ago,
    attestation,
    claims,
    codes,
    days,
    digest,
    established,
    fact,
    latest,
    old,
    page,
    seen,
    signed,
)


def test_an_index_that_strips_all_provenance_is_found_out_by_the_ledger() -> None:
    first, file = a_file("1.0", uploaded=ago(100)), a_file("9.0", uploaded=ago(5))
    history = seen(first, file, at=ago(5), signers=(fact(first, 100),))
    verdicts = page(ENFORCE, first, file, history=history)
    assert [codes(each) for each in verdicts] == [[], [ReasonCode.PROVENANCE_LOST]]
    assert [codes(each) for each in page(ENFORCE, first, file)] == [[], []]


def test_what_the_ledger_proved_of_a_digest_counts_when_the_index_stops_offering_it() -> None:
    first, second = a_file("1.0", uploaded=ago(100)), a_file("2.0", uploaded=ago(50))
    history = seen(first, second, at=ago(50), signers=(fact(first, 100), fact(second, 50)))
    assert [codes(each) for each in page(ENFORCE, first, second, history=history)] == [[], []]


def test_what_another_views_rule_counted_and_this_ones_sees_and_does_not_count_establishes_nobody() -> None:
    waived = """
        [[waivers]]
        projects = ["widget"]
        uploaded-before = 2026-12-01
        lifts = ["publishers"]
        expires = 2030-01-01
        reason = "another publisher, but not any"
        """
    policy = a_policy('publishers = [{ kind = "GitHub", repository = "octo/widget" }]', more=waived)
    stranger = PublisherIdentity(trust_root="sigstore", issuer=GITHUB, subject="repository-id:666")
    first, later = a_file("1.0", uploaded=ago(100)), a_file("2.0", uploaded=ago(5))
    by_both = Attested(attestations=(attestation(ago(100)), attestation(ago(100), claims=claims(**STRANGER), bundle=1)))
    fact = FileSigner(identity=stranger, filename=first.filename, sha256=digest(first.filename), logged=ago(100))
    for history in (ProjectHistory(), seen(first, later, signers=(fact,))):
        verdicts = page(
            policy, first, later, evidence={first: by_both, later: signed(later, **STRANGER)}, history=history
        )
        assert [codes(each) for each in verdicts] == [[], [ReasonCode.PUBLISHER_CHANGED]]
    lost = page(ENFORCE, first, later, evidence={later: signed(later, **STRANGER)}, history=history)
    assert [codes(each) for each in lost] == [[], []], "a fact is still good where its document is gone"


def test_the_ledger_remembers_in_which_release_line_a_publisher_signed() -> None:
    patch = a_file("1.9.6", uploaded=ago(5))
    for version, expected in (
        ("2.0", []),
        ("1.0", [ReasonCode.PROVENANCE_LOST]),
        ("0.9", [ReasonCode.PROVENANCE_LOST]),
    ):
        withdrawn = a_file(version, uploaded=ago(100))
        history = seen(patch, at=ago(5), signers=(fact(withdrawn, 100),), publishers=(established(100),))
        verdict = page(a_policy('ratchet-scope = "line"'), patch, evidence={patch: UNATTESTED}, history=history)[0]
        assert codes(verdict) == expected


def test_a_publisher_of_whom_the_ledger_names_no_file_counts_for_every_line() -> None:
    patch = a_file("0.1", uploaded=ago(5))
    history = seen(patch, at=ago(5), publishers=(established(100),))
    verdict = page(a_policy('ratchet-scope = "line"'), patch, evidence={patch: UNATTESTED}, history=history)[0]
    assert codes(verdict) == [ReasonCode.PROVENANCE_LOST]


def test_a_fact_of_other_bytes_counts_for_nothing() -> None:
    first, second = a_file("1.0", uploaded=ago(100)), a_file("2.0", uploaded=ago(50))
    history = ProjectHistory(signers=(fact(first, 100), fact(a_file("3.0"), 50)))
    assert codes(page(ENFORCE, first, second, history=history)[1]) == [ReasonCode.PROVENANCE_LOST]


def test_nothing_is_said_while_an_earlier_file_could_start_the_ratchet() -> None:
    first, file = a_file("1.0", uploaded=ago(100)), a_file("9.0", uploaded=ago(5))
    waiting = page(ENFORCE, first, file, evidence={file: UNATTESTED}, default=None)
    assert [type(each) for each in waiting] == [Undecided, Undecided]
    known = page(ENFORCE, first, file, evidence={first: signed(first), file: UNATTESTED})
    assert [codes(each) for each in known] == [[], [ReasonCode.PROVENANCE_LOST]]


def test_nothing_is_said_while_an_earlier_file_could_establish_the_publisher() -> None:
    unknown, file = a_file("1.5", uploaded=ago(90)), a_file("9.0", uploaded=ago(5))
    evidence = {**old(100), file: signed(file, **STRANGER)}
    assert isinstance(page(ENFORCE, *old(100), unknown, file, evidence=evidence, default=None)[-1], Undecided)


def test_what_later_files_prove_is_not_waited_for() -> None:
    file, later = a_file("1.0", uploaded=ago(100)), a_file("9.0", uploaded=ago(5))
    verdicts = page(ENFORCE, file, later, evidence={file: UNATTESTED}, default=None)
    assert [type(each) for each in verdicts] == [Approved, Undecided]


def test_what_is_lost_for_certain_is_withheld_though_others_are_not_known_yet() -> None:
    unknown, file = a_file("1.5", uploaded=ago(90)), a_file("9.0", uploaded=ago(5))
    verdicts = page(ENFORCE, *old(100), unknown, file, evidence={**old(100), file: UNATTESTED}, default=None)
    assert codes(verdicts[-1]) == [ReasonCode.PROVENANCE_LOST]


def test_the_order_of_the_page_is_irrelevant() -> None:
    lost, changed = a_file("8.0", uploaded=ago(9)), a_file("9.0", uploaded=ago(5))
    evidence = {**old(100, 90, 60, 30), lost: UNATTESTED, changed: signed(changed, **STRANGER)}
    straight = {each.file: codes(each) for each in page(ENFORCE, *evidence, evidence=evidence)}
    shuffled = list(evidence)
    for seed in range(10):
        random.Random(seed).shuffle(shuffled)
        assert {each.file: codes(each) for each in page(ENFORCE, *shuffled, evidence=evidence)} == straight


def test_a_file_that_hides_its_time_does_not_escape() -> None:
    hidden = a_file("9.0", upload_time=None)
    assert codes(latest(old(100), hidden, UNATTESTED)) == [ReasonCode.PROVENANCE_LOST]
    before = seen(*old(100), hidden, at=ago(90))
    assert codes(latest(old(100), hidden, UNATTESTED, history=before)) == []


def test_a_rule_without_the_ratchet_frees_its_projects_only() -> None:
    text = 'version = 1\n[[rules]]\nprojects = ["gadget"]\nratchet = "off"\n[[rules]]\nprojects = ["*"]\n'
    policy = load_policy(text, "policy.toml")
    file = a_file("9.0", uploaded=ago(5))
    assert codes(latest(old(100), file, UNATTESTED, policy)) == [ReasonCode.PROVENANCE_LOST]


def test_one_file_is_judged_by_the_continuity_that_is_stated() -> None:
    file = a_file("9.0", uploaded=ago(5))
    known = RatchetState()
    known.admit(established(100), days(14), NOW)
    context = PageContext(project=NormalizedName("widget"), index=INDEX, ratchet_state=known)
    assert codes(judge_file(ENFORCE, file, UNATTESTED, context, NOW)) == [ReasonCode.PROVENANCE_LOST]
    assert codes(judge_file(ENFORCE, file, signed(file), context, NOW)) == []
    assert known.established_since == ago(86)


def test_a_waiver_of_another_requirement_does_not_end_the_waiting() -> None:
    first, file = a_file("1.0", uploaded=ago(100)), a_file("9.0", uploaded=ago(5))
    waiver = (
        f'[[waivers]]\nprojects = ["*"]\nsha256 = ["{file.sha256}"]\nlifts = ["min-age"]\n'
        'expires = 2027-01-01\nreason = "x"'
    )
    policy = a_policy('min-age = "30 days"', more=waiver)
    assert isinstance(page(policy, first, file, evidence={file: UNATTESTED}, default=None)[1], Undecided)
    assert codes(page(policy, first, file, evidence={first: UNATTESTED, file: UNATTESTED})[1]) == []


def forgot_publishers(history: ProjectHistory, age: float) -> ProjectHistory:
    """Return `history` after an operator has declared its publishers wrong, `age` days ago."""
    row = ForgottenFact(what=ForgottenKind.PUBLISHERS, version=1, at=ago(age), reason="a test")
    return replace(history, publishers=(), forgotten=ForgottenFacts((row,)))


def test_publishers_that_were_forgotten_are_not_established_again_by_what_they_signed_before() -> None:
    evidence, bare = old(100, 90), a_file("9.0", uploaded=ago(5))
    first, second = evidence
    history = seen(first, second, bare, signers=(fact(first, 100), fact(second, 90)), publishers=(established(100),))
    assert codes(latest(evidence, bare, UNATTESTED, history=history)) == [ReasonCode.PROVENANCE_LOST]
    for age in (50, 90):
        forgotten = forgot_publishers(history, age)
        assert codes(latest(evidence, bare, UNATTESTED, history=forgotten)) == []
        judged = page(ENFORCE, *evidence, bare, evidence=evidence | {bare: UNATTESTED}, history=forgotten)
        assert not derive_changes(evidence | {bare: UNATTESTED}, forgotten, judged).publishers
    # The twin: the second file was signed after that time.
    forgotten = forgot_publishers(history, 91)
    assert codes(latest(evidence, bare, UNATTESTED, history=forgotten)) == [ReasonCode.PROVENANCE_LOST]
    judged = page(ENFORCE, *evidence, bare, evidence=evidence | {bare: UNATTESTED}, history=forgotten)
    (publisher,) = derive_changes(evidence | {bare: UNATTESTED}, forgotten, judged).publishers
    assert publisher.logged == ago(90)


def test_a_stranger_may_follow_publishers_that_were_forgotten_and_is_then_established() -> None:
    evidence = old(100)
    (first,) = evidence
    new, later = a_file("8.0", uploaded=ago(50)), a_file("9.0", uploaded=ago(5))
    known_before = seen(first, new, later, signers=(fact(first, 100),), publishers=(established(100),))
    history = forgot_publishers(known_before, 60)
    known = evidence | {new: signed(new, **STRANGER)}
    assert codes(latest(known, later, signed(later, **STRANGER), history=history)) == []
    assert codes(latest(known, later, signed(later), history=history)) == [ReasonCode.PUBLISHER_CHANGED]
    # The twin: without the statement, the first publisher stays the only one.
    assert codes(latest(known, later, signed(later), history=known_before)) == []


def derive_changes(
    evidence: dict[File, Evidence], history: ProjectHistory, judged: tuple[Verdict, ...]
) -> HistoryChanges:
    return derive_ledger_changes(
        ENFORCE,
        a_project(*evidence),
        index=INDEX,
        history=history,
        verdicts=judged,
        evidence={(file.filename, digest(file.filename)): found for file, found in evidence.items()},
        now=NOW,
    )
