"""Other requirements of step 6, each with a file that meets it and a waiver that lifts it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from assay.policy.verdict import Approved, ReasonCode, Undecided, Withheld
from assay.ports import ProjectHistory, SeenFile
from assay.simple.model import File, Kind, ProjectStatus
from tests.unit.policy.factories import (
    NOW,
    a_file,
    a_policy,
    ago,
    attested,
    codes,
    days,
    digest,
    one,
    page,
    seen,
    signed,
)

FILE = a_file()
ARCHIVED = {"status": ProjectStatus(status="archived", reason="gone")}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], ReasonCode, str]] = [
    ('indexes = ["internal"]', {}, {}, ReasonCode.INDEX, "indexes"),
    ('min-age = "3 days"', {"uploaded": ago(2)}, {}, ReasonCode.TOO_YOUNG, "min-age"),
    ("uploaded-before = 2026-11-01", {"uploaded": ago(2)}, {}, ReasonCode.UPLOADED_AFTER, "uploaded-before"),
    ('types = ["sdist"]', {}, {}, ReasonCode.FILE_TYPE, "types"),
    ('yanked = "deny"', {"yanked": ""}, {}, ReasonCode.YANKED, "yanked"),
    ('project-status = ["active", "deprecated"]', {}, ARCHIVED, ReasonCode.PROJECT_STATUS, "project-status"),
    ("", {}, {"mismatched": [digest(FILE.filename)]}, ReasonCode.METADATA_MISMATCH, "metadata"),
]


@pytest.mark.parametrize(("keys", "file", "page_has", "code", "lift"), CASES)
def test_a_requirement_that_is_not_met_withholds_at_once_and_a_waiver_lifts_it(
    keys: str, file: dict[str, Any], page_has: dict[str, Any], code: ReasonCode, lift: str
) -> None:
    made = a_file(**file)
    verdict = one(a_policy(keys), made, **page_has)
    assert isinstance(verdict, Withheld)
    assert (codes(verdict), verdict.enforced) == ([code], False)
    assert codes(one(a_policy(keys), made, None, **page_has)) == [code]
    waiver = (
        f'[[waivers]]\nprojects = ["*"]\nsha256 = ["{made.sha256}"]\nlifts = ["{lift}"]\n'
        'expires = 2027-01-01\nreason = "x"'
    )
    lifted = one(a_policy(keys, more=waiver), made, **page_has)
    assert isinstance(lifted, Approved)
    assert [reason.code for reason in lifted.despite] == [code]
    assert isinstance(one(a_policy(keys, more=waiver), made, None, **page_has), Undecided)


@pytest.mark.parametrize(
    ("keys", "file", "project"),
    [
        ('indexes = ["internal", "pypi"]', {}, {}),
        ('min-age = "3 days"', {"uploaded": ago(3)}, {}),
        ('min-age = "0 days"', {"upload_time": None}, {}),
        ("uploaded-before = 2026-11-01", {"uploaded": ago(30)}, {}),
        ('types = ["sdist", "wheel"]', {}, {}),
        ('yanked = "deny"', {}, {}),
        ('yanked = "allow"', {"yanked": "broken"}, {}),
        ("", {"yanked": "broken"}, {}),
        ('project-status = ["active"]', {}, {}),
        ('project-status = ["active"]', {}, {"status": ProjectStatus(status="active")}),
        ("", {}, {"status": ProjectStatus(status="archived")}),
        ("", {"upload_time": None}, {}),
    ],
)
def test_a_requirement_that_is_met_or_absent_withholds_nothing(
    keys: str, file: dict[str, Any], project: dict[str, Any]
) -> None:
    assert codes(one(a_policy(keys), a_file(**file), **project)) == []


# time


def test_too_young_says_from_when_it_is_allowed() -> None:
    verdict = one(a_policy('min-age = "3 days"'), a_file(uploaded=datetime(2026, 11, 21, 9, 0, 30, tzinfo=NOW.tzinfo)))
    assert isinstance(verdict, Withheld)
    reason = verdict.reasons[0]
    assert reason.message == "the file is 2 hours old, but the rule requires 3 days; allowed from 2026-11-24 09:01 UTC"
    assert (reason.expected, reason.found) == ("at least 3 days old", "2 hours old")
    assert reason.until == verdict.changes_at == datetime(2026, 11, 24, 9, 0, 30, tzinfo=NOW.tzinfo)


def test_the_age_is_reached_at_its_very_instant() -> None:
    policy, file = a_policy('min-age = "3 days"'), a_file(uploaded=ago(3))
    assert codes(one(policy, file)) == []
    assert codes(one(policy, file, now=NOW - days(1 / 86400))) == [ReasonCode.TOO_YOUNG]


def test_a_file_of_no_known_time_never_meets_an_age() -> None:
    policy, file = a_policy('min-age = "3 days"'), a_file(upload_time=None)
    verdict = one(policy, file)
    assert isinstance(verdict, Withheld)
    assert (codes(verdict), verdict.reasons[0].until) == ([ReasonCode.TOO_YOUNG], None)
    assert codes(one(policy, file, history=seen(file, at=ago(100)))) == [ReasonCode.TOO_YOUNG]


def test_the_log_time_is_an_age_where_the_index_gives_none() -> None:
    policy, file = a_policy('min-age = "3 days"'), a_file(upload_time=None)
    assert codes(one(policy, file, attested(ago(3)))) == []
    assert codes(one(policy, file, attested(ago(2)))) == [ReasonCode.TOO_YOUNG]
    assert isinstance(one(policy, file, None), Undecided)


def test_a_signature_that_the_rule_does_not_ask_for_makes_no_file_older() -> None:
    policy = a_policy('min-age = "3 days"\npublishers = [{ kind = "GitHub", repository = "octo/widget" }]')
    stolen, early = attested(ago(1)), attested(ago(5), repository="evil/widget", bundle=1)
    both = type(stolen)(attestations=(*early.attestations, *stolen.attestations))
    assert codes(one(policy, a_file(upload_time=None), both)) == [ReasonCode.TOO_YOUNG]


def test_a_file_that_an_earlier_page_lacked_is_as_young_as_its_first_sight() -> None:
    policy, file = a_policy('min-age = "3 days"'), a_file(uploaded=ago(100))
    assert codes(one(policy, file, history=seen(file, at=ago(2), late=True))) == [ReasonCode.TOO_YOUNG]
    assert codes(one(policy, file, history=seen(file, at=ago(2), late=False))) == []
    assert codes(one(policy, file, history=seen(file, at=ago(3), late=True))) == []


def test_a_file_that_appears_only_now_on_a_known_page_is_new_whatever_its_upload_time_says() -> None:
    policy, file = a_policy('min-age = "3 days"'), a_file(uploaded=ago(100))
    assert codes(one(policy, file, history=ProjectHistory(known=True))) == [ReasonCode.TOO_YOUNG]
    assert codes(one(policy, file, history=ProjectHistory(known=False))) == []


def test_a_backdated_upload_time_does_not_escape_the_line_in_the_sand() -> None:
    policy, file = a_policy("uploaded-before = 2026-11-01"), a_file(uploaded=ago(100))
    assert codes(one(policy, file)) == []
    assert codes(one(policy, file, history=seen(file, at=ago(2), late=True))) == [ReasonCode.UPLOADED_AFTER]
    assert codes(one(policy, a_file(upload_time=None))) == [ReasonCode.UPLOADED_AFTER]


@pytest.mark.parametrize("keys", ["uploaded-before = 2026-11-01", 'late-files = "14 days"', 'min-age = "3 days"'])
def test_a_file_of_no_time_is_not_withheld_before_its_evidence_may_tell_one(keys: str) -> None:
    file, first = a_file(upload_time=None), a_file(kind=Kind.SDIST, uploaded=ago(60))
    assert isinstance(page(a_policy(keys), file, first, default=None)[0], Undecided)
    assert codes(page(a_policy(keys), file, first, evidence={file: attested(ago(50))})[0]) == []


@pytest.mark.parametrize(
    ("before", "uploaded", "expected"),
    [
        ("2026-11-01", "2026-11-01T23:59:59", []),
        ("2026-11-01", "2026-11-02T00:00:00", [ReasonCode.UPLOADED_AFTER]),
        ("2026-11-01T12:00:00Z", "2026-11-01T11:59:59", []),
        ("2026-11-01T12:00:00Z", "2026-11-01T12:00:00", [ReasonCode.UPLOADED_AFTER]),
        ("2026-11-01T12:00:00+02:00", "2026-11-01T10:00:00", [ReasonCode.UPLOADED_AFTER]),
    ],
)
def test_before_is_exclusive_and_a_date_ends_with_its_day(
    before: str, uploaded: str, expected: list[ReasonCode]
) -> None:
    file = a_file(uploaded=datetime.fromisoformat(f"{uploaded}+00:00"))
    assert codes(one(a_policy(f"uploaded-before = {before}"), file)) == expected


# min-age-attested: for files of an established publisher

SHORT = a_policy('min-age = "7 days"\nmin-age-attested = "1 day"')


def releases(*ages: float, **changes: Any) -> dict[File, Any]:
    files = [a_file(f"{number}.0", uploaded=ago(age)) for number, age in enumerate(ages, start=1)]
    return {file: signed(file, **changes) for file in files}


def test_an_established_publisher_waits_for_the_shorter_time_only() -> None:
    known = releases(100, 2)
    assert [codes(each) for each in page(SHORT, *known, evidence=known)] == [[], []]
    fresh = releases(100, 0.5)
    assert [codes(each) for each in page(SHORT, *fresh, evidence=fresh)] == [[], [ReasonCode.TOO_YOUNG]]


def test_nobody_else_does() -> None:
    new = releases(2)
    assert [codes(each) for each in page(SHORT, *new, evidence=new)] == [[ReasonCode.TOO_YOUNG]]
    unattested = a_file("9.0", uploaded=ago(2))
    assert ReasonCode.TOO_YOUNG in codes(page(SHORT, *releases(100), unattested, evidence=releases(100))[-1])


def test_a_publisher_named_by_the_rule_is_established() -> None:
    policy = a_policy(
        'min-age = "7 days"\nmin-age-attested = "1 day"\npublishers = [{ kind = "GitHub", repository = "octo/*" }]'
    )
    assert codes(one(policy, a_file(uploaded=ago(2)), attested(ago(2)))) == []


def test_a_publisher_about_to_be_established_is_told_the_sooner_time() -> None:
    policy = a_policy('min-age = "90 days"\nmin-age-attested = "1 day"\nratchet-settle = "100 days"\nratchet = "off"')
    known = releases(95, 2)
    verdict = page(policy, *known, evidence=known)[1]
    assert isinstance(verdict, Withheld)
    assert verdict.changes_at == NOW + days(5)


def test_without_evidence_only_what_the_shorter_time_withholds_is_withheld() -> None:
    assert codes(one(SHORT, a_file(uploaded=ago(0.5)), None)) == [ReasonCode.TOO_YOUNG]
    assert isinstance(one(SHORT, a_file(uploaded=ago(2)), None), Undecided)


# late-files: a file that was added long after the first file of its release

LATE = a_policy('late-files = "14 days"')


def test_a_file_added_long_after_its_release_is_withheld() -> None:
    first, soon, late = (
        a_file(uploaded=ago(100)),
        a_file(kind=Kind.SDIST, uploaded=ago(86)),
        a_file(filename="widget-1.0-cp313-cp313-any.whl", uploaded=ago(85)),
    )
    assert [codes(each) for each in page(LATE, late, first, soon)] == [[ReasonCode.LATE_FILE], [], []]
    assert [codes(each) for each in page(LATE, late, first, soon, default=None)[:1]] == [[ReasonCode.LATE_FILE]]


def test_each_release_has_a_first_file_of_its_own() -> None:
    assert [codes(each) for each in page(LATE, a_file(uploaded=ago(100)), a_file("2.0", uploaded=ago(1)))] == [[], []]


def test_a_late_file_cannot_be_backdated_past_the_ledger() -> None:
    first, added = a_file(uploaded=ago(100)), a_file(kind=Kind.SDIST, uploaded=ago(100))
    history = seen(first, at=ago(90))
    assert [codes(each) for each in page(LATE, first, added, history=history)] == [[], [ReasonCode.LATE_FILE]]
    late = {**history.files, added.filename: SeenFile(sha256=digest(added.filename), first_seen=ago(1), late=True)}
    verdicts = page(LATE, first, added, history=ProjectHistory(files=late, known=True))
    assert [codes(each) for each in verdicts] == [[], [ReasonCode.LATE_FILE]]


def test_where_an_index_gives_no_times_the_ledger_tells_who_came_late() -> None:
    first, added = a_file(upload_time=None), a_file(kind=Kind.SDIST, upload_time=None)
    assert [codes(each) for each in page(LATE, first, added)] == [[], []]
    verdicts = page(LATE, first, added, history=seen(first, at=ago(90)))
    assert [codes(each) for each in verdicts] == [[], [ReasonCode.LATE_FILE]]


OTHER_HOST = "https://evil.example/packages/widget-1.0.tar.gz"
ELSEWHERE = "https://files.example/packages/other.tar.gz"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"url": OTHER_HOST}, ReasonCode.FOREIGN_HOST),
        ({"provenance": OTHER_HOST}, ReasonCode.FOREIGN_HOST),
        ({"url": ELSEWHERE, "location": "files.example/packages/other.tar.gz"}, ReasonCode.URL_MISMATCH),
        ({"sha256": None}, ReasonCode.NO_SHA256),
        ({"project": "gadget", "filename": "gadget-1.0.tar.gz"}, ReasonCode.OTHER_PROJECT),
    ],
)
def test_an_entry_that_claims_no_filename_is_not_the_first_of_its_release(
    changes: dict[str, Any], code: ReasonCode
) -> None:
    """Neither on the first request nor on a later one, when the ledger knows only the other file."""
    added, sound = a_file(uploaded=ago(1)), a_file(kind=Kind.SDIST, uploaded=ago(100))
    unsound = a_file(kind=Kind.SDIST, uploaded=ago(100), **changes)
    for history in (ProjectHistory(), seen(added)):
        assert [codes(each) for each in page(LATE, added, unsound, history=history)] == [[], [code]]
    for history in (ProjectHistory(), seen(added, sound)):
        assert [codes(each) for each in page(LATE, added, sound, history=history)] == [[ReasonCode.LATE_FILE], []]


def test_an_entry_listed_twice_dates_no_release_but_by_the_one_that_stands() -> None:
    added, first = a_file(uploaded=ago(1)), a_file(kind=Kind.SDIST, uploaded=ago(10))
    again, other = replace(first, upload_time=ago(100)), replace(first, upload_time=ago(100), sha256=digest("other"))
    for history in (ProjectHistory(), seen(added, first)):
        verdicts = page(LATE, added, first, again, history=history)
        assert [codes(each) for each in verdicts] == [[], [], [ReasonCode.DUPLICATE]]
    for history in (ProjectHistory(), seen(added)):
        verdicts = page(LATE, added, first, other, history=history)
        assert [codes(each) for each in verdicts] == [[], [ReasonCode.DUPLICATE], [ReasonCode.DUPLICATE]]
    assert codes(page(LATE, added, again)[0]) == [ReasonCode.LATE_FILE]


def test_a_file_that_the_ledger_knows_is_the_first_of_its_release_also_where_it_is_now_withheld() -> None:
    """Otherwise an index could move the files of a release to another host to permit new files."""
    first, added = a_file(uploaded=ago(100)), a_file(kind=Kind.SDIST, uploaded=ago(1))
    moved = replace(first, url="https://evil.example/packages/widget-1.0-py3-none-any.whl")
    verdicts = page(LATE, moved, added, history=seen(first, at=ago(90)))
    assert [codes(each) for each in verdicts] == [[ReasonCode.FOREIGN_HOST], [ReasonCode.LATE_FILE]]
