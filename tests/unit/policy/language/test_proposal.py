"""Proposed policy text: it loads, it matches the proven publishers, and untrusted values stay quoted."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from assay.evidence import Claims
from assay.policy.language.document import load_policy
from assay.policy.language.model import Lift
from assay.policy.language.proposal import (
    ProvenProject,
    escape_toml_comment,
    format_pinned_rule,
    format_publisher_rules,
    format_waiver,
    format_waiver_of,
    make_publisher_entry,
    quote_toml,
)
from assay.policy.verdict import ReasonCode, Withheld
from assay.policy.waivers import find_unliftable
from assay.publishers.github import GitHub
from assay.publishers.matching import compile_publisher
from assay.simple.model import Sha256
from tests.unit.policy.factories import a_file, a_policy, ago, attestation, claims, page

TEXT = st.text(max_size=40)
A, B = Sha256("aa" * 32), Sha256("bb" * 32)


def policy(lines: list[str]) -> str:
    return "\n".join(["version = 1", *lines, ""])


def proven(name: str, *signers: Claims, version: str = "1.0") -> ProvenProject:
    made = ProvenProject(project=canonicalize_name(name), versions={version})
    for signer in signers:
        assert made.add([attestation(claims=signer)])
    return made


@given(TEXT)
def test_any_text_survives_as_a_toml_string(text: str) -> None:
    surrogates = any(0xD800 <= ord(each) <= 0xDFFF for each in text)
    assert surrogates or tomllib.loads(f"x = {quote_toml(text)}") == {"x": text}


@given(st.text(max_size=40))
def test_no_comment_ends_early(text: str) -> None:
    assert tomllib.loads(f"x = 1 # {escape_toml_comment(text)}\n") == {"x": 1}


@settings(max_examples=40)
@given(TEXT, TEXT.filter(lambda text: bool(text) and text.isprintable()))
def test_a_waiver_loads_whatever_its_files_are_called(filename: str, reason: str) -> None:
    lines = format_waiver(
        projects=[canonicalize_name("foo")],
        files={A: filename},
        lifts=[Lift("min-age"), Lift("ratchet")],
        expires=date(2026, 12, 15),
        reason=reason,
        approved_by=None,
    )
    (only,) = load_policy(policy(lines), "policy.toml").waivers
    assert only.sha256 == (A,)
    assert only.lifts == (Lift("min-age"), Lift("ratchet"))
    assert only.reason == reason


def test_projects_of_the_same_publishers_share_a_rule() -> None:
    other = claims(repository="acme/other", repository_id="7", owner_id="8")
    lines = format_publisher_rules([proven("foo", claims()), proven("bar", other), proven("baz", claims())])
    rules = load_policy(policy(lines), "policy.toml").rules
    assert [set(rule.projects) for rule in rules] == [{"bar"}, {"foo", "baz"}]


def test_a_proposed_publisher_covers_who_signed_and_not_who_registers_the_name_again() -> None:
    (rule,) = load_policy(policy(format_publisher_rules([proven("foo", claims())])), "policy.toml").rules
    assert isinstance(rule.publishers, tuple)
    (publisher,) = rule.publishers
    assert isinstance(publisher, GitHub)
    assert publisher.workflow == "release.yml"
    covers = compile_publisher(publisher).covers
    assert covers(attestation())
    assert not covers(attestation(repository_id="666"))
    assert not covers(attestation(owner_id="666"))


def test_an_enterprise_publisher_keeps_its_issuer_and_a_person_is_none() -> None:
    enterprise = replace(claims(), issuer="https://token.acme.example")
    assert ("issuer", "https://token.acme.example") in (make_publisher_entry(enterprise) or ())
    assert "issuer" not in dict(make_publisher_entry(claims()) or ())
    assert make_publisher_entry(replace(claims(), kind=None)) is None
    robot = Claims(kind="Google", issuer="https://accounts.google.com", san="r@x", email="r@x")
    assert make_publisher_entry(robot) == (("kind", "Google"), ("email", "r@x"))


def test_what_proves_nothing_is_pinned_to_the_byte() -> None:
    mixed = proven("foo", claims())
    mixed.unproven[A] = a_file().filename
    nothing = ProvenProject(project=canonicalize_name("bar"), unproven={B: "bar-1.0.tar.gz"})
    text = policy([*format_publisher_rules([mixed, nothing]), *format_pinned_rule([mixed, nothing])])
    first, second = load_policy(text, "policy.toml").rules
    assert (first.pins, first.pinned_only) == ((A,), False)
    assert (second.pins, second.pinned_only, second.projects) == ((B,), True, ("bar",))
    assert format_pinned_rule([mixed]) == []


def test_a_waiver_may_end_at_an_instant() -> None:
    def expiry(expires: date) -> datetime:
        lines = format_waiver(
            projects=[canonicalize_name("foo")],
            files={A: "foo-1.0.tar.gz"},
            lifts=[Lift("min-age")],
            expires=expires,
            reason="x",
            approved_by=None,
        )
        return load_policy(policy(lines), "policy.toml").waivers[0].expires

    assert expiry(datetime(2026, 12, 15, 1, 31, tzinfo=UTC)) == datetime(2026, 12, 15, 1, 31, tzinfo=UTC)
    assert expiry(date(2026, 12, 15)) == datetime(2026, 12, 16, tzinfo=UTC)


def test_a_waiver_of_withheld_files_lifts_the_reasons_of_each() -> None:
    strict = a_policy('attestations = "required"\npublishers = "any"\nmin-age = "9 days"')
    young, bare = a_file("1.0", uploaded=ago(1)), a_file("2.0", uploaded=ago(10))
    files = page(strict, young, bare)
    withheld = [each for each in files if isinstance(each, Withheld)]
    assert len(withheld) == 2
    lines = format_waiver_of(withheld, expires=date(2999, 1, 1), reason="x")
    waived = load_policy(policy(["[[rules]]", 'projects = ["*"]', *lines]), "policy.toml").waivers[0]
    assert set(waived.sha256 or ()) == {young.sha256, bare.sha256}
    assert {lift.value for lift in waived.lifts} == {"attestations", "min-age"}
    assert [find_unliftable(each) for each in withheld] == [None, None]
    (one_file,) = load_policy(policy(format_waiver_of(withheld[1:], expires=date(2999, 1, 1), reason="x")), "p").waivers
    assert {lift.value for lift in one_file.lifts} == {"attestations"}


def test_what_no_waiver_lifts_has_something_to_do_instead() -> None:
    (denied,) = page(a_policy('deny = "no"\nmin-age = "9 days"'), a_file(uploaded=ago(1)))
    assert isinstance(denied, Withheld)
    found = find_unliftable(denied)
    assert found is not None
    assert (found.reason.code, found.remedy) == (ReasonCode.DENIED, "if the denial is wrong, change the rule")
    (faulty,) = page(a_policy(), replace(a_file(), sha256=None))
    assert isinstance(faulty, Withheld)
    found = find_unliftable(faulty)
    assert found is not None
    assert found.reason.code is ReasonCode.NO_SHA256
    assert "use another file or version" in found.remedy
