"""Facts that the ledger records from a judged page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assay.evidence import PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE, Attested, Evidence, PublisherIdentity
from assay.policy.judge import derive_ledger_changes
from assay.policy.language.model import Policy
from assay.policy.verdict import ReasonCode
from assay.ports import (
    EstablishedPublisher,
    FileSigner,
    ForgottenFact,
    ForgottenFacts,
    ForgottenKind,
    HistoryChanges,
    ProjectHistory,
    SeenFile,
)
from assay.simple.model import File
from tests.unit.policy.factories import (
    GITHUB,
    INDEX,
    NOW,
    PERMISSIVE,
    UNATTESTED,
    a_file,
    a_policy,
    a_project,
    ago,
    attestation,
    codes,
    digest,
    fact,
    page,
    seen,
    signed,
)

OCTO = PublisherIdentity(trust_root="sigstore", issuer=GITHUB, subject="repository-id:1001")
EVIL: dict[str, Any] = {"repository": "evil/widget", "repository_id": "666"}


def changes(
    policy: Policy, evidence: dict[File, Evidence], *, history: ProjectHistory | None = None, **project: Any
) -> HistoryChanges:
    """Judge a page and return the changes for the ledger."""
    known = history or ProjectHistory()
    made = a_project(*evidence, **project)
    return derive_ledger_changes(
        policy,
        made,
        index=INDEX,
        history=known,
        verdicts=page(policy, *evidence, evidence=evidence, history=known),
        evidence={(file.filename, digest(file.filename)): found for file, found in evidence.items()},
        now=NOW,
    )


def test_the_first_page_s_files_are_seen_and_none_is_late() -> None:
    file = a_file()
    added = changes(PERMISSIVE, {file: UNATTESTED})
    assert added.files == {file.filename: SeenFile(sha256=digest(file.filename), first_seen=NOW, late=False)}


def test_what_an_earlier_page_lacked_is_late() -> None:
    old, new = a_file(), a_file("2.0")
    added = changes(PERMISSIVE, {old: UNATTESTED, new: UNATTESTED}, history=seen(old, at=ago(5)))
    assert added.files == {new.filename: SeenFile(sha256=digest(new.filename), first_seen=NOW, late=True)}


def test_nothing_new_is_nothing_to_write() -> None:
    file = a_file()
    assert not changes(PERMISSIVE, {file: UNATTESTED}, history=seen(file))


@pytest.mark.parametrize(
    "change",
    [
        {"distribution": None},
        {"sha256": None},
        {"url": "https://evil.example/widget-1.0-py3-none-any.whl"},
        {"location": "files.example/x/other.whl"},
    ],
)
def test_an_entry_that_is_not_what_it_says_does_not_take_the_filename(change: dict[str, Any]) -> None:
    assert not changes(PERMISSIVE, {a_file(**change): UNATTESTED}).files


def test_two_digests_for_one_filename_take_it_neither() -> None:
    assert not changes(PERMISSIVE, {a_file(): UNATTESTED, a_file(sha256=digest("x")): UNATTESTED}).files


def test_withheld_files_are_seen_as_well() -> None:
    file = a_file()
    assert set(changes(a_policy('deny = "no"'), {file: UNATTESTED}).files) == {file.filename}


@pytest.mark.parametrize(
    ("known", "page_has", "expected"), [(None, 7, 7), (6, 7, 7), (7, 7, None), (8, 7, None), (7, None, None)]
)
def test_a_serial_only_grows(known: int | None, page_has: int | None, expected: int | None) -> None:
    added = changes(PERMISSIVE, {}, history=ProjectHistory(serial=known, known=True), serial=page_has)
    assert added.serial == expected


def test_an_approved_attested_file_is_a_fact() -> None:
    file = a_file()
    added = changes(a_policy(), {file: signed(file)})
    fact = FileSigner(identity=OCTO, filename=file.filename, sha256=digest(file.filename), logged=ago(365))
    assert added.signers == (fact,)
    assert not changes(a_policy(), {file: signed(file)}, history=seen(file, signers=(fact,))).signers


def test_files_of_one_publisher_are_facts_each() -> None:
    files = [a_file(str(number), uploaded=ago(200 - number)) for number in range(5)]
    added = changes(a_policy(), {file: signed(file) for file in files})
    assert [each.filename for each in added.signers] == [file.filename for file in files]


def test_several_attestations_of_one_publisher_are_one_fact() -> None:
    file = a_file()
    both = Attested(
        attestations=tuple(
            attestation(ago(365), predicate_type=each) for each in (PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE)
        )
    )
    assert len(changes(a_policy(), {file: both}).signers) == 1


@pytest.mark.parametrize(
    "rule",
    [
        'deny = "no"',
        'publishers = [{ kind = "GitHub", repository = "other/widget" }]',
        f'pins = ["{a_file(yanked="").sha256}"]',
    ],
)
def test_a_withheld_or_pinned_file_is_none(rule: str) -> None:
    file = a_file(yanked="")
    assert not changes(a_policy(rule), {file: signed(file)}).signers


@pytest.mark.parametrize("mode", ["enforce", "audit"])
@pytest.mark.parametrize(
    "rule", ['yanked = "deny"', 'types = ["sdist"]', 'min-age = "1000 days"', "uploaded-before = 2020-01-01"]
)
def test_requirements_that_decide_what_is_served_do_not_decide_what_is_established(rule: str, mode: str) -> None:
    file = a_file(yanked="")
    added = changes(a_policy(f'{rule}\nmode = "{mode}"'), {file: signed(file)})
    assert [each.identity for each in added.signers] == [each.identity for each in added.publishers] == [OCTO]


@pytest.mark.parametrize("mode", ["enforce", "audit"])
@pytest.mark.parametrize("ratchet", ["enforce", "warn", "off"])
def test_no_mode_establishes_a_publisher_with_which_the_ratchet_finds_fault(ratchet: str, mode: str) -> None:
    first, second = a_file(uploaded=ago(100)), a_file("2.0", uploaded=ago(50))
    policy = a_policy(f'ratchet = "{ratchet}"\nmode = "{mode}"')
    added = changes(policy, {first: signed(first), second: signed(second, **EVIL)})
    assert [each.identity for each in added.publishers] == [OCTO]


@pytest.mark.parametrize(("age", "expected"), [(14, True), (13.9, False)])
def test_a_publisher_is_a_fact_once_it_has_settled(age: float, expected: bool) -> None:
    file = a_file(uploaded=ago(age))
    found = changes(a_policy(), {file: signed(file)}).publishers
    assert found == ((EstablishedPublisher(identity=OCTO, logged=ago(age), existed=ago(age)),) if expected else ())


def test_a_publisher_is_recorded_when_it_has_settled_although_its_signer_was_recorded_before() -> None:
    file = a_file(uploaded=ago(14))
    known = seen(file, signers=(fact(file, 14),))
    added = changes(a_policy(), {file: signed(file)}, history=known)
    assert (added.signers, [each.identity for each in added.publishers]) == ((), [OCTO])
    after = replace(known, publishers=added.publishers)
    assert not changes(a_policy(), {file: signed(file)}, history=after)


def test_a_changed_publisher_is_no_fact_and_neither_is_who_signs_beside() -> None:
    first, second = a_file(uploaded=ago(100)), a_file("2.0", uploaded=ago(5))
    changed = changes(a_policy(), {first: signed(first), second: signed(second, **EVIL)})
    assert {each.identity for each in changed.signers} == {OCTO}
    beside = Attested(attestations=(attestation(ago(5)), attestation(ago(5), bundle=1, **EVIL)))
    ridden = changes(a_policy(), {first: signed(first), second: beside})
    assert {(each.filename, each.identity) for each in ridden.signers} == {
        (first.filename, OCTO),
        (second.filename, OCTO),
    }


def test_what_is_undecided_is_no_fact_yet() -> None:
    file = a_file()
    made = a_project(file)
    verdicts = page(a_policy(), file, default=None)
    added = derive_ledger_changes(
        a_policy(), made, index=INDEX, history=ProjectHistory(), verdicts=verdicts, evidence={}, now=NOW
    )
    assert (set(added.files), added.signers) == ({file.filename}, ())


def test_a_digest_that_was_forgotten_is_withheld_and_not_recorded_again_and_another_one_is() -> None:
    wrong, good = a_file(sha256=digest("wrong")), a_file(sha256=digest("good"))
    row = ForgottenFact(
        what=ForgottenKind.DIGEST, version=1, at=NOW, reason="", filename=wrong.filename, sha256=digest("wrong")
    )
    history = ProjectHistory(known=True, forgotten=ForgottenFacts((row,)))
    assert codes(page(PERMISSIVE, wrong, history=history)[0]) == [ReasonCode.DIGEST_CHANGED]
    assert codes(page(PERMISSIVE, good, history=history)[0]) == []
    for file, recorded in ((wrong, {}), (good, {good.filename: digest("good")})):
        found = derive_ledger_changes(
            PERMISSIVE,
            a_project(file),
            index=INDEX,
            history=history,
            verdicts=page(PERMISSIVE, file, history=history),
            evidence={},
            now=NOW,
        )
        assert {name: entry.sha256 for name, entry in found.files.items()} == recorded


def test_the_serial_of_a_page_is_recorded_unless_the_caller_says_that_it_does_not_count() -> None:
    for is_rolled_back, serial in ((False, 7), (True, None)):
        found = derive_ledger_changes(
            PERMISSIVE,
            a_project(a_file(), serial=7),
            index=INDEX,
            history=ProjectHistory(),
            verdicts=page(PERMISSIVE, a_file()),
            evidence={},
            now=NOW,
            is_rolled_back=is_rolled_back,
        )
        assert found.serial == serial
