"""Ratchet (docs/policy-semantics.md, "Ratchet"): provenance must continue."""

from __future__ import annotations

from typing import Any

import pytest

from assay.evidence import Attested, Evidence, Unverifiable
from assay.policy.verdict import Approved, ReasonCode, Undecided, Withheld
from assay.simple.model import File, Kind
from tests.unit.policy.factories import (
    ENFORCE,
    FORGED,
    NOW,
    STRANGER,
    UNATTESTED,
    a_file,
    a_policy,
    ago,
    attestation,
    claims,
    codes,
    days,
    fact,
    latest,
    old,
    page,
    seen,
    signed,
)


def test_a_stolen_token_an_unattested_release_after_attested_ones_is_withheld() -> None:
    verdict = latest(old(100, 50), a_file("9.0", uploaded=ago(5)), UNATTESTED)
    assert isinstance(verdict, Withheld)
    assert (codes(verdict), verdict.enforced) == ([ReasonCode.PROVENANCE_LOST], False)
    genuine = a_file("9.0", uploaded=ago(5))
    assert codes(latest(old(100, 50), genuine, signed(genuine))) == []


def test_a_release_by_somebody_else_is_withheld() -> None:
    file = a_file("9.0", uploaded=ago(5))
    verdict = latest(old(100), file, signed(file, **STRANGER))
    assert isinstance(verdict, Withheld)
    assert codes(verdict) == [ReasonCode.PUBLISHER_CHANGED]
    assert "octo/widget" in str(verdict.reasons[0].expected)
    assert "evil/widget" in str(verdict.reasons[0].found)


def test_a_signature_by_a_person_is_by_nobody_established() -> None:
    file = a_file("9.0", uploaded=ago(5))
    person = signed(file, claims=claims(kind=None, repository=None, repository_id=None, email="me@example.org"))
    assert codes(latest(old(100), file, person)) == [ReasonCode.PUBLISHER_CHANGED]


@pytest.mark.parametrize("ages", [(), (14,), (10,)])
def test_before_anybody_is_established_it_says_nothing(ages: tuple[float, ...]) -> None:
    assert codes(latest(old(*ages), a_file("9.0", uploaded=ago(0)), UNATTESTED)) == []


def test_it_speaks_of_files_later_than_the_settling_only() -> None:
    early, late = a_file("8.0", uploaded=ago(86)), a_file("9.0", uploaded=ago(85.9))
    assert codes(latest(old(100), early, UNATTESTED)) == []
    assert codes(latest(old(100), late, UNATTESTED)) == [ReasonCode.PROVENANCE_LOST]


def test_files_older_than_attestations_stay() -> None:
    ancient = a_file("0.1", uploaded=ago(3000))
    assert codes(latest(old(100, 50), ancient, UNATTESTED)) == []


@pytest.mark.parametrize(("settle", "expected"), [("14 days", [ReasonCode.PROVENANCE_LOST]), ("30 days", [])])
def test_the_settling_time_can_be_set(settle: str, expected: list[ReasonCode]) -> None:
    policy = a_policy(f'ratchet-settle = "{settle}"')
    assert codes(latest(old(20), a_file("9.0", uploaded=ago(1)), UNATTESTED, policy)) == expected


def test_a_file_does_not_establish_its_own_publisher() -> None:
    file = a_file("9.0", uploaded=ago(30))
    verdict = latest(old(100), file, signed(file, **STRANGER))
    assert codes(verdict) == [ReasonCode.PUBLISHER_CHANGED]
    # A second file by the same unknown publisher does not establish it either, after any time.
    again = a_file("9.1", uploaded=ago(1))
    evidence: dict[File, Evidence] = {**old(100), file: signed(file, **STRANGER)}
    assert codes(latest(evidence, again, signed(again, **STRANGER))) == [ReasonCode.PUBLISHER_CHANGED]


def test_who_was_approved_before_the_ratchet_held_is_established_in_turn() -> None:
    second = a_file("2.0", uploaded=ago(90))
    third = a_file("3.0", uploaded=ago(80))
    evidence: dict[File, Evidence] = {**old(100), second: signed(second, **STRANGER)}
    assert codes(latest(evidence, third, signed(third, **STRANGER))) == []


def test_who_is_still_settling_is_told_when_that_is_over() -> None:
    second, third = a_file("2.0", uploaded=ago(20)), a_file("3.0", uploaded=ago(2))
    evidence: dict[File, Evidence] = {**old(30), second: signed(second, **STRANGER)}
    policy = a_policy('ratchet-settle = "21 days"')
    held = latest(evidence, third, signed(third, **STRANGER), policy)
    assert isinstance(held, Withheld)
    assert held.changes_at == held.reasons[0].until == NOW + days(1)
    assert "allowed from 2026-11-22 12:00 UTC" in held.reasons[0].message
    assert codes(latest(evidence, third, signed(third, **STRANGER), policy, now=NOW + days(1))) == []


def test_a_transferred_repository_is_the_same_publisher_and_a_note() -> None:
    file = a_file("9.0", uploaded=ago(5))
    verdict = latest(old(100), file, signed(file, repository="new-owner/widget", owner_id="88"))
    assert isinstance(verdict, Approved)
    assert verdict.notes == (
        "the same publisher under a new name: repository new-owner/widget, previously octo/widget",
    )


@pytest.mark.parametrize("change", [{"workflow": ".github/workflows/new.yml"}, {"environment": "pypi"}])
def test_another_workflow_or_environment_is_a_note(change: dict[str, str]) -> None:
    file = a_file("9.0", uploaded=ago(5))
    verdict = latest(old(100), file, signed(file, **change))
    assert isinstance(verdict, Approved)
    assert any(value in note for value in change.values() for note in verdict.notes)
    usual = latest(old(100), file, signed(file))
    assert isinstance(usual, Approved)
    assert usual.notes == ()


def test_a_name_registered_again_is_another_publisher() -> None:
    file = a_file("9.0", uploaded=ago(5))
    assert codes(latest(old(100), file, signed(file, repository_id="4711"))) == [ReasonCode.PUBLISHER_CHANGED]


def test_another_trust_root_is_another_publisher() -> None:
    file = a_file("9.0", uploaded=ago(5))
    assert codes(latest(old(100), file, signed(file, trust_root="other"))) == [ReasonCode.PUBLISHER_CHANGED]


def test_a_withdrawn_release_establishes_nobody() -> None:
    """The ledger has the file, but the page no longer lists it."""
    gone = a_file("0.9", uploaded=ago(100))
    file = a_file("9.0", uploaded=ago(5))
    history = seen(gone, *old(50), file, at=ago(5), signers=(fact(gone, 100, "repository-id:666"),))
    assert codes(latest(old(50), file, signed(file, **STRANGER), history=history)) == [ReasonCode.PUBLISHER_CHANGED]
    listed = {**old(50), gone: signed(gone, **STRANGER)}
    assert codes(latest(listed, file, signed(file, **STRANGER), history=history)) == []


def test_a_revoked_release_establishes_nobody() -> None:
    first = a_file("0.9", uploaded=ago(100))
    file = a_file("9.0", uploaded=ago(5))
    evidence: dict[File, Evidence] = {first: signed(first, **STRANGER), **old(95)}
    revoked = a_policy(more=f'[[revocations]]\nsha256 = ["{first.sha256}"]\nreason = "malicious"')
    assert codes(latest(evidence, file, signed(file, **STRANGER))) == []
    assert codes(latest(evidence, file, signed(file, **STRANGER), revoked)) == [ReasonCode.PUBLISHER_CHANGED]


@pytest.mark.parametrize(
    ("change", "rule", "expected"),
    [
        ({"url": "https://evil.example/widget-0.9-py3-none-any.whl"}, "", [ReasonCode.PUBLISHER_CHANGED]),
        ({"yanked": "an old mistake"}, 'yanked = "deny"', []),
        ({"kind": Kind.SDIST}, 'types = ["wheel"]', []),
    ],
)
def test_a_release_withheld_for_its_address_establishes_nobody_and_one_for_its_type_does(
    change: dict[str, Any], rule: str, expected: list[ReasonCode]
) -> None:
    first = a_file("0.9", uploaded=ago(100), **change)
    file = a_file("9.0", uploaded=ago(5))
    evidence: dict[File, Evidence] = {first: signed(first, **STRANGER), **old(95)}
    assert codes(latest(evidence, file, signed(file, **STRANGER), a_policy(rule))) == expected


def test_a_pinned_file_establishes_nobody() -> None:
    first = a_file("0.9", uploaded=ago(100))
    policy = a_policy(f'pins = ["{first.sha256}"]')
    file = a_file("9.0", uploaded=ago(5))
    evidence: dict[File, Evidence] = {first: signed(first, **STRANGER), **old(95)}
    assert codes(latest(evidence, file, signed(file, **STRANGER), policy)) == [ReasonCode.PUBLISHER_CHANGED]


def test_who_signs_beside_an_established_publisher_is_not_established_by_it() -> None:
    both = a_file("5.0", uploaded=ago(50))
    beside = Attested(attestations=(attestation(ago(50)), attestation(ago(50), bundle=1, **STRANGER)))
    evidence: dict[File, Evidence] = {**old(100), both: beside}
    file = a_file("9.0", uploaded=ago(5))
    verdicts = page(ENFORCE, *evidence, file, evidence={**evidence, file: signed(file, **STRANGER)})
    assert [codes(each) for each in verdicts] == [[], [], [ReasonCode.PUBLISHER_CHANGED]]


def test_a_hand_patched_old_line_is_freed_by_name() -> None:
    patch, other = a_file("1.9.1", uploaded=ago(5)), a_file("2.9.1", uploaded=ago(5))
    policy = a_policy('ratchet-except = ">=1,<2"')
    assert codes(latest(old(100), patch, UNATTESTED)) == [ReasonCode.PROVENANCE_LOST]
    assert codes(latest(old(100), patch, UNATTESTED, policy)) == []
    assert codes(latest(old(100), other, UNATTESTED, policy)) == [ReasonCode.PROVENANCE_LOST]
    assert codes(latest(old(100), a_file("1.9.2rc1", uploaded=ago(5)), UNATTESTED, policy)) == []


def test_a_publisher_added_to_the_rule_in_time_is_established() -> None:
    policy = a_policy(
        'publishers = [{ kind = "GitHub", repository = "octo/widget" }, { kind = "GitHub", repository = "new/widget" }]'
    )
    file = a_file("9.0", uploaded=ago(5))
    moved = signed(file, repository="new/widget", repository_id="2")
    assert codes(latest(old(100), file, moved, policy)) == []
    assert codes(latest(old(100), file, moved)) == [ReasonCode.PUBLISHER_CHANGED]


def test_a_waiver_lets_a_changed_publisher_pass_and_does_not_establish_it() -> None:
    file, later = a_file("9.0", uploaded=ago(40)), a_file("9.1", uploaded=ago(5))
    waiver = (
        f'[[waivers]]\nprojects = ["widget"]\nsha256 = ["{file.sha256}"]\nlifts = ["ratchet"]\n'
        'expires = 2027-01-01\nreason = "they moved"'
    )
    policy = a_policy(more=waiver)
    verdict = latest(old(100), file, signed(file, **STRANGER), policy)
    assert isinstance(verdict, Approved)
    assert [reason.code for reason in verdict.despite] == [ReasonCode.PUBLISHER_CHANGED]
    evidence: dict[File, Evidence] = {**old(100), file: signed(file, **STRANGER)}
    assert codes(latest(evidence, later, signed(later, **STRANGER), policy)) == [ReasonCode.PUBLISHER_CHANGED]
    assert codes(latest(evidence, later, signed(later), policy)) == []


@pytest.mark.parametrize(("ratchet", "notes"), [("warn", 1), ("off", 0)])
def test_it_may_only_warn_or_say_nothing(ratchet: str, notes: int) -> None:
    verdict = latest(old(100), a_file("9.0", uploaded=ago(5)), UNATTESTED, a_policy(f'ratchet = "{ratchet}"'))
    assert isinstance(verdict, Approved)
    assert len(verdict.notes) == notes
    assert all(note.startswith("provenance-lost: ") for note in verdict.notes)


def test_what_cannot_be_verified_counts_as_lost() -> None:
    verdict = latest(old(100), a_file("9.0", uploaded=ago(5)), Unverifiable(reason="an unknown key"))
    assert isinstance(verdict, Withheld)
    assert codes(verdict) == [ReasonCode.PROVENANCE_LOST]
    assert "an unknown key" in verdict.reasons[0].message


def test_forged_evidence_is_forged_and_no_loss() -> None:
    assert codes(latest(old(100), a_file("9.0", uploaded=ago(5)), FORGED)) == [ReasonCode.FORGED]


# ratchet-scope


LINE = a_policy('ratchet-scope = "line"')


def attested_in(*versions: tuple[str, float]) -> dict[File, Evidence]:
    """Return files with their attestations by one publisher: pairs of version and age in days."""
    files = [a_file(version, uploaded=ago(age)) for version, age in versions]
    return {file: signed(file) for file in files}


@pytest.mark.parametrize("scope", ["", 'ratchet-scope = "project"'])
def test_an_unattested_file_of_an_old_line_is_withheld_by_default(scope: str) -> None:
    policy, patch = a_policy(scope), a_file("1.9.6", uploaded=ago(5))
    assert codes(latest(attested_in(("2.0", 100)), patch, UNATTESTED, policy)) == [ReasonCode.PROVENANCE_LOST]


def test_with_line_as_scope_a_later_line_gives_an_old_one_only_a_note() -> None:
    patch = a_file("1.9.6", uploaded=ago(5))
    for evidence in (UNATTESTED, signed(patch, **STRANGER)):
        verdict = latest(attested_in(("2.0", 100)), patch, evidence, LINE)
        assert isinstance(verdict, Approved)
        assert any('ratchet-scope = "line"' in note for note in verdict.notes)
    unlined = latest(attested_in(("2.0", 100)), patch, signed(patch), LINE)
    assert isinstance(unlined, Approved)
    assert not any("ratchet-scope" in note for note in unlined.notes)


@pytest.mark.parametrize("established", ["1.0", "1.9.5", "0.3", "1.10rc1"])
@pytest.mark.parametrize("version", ["1.9.6", "2.1", "1!0.1"])
def test_with_line_as_scope_the_same_and_earlier_lines_count(established: str, version: str) -> None:
    file = a_file(version, uploaded=ago(5))
    earlier = attested_in((established, 100), ("2.0", 90))
    assert codes(latest(earlier, file, UNATTESTED, LINE)) == [ReasonCode.PROVENANCE_LOST]
    assert codes(latest(earlier, file, signed(file, **STRANGER), LINE)) == [ReasonCode.PUBLISHER_CHANGED]
    assert codes(latest(earlier, file, signed(file), LINE)) == []


def test_an_epoch_comes_before_the_number() -> None:
    file = a_file("9.0", uploaded=ago(5))
    assert codes(latest(attested_in(("1!1.0", 100)), file, UNATTESTED, LINE)) == []
    assert codes(latest(attested_in(("1!1.0", 100)), file, UNATTESTED)) == [ReasonCode.PROVENANCE_LOST]


def test_a_line_is_established_only_after_the_settling_of_its_own_files() -> None:
    """The publisher is established for the project since 2.0, and for line 1 since 1.9.5 has settled."""
    before, after = a_file("1.9.6", uploaded=ago(30)), a_file("1.9.7", uploaded=ago(5))
    earlier = attested_in(("2.0", 100), ("1.9.5", 40))
    assert codes(latest(earlier, before, UNATTESTED, LINE)) == []
    assert codes(latest(earlier, after, UNATTESTED, LINE)) == [ReasonCode.PROVENANCE_LOST]


def test_a_file_that_the_scope_lets_in_establishes_nothing() -> None:
    patch, later = a_file("1.9.6", uploaded=ago(60)), a_file("1.9.7", uploaded=ago(5))
    earlier: dict[File, Evidence] = {**attested_in(("2.0", 100)), patch: signed(patch, **STRANGER)}
    for policy, expected in ((LINE, []), (ENFORCE, [ReasonCode.PROVENANCE_LOST])):
        assert codes(latest(earlier, later, UNATTESTED, policy)) == expected


def test_the_scope_does_not_decide_while_the_evidence_of_an_earlier_file_is_unknown() -> None:
    unknown, patch = a_file("1.0", uploaded=ago(90)), a_file("1.9.6", uploaded=ago(5))
    evidence: dict[File, Evidence] = {**attested_in(("2.0", 100)), patch: UNATTESTED}
    files = (*attested_in(("2.0", 100)), unknown, patch)
    *_, verdict = page(LINE, *files, evidence=evidence, default=None)
    assert isinstance(verdict, Undecided)
    *_, verdict = page(LINE, *files, evidence={**evidence, unknown: signed(unknown)})
    assert codes(verdict) == [ReasonCode.PROVENANCE_LOST]
