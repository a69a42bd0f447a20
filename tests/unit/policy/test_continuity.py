"""Ways round the ratchet, each with its honest twin: what the ledger knows of a publisher stays.

The owner octo/widget attested releases long ago, and the ledger knows it as an established publisher. Then the target
appears: a release that is unattested, or that a stranger signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from assay.evidence import SLSA_PREDICATE_TYPE, Attested, Evidence
from assay.policy.judge import derive_ledger_changes
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, ReasonCode
from assay.ports import EstablishedPublisher, ProjectHistory
from assay.simple.model import File, Kind
from assay.store.ledger.rows import merge_changes
from tests.unit.policy.factories import (
    ENFORCE,
    INDEX,
    NOW,
    STRANGER,
    UNATTESTED,
    a_file,
    a_policy,
    a_project,
    ago,
    attestation,
    codes,
    days,
    digest,
    established,
    old,
    page,
    seen,
    signed,
)

OWNED = old(200, 150, 100)
KNOWN = seen(*OWNED, at=ago(90), publishers=(established(200),))
"""Facts of the ledger after a page with these releases was judged."""
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
NEW = a_file("9.0", uploaded=ago(1))
LOST, CHANGED = [ReasonCode.PROVENANCE_LOST], [ReasonCode.PUBLISHER_CHANGED]
TARGETS = [(UNATTESTED, LOST), (signed(NEW, **STRANGER), CHANGED), (signed(NEW), [])]
"""Evidence of the new release with the expected reasons: unattested, by a stranger, and by the owner (the twin)."""
targets = pytest.mark.parametrize(("evidence", "expected"), TARGETS)


def judge_new(
    listed: Mapping[File, Evidence], evidence: Evidence, policy: Policy = ENFORCE, history: ProjectHistory = KNOWN
) -> list[ReasonCode]:
    """Return the reasons against the new release on a page with the given other files."""
    return codes(page(policy, *listed, NEW, evidence={**listed, NEW: evidence}, history=history)[-1])


def learn(
    policy: Policy, listed: Mapping[File, Evidence], history: ProjectHistory | None = None, now: datetime = NOW
) -> ProjectHistory:
    """Return the history of the ledger after a page with these files was judged."""
    known = history or ProjectHistory()
    added = derive_ledger_changes(
        policy,
        a_project(*listed),
        index=INDEX,
        history=known,
        verdicts=page(policy, *listed, evidence=listed, history=known, now=now),
        evidence={(file.filename, file.sha256): found for file, found in listed.items() if file.sha256},
        now=now,
    )
    return merge_changes(known, added)


def test_the_ledger_learns_the_publisher_of_the_stories_below() -> None:
    assert learn(ENFORCE, OWNED).publishers == KNOWN.publishers


@targets
def test_deleting_the_attested_releases_does_not_help(evidence: Evidence, expected: list[ReasonCode]) -> None:
    assert judge_new({}, evidence) == expected
    fresh = judge_new({}, evidence, history=ProjectHistory())
    assert fresh == [], "a proxy that never saw them cannot know better"


@targets
def test_yanking_the_attested_releases_does_not_help(evidence: Evidence, expected: list[ReasonCode]) -> None:
    policy = a_policy('yanked = "deny"')
    yanked = {replace(file, yanked="gone"): found for file, found in OWNED.items()}
    assert judge_new(yanked, evidence, policy) == expected
    assert judge_new(yanked, evidence, policy, ProjectHistory()) == expected, "also on the first page"


@targets
def test_listing_each_attested_file_twice_does_not_help(evidence: Evidence, expected: list[ReasonCode]) -> None:
    twice = {replace(file, sha256=digest(f"other {file.filename}")): UNATTESTED for file in OWNED}
    assert judge_new({**OWNED, **twice}, evidence) == expected


@targets
def test_attested_source_archives_count_although_only_wheels_are_served(
    evidence: Evidence, expected: list[ReasonCode]
) -> None:
    policy = a_policy('types = ["wheel"]')
    files = [a_file(f"{number}.0", kind=Kind.SDIST, uploaded=ago(200 - number)) for number in range(3)]
    for history in (KNOWN, ProjectHistory()):
        assert judge_new({file: signed(file) for file in files}, evidence, policy, history) == expected


REVOKED = """
[[revocations]]
publishers = [{{ kind = "GitHub", repository = "octo/widget" }}]
reason = "stolen"
{window}
"""


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [(UNATTESTED, LOST), (signed(NEW, **STRANGER), CHANGED), (signed(NEW), [ReasonCode.REVOKED])],
)
def test_revoking_the_publisher_does_not_help(evidence: Evidence, expected: list[ReasonCode]) -> None:
    """No file may pass until a rule names a publisher."""
    policy = a_policy(more=REVOKED.format(window=""))
    assert judge_new(OWNED, evidence, policy) == expected
    named = a_policy('publishers = [{ kind = "GitHub", repository = "evil/widget" }]', more=REVOKED.format(window=""))
    assert (judge_new(OWNED, evidence, named) == []) is (expected == CHANGED)


def test_one_bad_day_with_a_stolen_workflow_costs_that_day_alone() -> None:
    window = f"signed-from = {ago(2).isoformat()}\nsigned-until = {ago(1.5).isoformat()}"
    policy = a_policy(more=REVOKED.format(window=window))
    bad = a_file("8.0", uploaded=ago(1.7))
    listed = {**OWNED, bad: signed(bad), NEW: signed(NEW)}
    verdicts = page(policy, *listed, evidence=listed, history=KNOWN)
    assert [codes(each) for each in verdicts[-2:]] == [[ReasonCode.REVOKED], []]
    assert judge_new(OWNED, UNATTESTED, policy) == LOST
    assert judge_new(OWNED, signed(NEW, **STRANGER), policy) == CHANGED


WAIVER = """
[[waivers]]
projects = ["*"]
sha256 = ["{sha256}"]
lifts = ["ratchet"]
expires = 2030-01-01
reason = "x"
"""


@pytest.mark.parametrize("mode", ["enforce", "audit"])
@pytest.mark.parametrize(
    ("rule", "more"),
    [
        ('ratchet-except = "==8.0"', ""),
        ('ratchet = "warn"', ""),
        ('ratchet = "off"', ""),
        ("", WAIVER),
        ('pins = ["{sha256}"]', ""),
        ('publishers = [{{ kind = "GitHub", repository = "evil/widget" }}]', ""),
    ],
)
def test_a_stranger_who_was_let_in_once_is_not_established_by_it(rule: str, more: str, mode: str) -> None:
    let_in = a_file("8.0", uploaded=ago(40))
    policy = a_policy(f'{rule.format(sha256=let_in.sha256)}\nmode = "{mode}"', more=more.format(sha256=let_in.sha256))
    listed = {**OWNED, let_in: signed(let_in, **STRANGER)}
    assert isinstance(page(policy, *listed, evidence=listed, history=KNOWN)[-1], Approved)
    history = learn(policy, listed, KNOWN)
    assert history.publishers == KNOWN.publishers
    assert judge_new(listed, signed(NEW, **STRANGER), history=history) == CHANGED
    assert judge_new(listed, signed(NEW), history=history) == []


def test_a_rule_that_names_the_new_repository_lets_an_honest_project_move() -> None:
    moved = signed(NEW, repository="new/widget", repository_id="2002")
    named = a_policy('publishers = [{ kind = "GitHub", repository = "new/widget" }]')
    assert judge_new({}, moved) == CHANGED
    assert judge_new({}, moved, named) == []


@pytest.mark.parametrize("change", [{"repository": "new/widget"}, {"workflow": ".github/workflows/new.yml"}])
def test_a_renamed_repository_or_workflow_is_the_same_publisher_also_without_its_old_files(
    change: dict[str, str],
) -> None:
    assert judge_new({}, signed(NEW, **change)) == []
    assert judge_new({}, signed(NEW, **change, repository_id="2002")) == CHANGED


def test_a_project_that_is_attested_from_now_on_keeps_its_older_files() -> None:
    before: dict[File, Evidence] = {a_file(f"0.{number}", uploaded=ago(400 - number)): UNATTESTED for number in (1, 2)}
    listed = {**before, **OWNED}
    history = learn(ENFORCE, listed)
    assert history.publishers == KNOWN.publishers
    assert [codes(each) for each in page(ENFORCE, *listed, evidence=listed, history=history)] == [[]] * 5
    assert judge_new(listed, UNATTESTED, history=history) == LOST


@pytest.mark.parametrize(("signed_ago", "count"), [(50, 1), (199.9, 2)])
def test_signing_an_old_file_beside_its_owner_does_not_establish_a_stranger_in_the_past(
    signed_ago: float, count: int
) -> None:
    """The first file is older than every established publisher. The time of the signature counts."""
    first = next(iter(OWNED))
    beside = attestation(ago(signed_ago), predicate_type=SLSA_PREDICATE_TYPE, bundle=1, **STRANGER)
    listed: dict[File, Evidence] = {**OWNED, first: Attested(attestations=(attestation(ago(200)), beside))}
    history = learn(ENFORCE, listed)
    assert len(history.publishers) == count
    assert judge_new(listed, signed(NEW, **STRANGER), history=history) == ([] if count == 2 else CHANGED)
    assert len(learn(ENFORCE, listed, KNOWN).publishers) == count
    assert judge_new(listed, signed(NEW), history=history) == []


def test_a_page_that_lists_an_older_file_for_the_first_time_establishes_nobody_in_the_past() -> None:
    ancient = a_file("0.1", uploaded=ago(900))
    listed = {**OWNED, ancient: signed(ancient, **STRANGER)}
    assert learn(ENFORCE, listed, KNOWN).publishers == KNOWN.publishers
    (first,) = learn(ENFORCE, listed).publishers
    assert first.identity.subject == "repository-id:666", "on the first page of all, the signer of 0.1 came first"


def test_a_publisher_is_recorded_by_the_page_that_is_judged_once_it_has_settled() -> None:
    file = a_file("1.0", uploaded=ago(5))
    history = learn(ENFORCE, {file: signed(file)})
    assert (len(history.signers), history.publishers) == (1, ())
    later = learn(ENFORCE, {file: signed(file)}, history, now=NOW + days(9))
    assert [each.logged for each in later.publishers] == [ago(5)]
    assert learn(ENFORCE, {}, history, now=NOW + days(9)).publishers == (), "the file was withdrawn before it settled"


def test_a_publisher_in_an_imported_ledger_may_have_any_time() -> None:
    """A time that cannot be added to is no error of the page."""
    late = EstablishedPublisher(identity=established(1).identity, logged=END_OF_TIME, existed=END_OF_TIME)
    assert judge_new(OWNED, signed(NEW), history=replace(KNOWN, publishers=(late,))) == []
    assert judge_new({}, UNATTESTED, history=replace(KNOWN, publishers=(late,))) == []
