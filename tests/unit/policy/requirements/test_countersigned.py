"""Tests of the requirement `countersigned`: its keys, its conditions, and the statements that count."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import ConfigurationError
from assay.evidence import Attestation, Attested, Evidence, Forged, KeyStatement, Unattested
from assay.policy.judge import SourceFacts, judge_page
from assay.policy.language.document import load_policy
from assay.policy.language.values import KnownNames
from assay.policy.requirements.countersigned import Condition
from assay.policy.verdict import Approved, Undecided, Verdict, Withheld
from assay.ports import ProjectHistory
from tests.unit.policy.factories import GITHUB, INDEX, NOW, a_file, a_project, attestation

REVIEW = "https://acme.example/review/v1"
FILE = a_file()
KEY = (FILE.filename, FILE.sha256)
REVIEWS = SourceFacts(name="reviews")
STORE = SourceFacts(name="github", publisher_kind="GitHub", issuer=GITHUB)
BY_KEY = f'{{ key = "security", predicate = "{REVIEW}", where = {{ verdict = "ok" }} }}'
BY_ACME = f'{{ kind = "GitHub", repository = "acme/reviews", predicate = "{REVIEW}" }}'


def rule(*signers: str, more: str = "") -> str:
    return f'version = 1\n[[rules]]\nname = "r"\nprojects = ["*"]\ncountersigned = [{", ".join(signers)}]\n{more}'


def judge(text: str, evidence: Evidence, *, answered: frozenset[str] | None = None, sources: Any = ()) -> Verdict:
    (verdict,) = judge_page(
        load_policy(text, "policy.toml"),
        a_project(FILE),
        index=INDEX,
        history=ProjectHistory(),
        evidence={KEY: evidence},  # type: ignore[dict-item]  # the file has a digest
        now=NOW,
        sources=sources,
        answered={KEY: answered or frozenset()},  # type: ignore[dict-item]
    )
    return verdict


def said(predicate: str | None = '{"verdict":"ok"}', **changes: Any) -> KeyStatement:
    fields = {"key": "security", "predicate_type": REVIEW, "predicate": predicate, "source": "reviews", **changes}
    return KeyStatement(**fields)


def codes(verdict: Verdict) -> list[str]:
    return [reason.code.value for reason in verdict.reasons] if isinstance(verdict, Withheld) else []


def by_acme(**changes: Any) -> Attestation:
    made = attestation(repository="acme/reviews", predicate_type=REVIEW)
    return replace(made, **{"source": "github", "predicate": '{"verdict":"ok"}', **changes})


def test_a_statement_of_the_key_approves_and_its_absence_withholds() -> None:
    assert isinstance(judge(rule(BY_KEY), Unattested(key_statements=(said(),))), Approved)
    missing = judge(rule(BY_KEY), Unattested())
    assert codes(missing) == ["countersigned"]
    assert isinstance(missing, Withheld)
    assert "the key security" in missing.reasons[0].message


@pytest.mark.parametrize(
    "statement",
    [said(key="legal"), said(predicate_type="https://acme.example/other/v1"), said('{"verdict":"bad"}'), said(None)],
    ids=["another key", "another type", "another verdict", "too large"],
)
def test_another_statement_does_not_approve(statement: KeyStatement) -> None:
    assert codes(judge(rule(BY_KEY), Unattested(key_statements=(statement,)))) == ["countersigned"]


def test_a_second_statement_that_says_otherwise_withholds() -> None:
    both = (said(), said('{"verdict":"bad"}'))
    assert codes(judge(rule(BY_KEY), Unattested(key_statements=both))) == ["countersigned"]
    unrelated = (said(), said('{"verdict":"bad"}', key="legal"), said('{"a":1}', predicate_type="https://b.example/"))
    assert isinstance(judge(rule(BY_KEY), Unattested(key_statements=unrelated)), Approved)


def test_all_named_parties_must_have_signed() -> None:
    text = rule(BY_KEY, BY_ACME)
    assert isinstance(judge(text, Attested(attestations=(by_acme(),), key_statements=(said(),))), Approved)
    assert codes(judge(text, Attested(attestations=(by_acme(),)))) == ["countersigned"]
    assert codes(judge(text, Unattested(key_statements=(said(),)))) == ["countersigned"]


@pytest.mark.parametrize(
    "changes",
    [
        {"claims": attestation(repository="evil/reviews").claims},
        {"predicate_type": "https://acme.example/other/v1"},
        {"source": "index"},
    ],
    ids=["another repository", "another type", "the index"],
)
def test_another_attestation_is_no_countersignature(changes: dict[str, Any]) -> None:
    assert isinstance(judge(rule(BY_ACME), Attested(attestations=(by_acme(),))), Approved)
    assert codes(judge(rule(BY_ACME), Attested(attestations=(by_acme(**changes),)))) == ["countersigned"]


def test_a_revoked_key_counts_for_nothing() -> None:
    revoked = '[[revocations]]\nkeys = ["security"]\nreason = "lost"\n'
    evidence = Unattested(key_statements=(said(),))
    withheld = judge(rule(BY_KEY, more=revoked), evidence)
    assert codes(withheld) == ["countersigned"]
    assert isinstance(withheld, Withheld)
    assert "revoked" in withheld.reasons[0].message
    assert isinstance(judge(rule(BY_KEY, more=revoked.replace("security", "legal")), evidence), Approved)


SIGNED = by_acme().integrated_time
IN_WINDOW = f"signed-from = {SIGNED.isoformat()}\nsigned-until = {(SIGNED + timedelta(hours=1)).isoformat()}\n"
BEFORE_WINDOW = f"signed-from = {(SIGNED + timedelta(seconds=1)).isoformat()}\n"
ACME_REVIEWS = 'publishers = [{ kind = "GitHub", repository = "acme/reviews" }]\n'


@pytest.mark.parametrize(
    ("revocation", "counts"),
    [
        (ACME_REVIEWS, False),
        (ACME_REVIEWS + IN_WINDOW, False),
        (ACME_REVIEWS + BEFORE_WINDOW, True),
        (ACME_REVIEWS.replace("reviews", "widget"), True),
        (f'certificates = ["{by_acme().certificate}"]\n', False),
        (f'certificates = ["{"0" * 64}"]\n', True),
    ],
    ids=["publisher", "in window", "out of window", "another publisher", "certificate", "another certificate"],
)
def test_a_revoked_statement_of_a_publisher_counts_for_nothing(revocation: str, counts: bool) -> None:
    text = rule(BY_ACME, more=f'[[revocations]]\n{revocation}reason = "stolen workflow"\n')
    verdict = judge(text, Attested(attestations=(by_acme(),)))
    assert codes(verdict) == ([] if counts else ["countersigned"])
    if isinstance(verdict, Withheld):
        assert "its statement is revoked" in verdict.reasons[0].message
    without_rule = text.replace(f"countersigned = [{BY_ACME}]", "")
    assert isinstance(judge(without_rule, Attested(attestations=(by_acme(),))), Approved), "only reviews are revoked"


def test_a_revocation_of_a_statement_that_says_otherwise_approves_nothing() -> None:
    signer = BY_ACME.replace(" }", ', where = { verdict = "ok" } }')
    bad = by_acme(predicate='{"verdict":"bad"}', integrated_time=SIGNED + timedelta(days=1))
    good_first = Attested(attestations=(by_acme(), bad))
    revoked = f'[[revocations]]\n{ACME_REVIEWS}{BEFORE_WINDOW}reason = "stolen workflow"\n'
    assert codes(judge(rule(signer), good_first)) == ["countersigned"]
    assert codes(judge(rule(signer, more=revoked), good_first)) == ["countersigned"]
    assert isinstance(judge(rule(signer, more=revoked), Attested(attestations=(by_acme(),))), Approved)


def test_only_sources_that_count_countersign() -> None:
    evidence = Unattested(key_statements=(said(),))
    assert codes(judge(rule(BY_KEY, more='evidence = ["index"]\n'), evidence)) == ["countersigned"]
    assert isinstance(judge(rule(BY_KEY, more='evidence = ["reviews"]\n'), evidence), Approved)


def test_a_waiver_lifts_it_and_forged_evidence_stays_forged() -> None:
    waiver = (
        '[[waivers]]\nprojects = ["*"]\nsha256 = ["' + str(FILE.sha256) + '"]\nlifts = ["countersigned"]\n'
        'expires = 2027-01-01\nreason = "urgent"\n'
    )
    assert isinstance(judge(rule(BY_KEY, more=waiver), Unattested(), sources=(REVIEWS,)), Approved), "nothing is asked"
    assert isinstance(judge(rule(BY_KEY), Unattested(), sources=(REVIEWS,)), Undecided)
    waived = judge(rule(BY_KEY, more=waiver), Unattested())
    assert isinstance(waived, Approved)
    assert [each.code.value for each in waived.despite] == ["countersigned"]
    forged = judge(rule(BY_KEY, more=waiver), Forged(step="a", expected="b", found="c"))
    assert codes(forged)[0] == "forged"


def test_a_file_is_approved_only_after_all_sources_that_may_say_otherwise_have_answered() -> None:
    text, evidence = rule(BY_KEY, BY_ACME), Attested(attestations=(by_acme(),), key_statements=(said(),))
    sources = (REVIEWS, STORE, SourceFacts(name="other", publisher_kind="GitHub", issuer="https://ghe.example"))
    questions = {"reviews", "github:acme/reviews"}
    asked = judge(text, evidence, sources=sources)
    assert isinstance(asked, Undecided)
    assert asked.wants == questions
    half = judge(text, evidence, sources=sources, answered=frozenset({"reviews"}))
    assert isinstance(half, Undecided)
    assert half.wants == {"github:acme/reviews"}
    assert isinstance(judge(text, evidence, sources=sources, answered=frozenset(questions)), Approved)


VALUES = st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5, "", "1", "ok"])


@given(VALUES, VALUES | st.none() | st.just([1]) | st.just({"a": 1}))
def test_values_are_compared_by_type(expected: Any, found: Any) -> None:
    condition = Condition(path=("a", "b.c"), equals=expected)
    are_numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (expected, found))
    is_same = (are_numbers or type(expected) is type(found)) and expected == found
    assert condition.is_met({"a": {"b.c": found}, "b.c": expected}) == is_same


@pytest.mark.parametrize("predicate", [None, [], "x", {}, {"a": None}, {"a": []}, {"a.b": 1}, {"b": {"a": 1}}])
def test_a_missing_path_is_not_met(predicate: object) -> None:
    assert not Condition(path=("a", "b"), equals=1).is_met(predicate)
    assert Condition(path=("a", "b"), equals=1).is_met({"a": {"b": 1}})


@pytest.mark.parametrize(
    ("signer", "expected"),
    [
        (f'{{ predicate = "{REVIEW}" }}', "either key or the keys of a publisher"),
        (f'{{ key = "security", kind = "GitHub", repository = "a/b", predicate = "{REVIEW}" }}', "either key"),
        ('{ key = "security" }', "predicate"),
        (f'{{ key = "unknown", predicate = "{REVIEW}" }}', "security"),
        (f'{{ kind = "GitHub", repository = "acme", predicate = "{REVIEW}" }}', "owner/name"),
        (f'{{ key = "security", predicate = "{REVIEW}", where = {{ a = [1] }} }}', "where"),
        (f'{{ key = "security", predicate = "{REVIEW}", where = [{{ path = [], equals = 1 }}] }}', "path"),
        (f'{{ key = "security", predicate = "{REVIEW}", other = 1 }}', "other"),
    ],
)
def test_a_table_that_cannot_work_is_refused(signer: str, expected: str) -> None:
    known = KnownNames(indexes=frozenset(), trust_roots=frozenset(), keys=frozenset({"security"}))
    with pytest.raises(ConfigurationError, match=expected):
        load_policy(rule(signer), "policy.toml", known)
    load_policy(rule(BY_KEY), "policy.toml", known)
