"""The always-on checks, which no rule, waiver or mode lifts; each beside the file that passes it."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.policy.verdict import ReasonCode, Withheld
from assay.simple.fields import parse_time
from assay.simple.model import Distribution, Kind
from tests.unit.policy.factories import (
    HOST,
    NOW,
    PERMISSIVE,
    UNATTESTED,
    a_file,
    a_policy,
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


def test_a_file_listed_once_more_without_a_digest_is_withheld_as_well() -> None:
    verdicts = page(PERMISSIVE, a_file(), a_file(sha256=None))
    assert [codes(each) for each in verdicts] == [[ReasonCode.DUPLICATE], [ReasonCode.DUPLICATE, ReasonCode.NO_SHA256]]


def test_a_file_listed_twice_with_the_same_digest_stands_once() -> None:
    assert [codes(each) for each in page(PERMISSIVE, a_file(), a_file())] == [[], [ReasonCode.DUPLICATE]]


def test_the_digest_is_the_one_first_seen() -> None:
    file = a_file()
    assert codes(one(PERMISSIVE, file, history=seen(file))) == []
    exchanged = a_file(sha256=digest("exchanged"))
    assert codes(one(PERMISSIVE, exchanged, history=seen(file))) == [ReasonCode.DIGEST_CHANGED]


def test_an_upload_time_in_the_future_heals_when_it_comes() -> None:
    verdict = one(PERMISSIVE, a_file(uploaded=NOW + days(1)))
    assert isinstance(verdict, Withheld)
    assert verdict.changes_at == verdict.reasons[0].until == NOW + days(1)
    assert codes(one(PERMISSIVE, a_file(uploaded=NOW + days(1)), now=NOW + days(1))) == []


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
