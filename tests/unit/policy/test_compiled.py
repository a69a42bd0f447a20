"""Compiled waivers and revocations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, ReasonCode, Undecided, Withheld
from assay.simple.model import Kind
from tests.unit.policy.factories import (
    FORGED,
    LOG,
    NOW,
    UNATTESTED,
    a_file,
    a_policy,
    ago,
    attestation,
    attested,
    codes,
    days,
    one,
    page,
    seen,
    signed,
)

FILE = a_file(uploaded=ago(2))
RULE = 'attestations = "required"\npublishers = "any"\nmin-age = "3 days"'


def waived(
    keys: str, *, lifts: str = '"min-age", "attestations"', expires: str = "2026-12-15", rule: str = RULE
) -> Policy:
    return a_policy(
        rule,
        more=f'[[waivers]]\nprojects = ["Widget"]\n{keys}\nlifts = [{lifts}]\nexpires = {expires}\nreason = "CVE fix"',
    )


@pytest.mark.parametrize(
    "keys",
    [
        f'sha256 = ["{FILE.sha256}"]',
        f'sha256 = ["sha256:{str(FILE.sha256).upper()}"]',
        "uploaded-before = 2026-11-20",
        'versions = "==1.0"\nuploaded-before = 2026-11-20',
        f'versions = ">=1,<2"\nsha256 = ["{FILE.sha256}"]\nuploaded-before = 2026-11-20',
    ],
)
def test_a_waiver_lifts_what_it_names_for_the_files_it_covers(keys: str) -> None:
    verdict = one(waived(keys), FILE)
    assert isinstance(verdict, Approved)
    assert [reason.code for reason in verdict.despite] == [ReasonCode.UNATTESTED, ReasonCode.TOO_YOUNG]
    assert any("CVE fix" in note for note in verdict.notes)
    assert verdict.changes_at == NOW + days(1)


@pytest.mark.parametrize(
    "keys",
    [
        f'sha256 = ["{"0" * 64}"]',
        "uploaded-before = 2026-11-18",
        'versions = "==1.1"\nuploaded-before = 2026-11-20',
        f'sha256 = ["{FILE.sha256}"]\nuploaded-before = 2026-11-18',
    ],
)
def test_it_covers_no_other_file(keys: str) -> None:
    assert codes(one(waived(keys), FILE)) == [ReasonCode.UNATTESTED, ReasonCode.TOO_YOUNG]


def test_it_lifts_nothing_that_it_does_not_name() -> None:
    verdict = one(waived("uploaded-before = 2026-11-20", lifts='"min-age"'), FILE)
    assert codes(verdict) == [ReasonCode.UNATTESTED]
    assert isinstance(verdict, Withheld)
    assert verdict.changes_at == datetime(2026, 12, 16, tzinfo=UTC)


def test_two_waivers_may_lift_the_two_reasons() -> None:
    more = "\n".join(
        f'[[waivers]]\nprojects = ["*"]\nsha256 = ["{FILE.sha256}"]\nlifts = ["{lift}"]\n'
        'expires = 2027-01-01\nreason = "x"'
        for lift in ("min-age", "attestations")
    )
    assert codes(one(a_policy(RULE, more=more), FILE)) == []


@pytest.mark.parametrize(
    ("expires", "now", "expected"),
    [
        ("2026-12-15", datetime(2026, 12, 15, 23, 59, 59, tzinfo=UTC), []),
        ("2026-12-15", datetime(2026, 12, 16, tzinfo=UTC), [ReasonCode.UNATTESTED]),
        ("2026-12-15T12:00:00Z", datetime(2026, 12, 15, 12, tzinfo=UTC), [ReasonCode.UNATTESTED]),
        ("2026-12-15T12:00:00Z", datetime(2026, 12, 15, 11, 59, tzinfo=UTC), []),
    ],
)
def test_an_expired_waiver_is_no_waiver(expires: str, now: datetime, expected: list[ReasonCode]) -> None:
    assert codes(one(waived("uploaded-before = 2026-11-20", expires=expires), FILE, now=now)) == expected


def test_an_approval_by_waiver_changes_when_it_expires() -> None:
    verdict = one(
        waived("uploaded-before = 2026-11-20", lifts='"attestations"', rule=RULE[: RULE.index("min-age")]), FILE
    )
    assert isinstance(verdict, Approved)
    assert verdict.changes_at == datetime(2026, 12, 16, tzinfo=UTC)


def test_a_file_added_late_cannot_use_it() -> None:
    """The upload-time is backdated; the ledger knows that an earlier page lacked the file."""
    policy = waived("uploaded-before = 2026-11-20")
    history = seen(FILE, at=ago(0.5), late=True)
    assert codes(one(policy, FILE, history=history)) == [ReasonCode.UNATTESTED, ReasonCode.TOO_YOUNG]
    assert codes(one(policy, FILE, history=seen(FILE, at=ago(0.5)))) == []
    assert ReasonCode.UNATTESTED in codes(one(policy, a_file(upload_time=None)))


def test_a_waiver_never_lifts_forged_evidence_denial_or_revocation() -> None:
    policy = waived("uploaded-before = 2026-11-20")
    assert ReasonCode.FORGED in codes(one(policy, FILE, FORGED))
    assert ReasonCode.DENIED in codes(one(waived("uploaded-before = 2026-11-20", rule=f'{RULE}\ndeny = "no"'), FILE))


def test_without_evidence_a_waiver_that_may_cover_keeps_a_file_undecided() -> None:
    early = waived("uploaded-before = 2026-11-20", rule='min-age = "3 days"')
    assert isinstance(one(early, FILE, None), Undecided)
    assert isinstance(one(early, a_file(upload_time=None), None), Undecided)
    assert codes(one(waived("uploaded-before = 2026-11-18", rule='min-age = "3 days"'), FILE, None)) == [
        ReasonCode.TOO_YOUNG
    ]


# revocations


def revoking(keys: str) -> Policy:
    return a_policy(more=f'[[revocations]]\n{keys}\nreason = "stolen workflow, INC-1234"')


PUBLISHER = 'publishers = [{ kind = "GitHub", repository = "octo/*" }]'


@pytest.mark.parametrize(
    "keys",
    [
        f'sha256 = ["{a_file().sha256}"]',
        'projects = ["widget"]',
        'projects = ["wid*"]\nversions = "==1.0"',
        PUBLISHER,
        f"{PUBLISHER}\nsigned-from = 2025-11-21",
        f"{PUBLISHER}\nsigned-until = 2025-11-21",
        f"{PUBLISHER}\nsigned-from = 2025-11-21T12:00:00Z\nsigned-until = 2025-11-21T12:00:01Z",
        f'certificates = ["{"ab" * 32}"]',
        f'certificates = ["{":".join(["AB"] * 32)}"]',
        *(
            f'log-index-from = 1000000\nlog-index-until = 1000001\nlog = "{log}"'
            for log in (
                LOG.id,
                LOG.id.upper(),
                LOG.url,
                f"{LOG.url}/",
                "rekor.sigstore.example",
                "Rekor.Sigstore.Example",
            )
        ),
    ],
)
def test_what_a_revocation_selects_is_withheld(keys: str) -> None:
    file = a_file()
    verdict = one(revoking(keys), file, signed(file))
    assert isinstance(verdict, Withheld)
    assert (codes(verdict), verdict.enforced) == ([ReasonCode.REVOKED], True)
    assert "INC-1234" in verdict.reasons[0].message


@pytest.mark.parametrize(
    "keys",
    [
        f'sha256 = ["{"0" * 64}"]',
        'projects = ["gadget"]',
        'projects = ["widget"]\nversions = ">1.0"',
        'publishers = [{ kind = "GitLab", repository = "octo/*" }]',
        f"{PUBLISHER}\nsigned-from = 2025-11-22",
        f"{PUBLISHER}\nsigned-from = 2025-11-21T12:00:01Z",
        f"{PUBLISHER}\nsigned-until = 2025-11-20",
        f"{PUBLISHER}\nsigned-until = 2025-11-21T12:00:00Z",
        f'certificates = ["{"cd" * 32}"]',
        f'log-index-from = 1000001\nlog-index-until = 2000000\nlog = "{LOG.id}"',
        f'log-index-from = 0\nlog-index-until = 1000000\nlog = "{LOG.url}"',
        *(
            f'log-index-from = 1000000\nlog-index-until = 1000001\nlog = "{log}"'
            for log in ("0" * 64, "https://rekor.sigstore.dev", f"{LOG.url}/2", "sigstore.example")
        ),
    ],
)
def test_and_nothing_else(keys: str) -> None:
    file = a_file()
    assert codes(one(revoking(keys), file, signed(file))) == []


def test_an_entry_of_a_log_that_was_not_recorded_is_not_spared() -> None:
    file = a_file()
    policy = revoking(f'log-index-from = 1000000\nlog-index-until = 1000001\nlog = "{LOG.id}"')
    assert codes(one(policy, file, signed(file, log=None))) == [ReasonCode.REVOKED]
    assert codes(one(policy, file, signed(file, log=None, log_index=999_999))) == []


def test_pre_releases_of_a_revoked_line_are_revoked() -> None:
    policy = revoking('projects = ["widget"]\nversions = ">=1,<2"')
    verdicts = page(policy, *(a_file(version) for version in ("0.9", "1.0", "1.5rc1", "1.5.dev3", "1.5+local", "2.0")))
    assert [bool(codes(each)) for each in verdicts] == [False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("versions", "revoked", "spared"),
    [
        (">1.0", ("1.0.post1", "1.0+local", "1.1.dev0", "2.0"), ("1.0", "1.0rc1", "0.9")),
        ("<2.0", ("2.0rc1", "2.0.dev1", "1.9+local", "1.0.post1"), ("2.0", "2.0+local", "2.0.post1")),
        ("<2.0rc1", ("2.0b1", "1.0"), ("2.0rc1", "2.0")),
        (">1.0.post1", ("1.0.post2", "1.0.post1+local", "1.1"), ("1.0", "1.0.post1")),
        (">=1.0,<2.0", ("1.0", "1.0+local", "1.0.post1", "2.0a1"), ("1.0rc1", "2.0")),
        (">1.0,!=1.0.post1", ("1.0.post2",), ("1.0.post1", "1.0")),
        ("<=1.0", ("1.0", "1.0+local", "1.0rc1"), ("1.0.post1", "1.1")),
        ("==1.0", ("1.0", "1.0+local", "1.0.0"), ("1.0.post1", "1.0rc1", "1.0.1")),
        ("==1.0.*", ("1.0", "1.0rc1", "1.0.post1", "1.0+local", "1.0.7"), ("1.1", "0.9")),
        ("~=1.4.2", ("1.4.2", "1.4.2.post1", "1.4.3rc1"), ("1.4.2rc1", "1.5")),
    ],
)
def test_a_revocation_compares_versions_by_order(
    versions: str, revoked: tuple[str, ...], spared: tuple[str, ...]
) -> None:
    policy = revoking(f'projects = ["widget"]\nversions = "{versions}"')
    found = page(policy, *(a_file(version) for version in (*revoked, *spared)))
    assert [bool(codes(each)) for each in found] == [True] * len(revoked) + [False] * len(spared)


def test_a_waiver_compares_versions_as_installers_do() -> None:
    waived = '[[waivers]]\nprojects = ["widget"]\nversions = "<2.0"\nuploaded-before = 2026-11-21\nexpires = 2026-12-01'
    policy = a_policy('types = ["sdist"]', more=f'{waived}\nlifts = ["types"]\nreason = "x"')
    assert [bool(codes(each)) for each in page(policy, a_file("1.9"), a_file("2.0rc1"))] == [False, True]


def test_a_file_whose_version_cannot_be_read_is_not_spared() -> None:
    policy = revoking('projects = ["widget"]\nversions = ">=1,<2"')
    assert ReasonCode.REVOKED in codes(one(policy, a_file(distribution=None)))


def test_one_revoked_attestation_revokes_the_file() -> None:
    file = a_file()
    both = type(attested())(
        attestations=(attestation(ago(365)), attestation(ago(365), repository="victim/widget", bundle=1))
    )
    stolen = revoking('publishers = [{ kind = "GitHub", repository = "victim/widget" }]')
    assert codes(one(stolen, file, both)) == [ReasonCode.REVOKED]
    assert codes(one(stolen, file, signed(file))) == []


def test_a_window_of_a_stolen_workflow_leaves_what_was_signed_before_and_after() -> None:
    policy = revoking(f"{PUBLISHER}\nsigned-from = 2026-11-01T00:00:00Z\nsigned-until = 2026-11-03T00:00:00Z")
    files = [a_file(f"{day}.0", uploaded=datetime(2026, 11, day, tzinfo=UTC)) for day in (1, 2, 3)]
    evidence: dict[Any, Any] = {file: signed(file) for file in files}
    assert [codes(each) for each in page(policy, *files, evidence=evidence)] == [
        [ReasonCode.REVOKED],
        [ReasonCode.REVOKED],
        [],
    ]


def test_a_revocation_by_file_needs_no_evidence() -> None:
    assert codes(one(revoking('projects = ["widget"]'), a_file(), None)) == [ReasonCode.REVOKED]
    assert isinstance(one(revoking(PUBLISHER), a_file(), None), Undecided)


# release = "whole"

WHOLE = a_policy('release = "whole"\nmin-age = "3 days"')
SDIST = a_file(kind=Kind.SDIST, uploaded=ago(10))


def test_no_source_archive_stands_without_its_wheels() -> None:
    wheel = a_file(uploaded=ago(1))
    verdicts = page(WHOLE, SDIST, wheel)
    assert [codes(each) for each in verdicts] == [[ReasonCode.FILE_TYPE], [ReasonCode.TOO_YOUNG]]
    held = verdicts[0]
    assert isinstance(held, Withheld)
    assert not held.enforced
    assert held.changes_at == held.reasons[0].until == NOW + days(2)
    assert wheel.filename in held.reasons[0].message


def test_it_stands_with_approved_wheels_with_none_or_by_itself() -> None:
    assert [codes(each) for each in page(WHOLE, SDIST, a_file(uploaded=ago(10)))] == [[], []]
    assert [codes(each) for each in page(WHOLE, SDIST, a_file("2.0", uploaded=ago(1)))] == [[], [ReasonCode.TOO_YOUNG]]
    by_files = a_policy('release = "files"\nmin-age = "3 days"')
    assert [codes(each) for each in page(by_files, SDIST, a_file(uploaded=ago(1)))] == [[], [ReasonCode.TOO_YOUNG]]


def test_a_wheel_that_never_heals_holds_its_source_archive_for_good() -> None:
    held = page(WHOLE, SDIST, a_file(uploaded=ago(10)), evidence={a_file(uploaded=ago(10)): FORGED})[0]
    assert isinstance(held, Withheld)
    assert (codes(held), held.reasons[0].until) == ([ReasonCode.FILE_TYPE], None)


def test_it_waits_for_a_wheel_that_is_undecided() -> None:
    wheel = a_file(uploaded=ago(10))
    verdicts = page(
        a_policy('release = "whole"\nratchet = "off"'), SDIST, wheel, evidence={SDIST: UNATTESTED}, default=None
    )
    assert [type(each) for each in verdicts] == [Undecided, Undecided]


@pytest.mark.parametrize("lift", ["release", "types"])
def test_a_waiver_or_a_pin_frees_it(lift: str) -> None:
    waiver = (
        f'[[waivers]]\nprojects = ["*"]\nsha256 = ["{SDIST.sha256}"]\nlifts = ["{lift}"]\n'
        'expires = 2027-01-01\nreason = "we build it"'
    )
    rule = 'release = "whole"\nmin-age = "3 days"'
    assert codes(page(a_policy(rule, more=waiver), SDIST, a_file(uploaded=ago(1)))[0]) == []
    assert codes(page(a_policy(f'{rule}\npins = ["{SDIST.sha256}"]'), SDIST, a_file(uploaded=ago(1)))[0]) == []


def test_a_source_archive_that_depends_on_its_wheels_establishes_its_publisher() -> None:
    sdist, wheel = a_file("1.0", kind=Kind.SDIST, uploaded=ago(100)), a_file("1.0", uploaded=ago(100), yanked="bad")
    later = a_file("9.0", uploaded=ago(5))
    evidence: dict[Any, Any] = {sdist: signed(sdist), wheel: signed(wheel)}
    policy = a_policy('release = "whole"\nyanked = "deny"')
    assert codes(page(policy, sdist, wheel, later, evidence=evidence)[2]) == [ReasonCode.PROVENANCE_LOST]
    assert codes(page(policy, later)[0]) == []
