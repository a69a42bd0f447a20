"""Precedence (docs/policy-semantics.md): the first step that applies decides, and all that apply are reported."""

from __future__ import annotations

import pytest

from assay.evidence import PROVENANCE_OMITTED, Forged, Unattested
from assay.policy.judge import (
    PageContext,
    apply_mode,
    find_mode,
    find_next_change,
    is_denied,
    judge_file,
    judge_page_in_mode,
    requires_wheel_metadata,
)
from assay.policy.language.document import BUILT_IN_POLICY, load_policy
from assay.policy.language.model import Mode
from assay.policy.verdict import Approved, ReasonCode, Undecided, Withheld, approve
from assay.ports import ProjectHistory
from assay.simple.model import NormalizedName
from tests.unit.policy.factories import (
    FORGED,
    INDEX,
    NOW,
    PERMISSIVE,
    UNATTESTED,
    a_file,
    a_policy,
    a_project,
    ago,
    attested,
    codes,
    days,
    digest,
    one,
    signed,
)

FILE = a_file()
PIN = f'pins = ["{FILE.sha256}"]'
REVOKED = f'[[revocations]]\nsha256 = ["{FILE.sha256}"]\nreason = "stolen"'


def test_what_no_rule_covers_is_withheld() -> None:
    policy = load_policy('version = 1\n[[rules]]\nprojects = ["gadget"]\n', "policy.toml")
    assert codes(one(policy, FILE)) == [ReasonCode.NO_RULE]
    assert codes(one(policy, a_file(project="gadget"), name="gadget")) == []


def test_the_first_rule_that_covers_a_name_governs_it() -> None:
    text = 'version = 1\n[[rules]]\nprojects = ["wid*"]\n[[rules]]\nprojects = ["*"]\ndeny = "all else"\n'
    policy = load_policy(text, "policy.toml")
    assert codes(one(policy, FILE)) == []
    assert codes(one(policy, a_file(project="gadget"), name="gadget")) == [ReasonCode.DENIED]


def test_a_denial_says_why() -> None:
    verdict = one(a_policy('deny = "typosquat of gadget"'), FILE)
    assert isinstance(verdict, Withheld)
    assert verdict.enforced
    assert "typosquat of gadget" in verdict.reasons[0].message


def test_revocation_comes_before_denial_and_both_are_reported() -> None:
    assert codes(one(a_policy('deny = "no"', more=REVOKED), FILE)) == [ReasonCode.REVOKED, ReasonCode.DENIED]


def test_denial_beats_a_pin() -> None:
    assert codes(one(a_policy(f'deny = "no"\n{PIN}'), FILE)) == [ReasonCode.DENIED]


def test_a_revocation_beats_a_pin() -> None:
    assert codes(one(a_policy(PIN, more=REVOKED), FILE)) == [ReasonCode.REVOKED]
    assert codes(one(a_policy(PIN), FILE)) == []


def test_an_always_on_check_beats_a_pin() -> None:
    foreign = a_file(url="https://evil.example/widget-1.0-py3-none-any.whl")
    assert codes(one(a_policy(PIN), foreign)) == [ReasonCode.FOREIGN_HOST]
    backdated = a_file(uploaded=ago(400))
    assert codes(one(a_policy(PIN), backdated, attested(ago(300)))) == [ReasonCode.TIME_CONFLICT]


@pytest.mark.parametrize("evidence", [FORGED, UNATTESTED, None])
def test_a_pin_approves_exactly_that_file_whatever_its_evidence(evidence: Unattested | Forged | None) -> None:
    policy = a_policy(f'{PIN}\nattestations = "required"\npublishers = "any"\nmin-age = "9000 days"')
    verdict = one(policy, FILE, evidence)
    assert isinstance(verdict, Approved)
    assert any("pinned" in note for note in verdict.notes)
    assert ReasonCode.TOO_YOUNG in {reason.code for reason in verdict.despite}
    assert one(policy, a_file("2.0"), UNATTESTED) != verdict
    assert ReasonCode.UNATTESTED in codes(one(policy, a_file("2.0"), UNATTESTED))


def test_a_pin_waits_for_evidence_where_only_that_tells_of_a_revocation() -> None:
    stolen = '[[revocations]]\npublishers = [{ kind = "GitHub", repository = "octo/widget" }]\nreason = "stolen"'
    policy = a_policy(PIN, more=stolen)
    assert isinstance(one(policy, FILE, None), Undecided)
    assert codes(one(policy, FILE, signed(FILE))) == [ReasonCode.REVOKED]
    assert codes(one(policy, FILE, signed(FILE, repository="octo/other"))) == []


def test_only_pinned_files_are_approved_where_only_pins_count() -> None:
    policy = a_policy(f"{PIN}\npinned-only = true")
    assert codes(one(policy, FILE)) == []
    verdict = one(policy, a_file("2.0"), None)
    assert codes(verdict) == [ReasonCode.NOT_PINNED]
    assert isinstance(verdict, Withheld)
    assert verdict.enforced


def test_forged_evidence_withholds_in_either_mode() -> None:
    verdict = one(a_policy('mode = "audit"'), FILE, FORGED)
    assert isinstance(verdict, Withheld)
    assert (codes(verdict), verdict.enforced) == ([ReasonCode.FORGED], True)
    assert (verdict.reasons[0].expected, verdict.reasons[0].found) == ("aa", "bb")


def test_a_promised_provenance_that_is_not_there_has_its_own_code() -> None:
    omitted = Forged(step=PROVENANCE_OMITTED, expected="a provenance", found="404")
    assert codes(one(PERMISSIVE, FILE, omitted)) == [ReasonCode.PROVENANCE_MISSING]


def test_every_reason_that_applies_is_reported_the_deciding_one_first() -> None:
    policy = a_policy('yanked = "deny"\nmin-age = "9000 days"\nindexes = ["internal"]')
    verdict = one(policy, a_file(yanked="broken"), FORGED)
    assert codes(verdict) == [ReasonCode.FORGED, ReasonCode.INDEX, ReasonCode.TOO_YOUNG, ReasonCode.YANKED]


def test_reasons_stand_in_the_order_of_precedence() -> None:
    policy = a_policy(
        'attestations = "required"\npublishers = "any"\nmin-age = "9000 days"\nuploaded-before = 2020-01-01\n'
        'types = ["sdist"]\nyanked = "deny"\nproject-status = ["archived"]\nindexes = ["internal"]'
    )
    found = codes(one(policy, a_file(yanked=""), mismatched=[digest(FILE.filename)]))
    assert found == sorted(found, key=list(ReasonCode).index)
    assert len(found) == 8


def test_audit_mode_lifts_requirements_only() -> None:
    unmet = one(a_policy('types = ["sdist"]'), FILE)
    denied = one(a_policy('deny = "no"'), FILE)
    assert isinstance(unmet, Withheld)
    assert isinstance(denied, Withheld)
    lifted = apply_mode(Mode.AUDIT, unmet)
    assert isinstance(lifted, Approved)
    assert lifted.despite == unmet.reasons
    assert apply_mode(Mode.AUDIT, denied) is denied
    assert apply_mode(Mode.ENFORCE, unmet) is unmet


def test_a_rule_may_have_a_mode_of_its_own() -> None:
    assert find_mode(a_policy('mode = "audit"'), NormalizedName("widget")) is Mode.AUDIT
    assert find_mode(a_policy('mode = "enforce"', top='mode = "audit"'), NormalizedName("widget")) is Mode.ENFORCE
    assert find_mode(a_policy(top='mode = "audit"'), NormalizedName("widget")) is Mode.AUDIT
    assert find_mode(a_policy(), NormalizedName("widget")) is Mode.ENFORCE


@pytest.mark.parametrize(("mode", "kind"), [("audit", Approved), ("enforce", Withheld)])
def test_a_page_is_decided_in_the_mode_that_governs_it(mode: str, kind: type) -> None:
    policy = a_policy(f'types = ["sdist"]\nmode = "{mode}"')
    evidence = {(FILE.filename, digest(FILE.filename)): UNATTESTED}
    decided = judge_page_in_mode(
        policy, a_project(FILE), index=INDEX, history=ProjectHistory(), evidence=evidence, now=NOW
    )
    assert isinstance(decided[0], kind)
    unknown = judge_page_in_mode(policy, a_project(FILE), index=INDEX, history=ProjectHistory(), evidence={}, now=NOW)
    # Audit mode would serve the file, so its evidence is needed.
    assert isinstance(unknown[0], Undecided if mode == "audit" else Withheld)


def test_one_file_is_judged_in_the_circumstances_that_are_stated() -> None:
    context = PageContext(project=NormalizedName("widget"), index=INDEX)
    assert isinstance(judge_file(PERMISSIVE, FILE, UNATTESTED, context, NOW), Approved)
    assert isinstance(judge_file(PERMISSIVE, FILE, None, context, NOW), Undecided)
    assert isinstance(judge_file(a_policy('deny = "no"'), FILE, None, context, NOW), Withheld)


def test_the_built_in_policy_approves_what_is_not_forged_and_only_warns_of_lost_provenance() -> None:
    assert codes(one(BUILT_IN_POLICY, FILE)) == []
    assert codes(one(BUILT_IN_POLICY, FILE, FORGED)) == [ReasonCode.FORGED]
    assert find_mode(BUILT_IN_POLICY, NormalizedName("anything")) is Mode.ENFORCE


def test_a_name_is_denied_when_nothing_of_it_can_be_approved() -> None:
    policy = load_policy(
        'version = 1\n[[rules]]\nprojects = ["bad"]\ndeny = "no"\n[[rules]]\nprojects = ["good-*"]\n', "policy.toml"
    )
    denied = {name: is_denied(policy, NormalizedName(name)) for name in ("bad", "good-one", "other")}
    assert denied == {"bad": True, "good-one": False, "other": True}


def test_the_page_changes_next_when_the_first_of_its_verdicts_does() -> None:
    policy = a_policy('min-age = "3 days"')
    verdicts = [one(policy, a_file(str(number), uploaded=ago(number))) for number in (1, 2, 5)]
    assert find_next_change(verdicts) == NOW + days(1)
    assert find_next_change([one(policy, FILE), Undecided(file=FILE)]) is None


def test_only_policy_makes_approvals() -> None:
    with pytest.raises(TypeError, match=r"only assay\.policy"):
        Approved(file=FILE, rule="all", evidence=None)
    assert approve(FILE, rule="all", evidence=None).file is FILE


@pytest.mark.parametrize(
    ("keys", "expected"), [('metadata = "wheel"', True), ('metadata = "index"', False), ("", False)]
)
def test_a_rule_says_where_metadata_comes_from(keys: str, expected: bool) -> None:
    assert requires_wheel_metadata(a_policy(keys), NormalizedName("widget")) is expected
