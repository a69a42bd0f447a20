"""Always-on checks, which no rule, waiver or mode lifts; each with a file that passes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.policy.checks import MAX_CLOCK_SKEW
from assay.policy.verdict import Approved, ReasonCode, Withheld
from assay.simple.fields import parse_time
from assay.simple.model import Distribution, File, Kind
from tests.unit.policy.factories import (
    HOST,
    NOW,
    PERMISSIVE,
    UNATTESTED,
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
)


def test_a_good_file_passes_all_of_them() -> None:
    assert codes(one(PERMISSIVE, a_file())) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"distribution": None, "refusal": "no version"}, ReasonCode.BAD_FILENAME),
        (
            {"distribution": None, "owner": canonicalize_name("other"), "refusal": "of another"},
            ReasonCode.OTHER_PROJECT,
        ),
        (
            {"distribution": Distribution(project=canonicalize_name("other"), version=Version("1"), kind=Kind.WHEEL)},
            ReasonCode.OTHER_PROJECT,
        ),
        ({"location": f"{HOST}/packages/other-1.0-py3-none-any.whl"}, ReasonCode.URL_MISMATCH),
        ({"location": f"{HOST}/packages/x/"}, ReasonCode.URL_MISMATCH),
        ({"sha256": None}, ReasonCode.NO_SHA256),
        ({"sha256": None, "upload_time": None}, ReasonCode.NO_SHA256),
        ({"upload_time": NOW + days(1)}, ReasonCode.TIME_CONFLICT),
        ({"upload_time": parse_time("9999-12-31T23:59:59.999999Z")}, ReasonCode.TIME_CONFLICT),
        ({"upload_time": parse_time("9999-12-31T23:59:59-12:00")}, ReasonCode.TIME_CONFLICT),
    ],
)
def test_a_file_that_fails_one_is_withheld_for_it_without_any_evidence(
    changes: dict[str, Any], expected: ReasonCode
) -> None:
    file = a_file(**changes)
    assert codes(one(PERMISSIVE, file)) == [expected]
    assert codes(one(PERMISSIVE, file, None)) == [expected]


def test_a_time_at_the_end_of_all_times_leaves_the_other_files_of_its_page_alone() -> None:
    never = a_file("2.0", uploaded=parse_time("9999-12-31T23:59:59Z"))
    assert [codes(each) for each in page(a_policy('min-age = "3 days"'), a_file(), never)] == [
        [],
        [ReasonCode.TIME_CONFLICT, ReasonCode.TOO_YOUNG],
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/packages/widget-1.0-py3-none-any.whl",
        f"https://{HOST}.evil.example/widget-1.0-py3-none-any.whl",
        f"https://{HOST}@evil.example/widget-1.0-py3-none-any.whl",
        f"https://user@{HOST}/widget-1.0-py3-none-any.whl",
        f"https://user:secret@{HOST}/widget-1.0-py3-none-any.whl",
        f"https://{HOST}:8443/widget-1.0-py3-none-any.whl",
        f"https://{HOST}\\@evil.example/widget-1.0-py3-none-any.whl",
        f"https://{HOST}?/widget-1.0-py3-none-any.whl",
        f"https://{HOST}#/widget-1.0-py3-none-any.whl",
        f"https://{HOST} .evil.example/widget-1.0-py3-none-any.whl",
        f"ftp://{HOST}/widget-1.0-py3-none-any.whl",
        f"//{HOST}/widget-1.0-py3-none-any.whl",
        f"https://{HOST}",
        "https:///widget-1.0-py3-none-any.whl",
        "widget-1.0-py3-none-any.whl",
        "",
    ],
)
def test_every_address_is_on_a_host_of_the_index_and_names_no_user(url: str) -> None:
    assert codes(one(PERMISSIVE, a_file(url=url))) == [ReasonCode.FOREIGN_HOST]
    assert codes(one(PERMISSIVE, a_file(provenance=url))) == [ReasonCode.FOREIGN_HOST]


@pytest.mark.parametrize(
    "origin", [f"https://{HOST}", f"https://{HOST}:443", f"http://{HOST.upper()}", f"http://{HOST}:80"]
)
def test_a_host_is_the_same_in_either_case_and_with_its_default_port(origin: str) -> None:
    assert codes(one(PERMISSIVE, a_file(url=f"{origin}/p/widget-1.0-py3-none-any.whl"))) == []
    assert codes(one(PERMISSIVE, a_file(provenance=f"{origin}/integrity/widget/provenance"))) == []


def test_a_password_in_an_address_is_not_repeated() -> None:
    verdict = one(PERMISSIVE, a_file(url=f"https://user:secret@{HOST}/widget-1.0-py3-none-any.whl"))
    assert isinstance(verdict, Withheld)
    assert "secret" not in str(verdict.reasons)


def test_a_file_listed_twice_with_different_digests_is_withheld_wherever_it_stands() -> None:
    first, second, other = a_file(), a_file(sha256=digest("other")), a_file("2.0")
    verdicts = page(PERMISSIVE, first, other, second)
    assert [codes(each) for each in verdicts] == [[ReasonCode.DUPLICATE], [], [ReasonCode.DUPLICATE]]


@pytest.mark.parametrize("hashes", [(), (("md5", "0" * 32),)])
def test_an_entry_without_a_digest_is_withheld_for_that_alone_and_its_twin_is_listed(hashes: Any) -> None:
    bare = a_file(sha256=None, hashes=hashes)
    assert [codes(each) for each in page(PERMISSIVE, a_file(), bare)] == [[], [ReasonCode.NO_SHA256]]
    assert [codes(each) for each in page(PERMISSIVE, bare, a_file())] == [[ReasonCode.NO_SHA256], []]
    assert [codes(each) for each in page(PERMISSIVE, bare, bare)] == [[ReasonCode.NO_SHA256], [ReasonCode.NO_SHA256]]


@pytest.mark.parametrize(
    "twin", [a_file(sha256=None, hashes=(("sha256", "abc"),)), a_file(sha256=None, problem="size")]
)
def test_a_file_listed_once_more_with_an_unreadable_digest_is_withheld_as_well(twin: File) -> None:
    for files in [(a_file(), twin), (twin, a_file())]:
        assert all(ReasonCode.DUPLICATE in codes(each) for each in page(PERMISSIVE, *files))


def test_a_file_listed_twice_with_the_same_digest_stands_once() -> None:
    assert [codes(each) for each in page(PERMISSIVE, a_file(), a_file())] == [[], [ReasonCode.DUPLICATE]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"url": "https://other.example/packages/widget-1.0-py3-none-any.whl"}, ReasonCode.FOREIGN_HOST),
        ({"url": f"https://user:pw@{HOST}/packages/widget-1.0-py3-none-any.whl"}, ReasonCode.FOREIGN_HOST),
        ({"provenance": "https://other.example/provenance"}, ReasonCode.FOREIGN_HOST),
        ({"location": f"{HOST}/packages/other.whl"}, ReasonCode.URL_MISMATCH),
        ({"distribution": None, "refusal": 'has a URL with ".." in its path'}, ReasonCode.BAD_FILENAME),
    ],
)
def test_of_two_entries_with_one_digest_the_one_that_passes_is_listed(
    changes: dict[str, Any], code: ReasonCode
) -> None:
    faulty = a_file(**changes)
    assert [set(codes(each)) for each in page(PERMISSIVE, faulty, a_file())] == [{code, ReasonCode.DUPLICATE}, set()]
    assert [codes(each) == [] for each in page(PERMISSIVE, a_file(), faulty)] == [True, False]
    assert [codes(each) == [] for each in page(PERMISSIVE, faulty, faulty)] == [False, False]
    assert [codes(each) == [] for each in page(PERMISSIVE, faulty, a_file(), a_file())] == [False, True, False]


def test_the_digest_is_the_one_first_seen() -> None:
    file = a_file()
    assert codes(one(PERMISSIVE, file, history=seen(file))) == []
    exchanged = a_file(sha256=digest("exchanged"))
    assert codes(one(PERMISSIVE, exchanged, history=seen(file))) == [ReasonCode.DIGEST_CHANGED]


def test_an_upload_time_in_the_future_heals_when_it_comes() -> None:
    verdict = one(PERMISSIVE, a_file(uploaded=NOW + days(1)))
    assert isinstance(verdict, Withheld)
    assert verdict.changes_at == verdict.reasons[0].until == NOW + days(1) - MAX_CLOCK_SKEW
    assert codes(one(PERMISSIVE, a_file(uploaded=NOW + days(1)), now=NOW + days(1) - MAX_CLOCK_SKEW)) == []


@pytest.mark.parametrize(("ahead", "expected"), [(3, []), (300, []), (301, [ReasonCode.TIME_CONFLICT])])
@pytest.mark.parametrize("dated_by", ["upload", "log", "both"])
def test_clocks_may_be_five_minutes_ahead(ahead: int, expected: list[ReasonCode], dated_by: str) -> None:
    time = NOW + timedelta(seconds=ahead)
    file = a_file(upload_time=None if dated_by == "log" else time)
    evidence = UNATTESTED if dated_by == "upload" else attested(time)
    verdict = one(PERMISSIVE, file, evidence)
    assert codes(verdict) == expected
    assert isinstance(verdict, Approved | Withheld)
    assert verdict.changes_at == (time - MAX_CLOCK_SKEW if expected else None)


def test_a_log_time_in_the_future_withholds_a_file_of_any_or_no_upload_time() -> None:
    later = datetime(2040, 1, 1, tzinfo=UTC)
    for upload in (None, later, NOW - days(1)):
        verdict = one(PERMISSIVE, a_file(upload_time=upload), attested(later))
        assert codes(verdict) == [ReasonCode.TIME_CONFLICT]
        assert isinstance(verdict, Withheld)
        assert verdict.reasons[0].until == later - MAX_CLOCK_SKEW
        assert "in the future" in verdict.reasons[0].message
        assert codes(one(PERMISSIVE, a_file(upload_time=upload), attested(NOW - days(1)))) == (
            [ReasonCode.TIME_CONFLICT] if upload == later else []
        )


def test_the_earliest_attestation_that_counts_dates_a_file() -> None:
    later, person = (
        NOW + days(400),
        {"kind": None, "repository": None, "repository_id": None, "email": "me@example.org"},
    )
    ours, theirs, future = attested(ago(1)), attested(ago(1), **person), attested(later)
    file = a_file(upload_time=None)
    both = replace(ours, attestations=(*future.attestations, *ours.attestations))
    assert codes(one(a_policy('publishers = "any"'), file, both)) == []
    beside_a_person = replace(ours, attestations=(*theirs.attestations, *future.attestations))
    assert codes(one(a_policy('publishers = "any"'), file, beside_a_person)) == [ReasonCode.TIME_CONFLICT]


def test_a_log_time_at_the_end_of_all_times_breaks_no_page() -> None:
    never = attested(datetime(9999, 12, 31, 23, 50, 59, tzinfo=UTC))
    policy = a_policy('min-age = "36500 days"\nmin-age-attested = "2 days"')
    first, last = page(policy, a_file(), a_file("2.0", upload_time=None), default=never)
    assert codes(first) == codes(last) == [ReasonCode.TIME_CONFLICT, ReasonCode.TOO_YOUNG]


@pytest.mark.parametrize(
    ("earlier", "expected"), [(59 / 1440, []), (60 / 1440, []), (61 / 1440, [ReasonCode.TIME_CONFLICT])]
)
def test_an_upload_time_is_at_most_an_hour_before_the_log_time(earlier: float, expected: list[ReasonCode]) -> None:
    logged = NOW - days(30)
    assert codes(one(PERMISSIVE, a_file(uploaded=logged - days(earlier)), attested(logged))) == expected


def test_an_attestation_added_later_does_not_make_a_file_look_backdated() -> None:
    file = a_file(uploaded=NOW - days(100))
    early, late = attested(NOW - days(100)), attested(NOW - days(5), predicate_type="https://example.org/audit/v1")
    both = type(early)(attestations=(*late.attestations, *early.attestations))
    assert codes(one(PERMISSIVE, file, both)) == []


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_no_mode_and_no_waiver_lifts_them(mode: str) -> None:
    waiver = (
        '[[waivers]]\nprojects = ["*"]\nuploaded-before = 2030-01-01\nexpires = 2030-01-01\nreason = "x"\n'
        'lifts = ["indexes", "trust", "attestations", "publishers", "predicates", "builder", "min-age", '
        '"uploaded-before", "ratchet", "late-files", "types", "yanked", "project-status", "metadata", "release"]'
    )
    policy = a_policy(top=f'mode = "{mode}"', more=waiver)
    verdict = one(policy, a_file(url="https://evil.example/widget-1.0-py3-none-any.whl"), UNATTESTED)
    assert isinstance(verdict, Withheld)
    assert verdict.enforced
    assert codes(one(policy, a_file())) == []
