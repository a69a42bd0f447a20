"""Recent refusals of the home page: the latest eight, each file once, with the hidden versions of requested pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from packaging.version import Version

from assay.gate.hidden_versions import HiddenReport, HiddenVersion, Hiding
from assay.web.ui.refusals import list_recent
from tests.contract.refusals_contract import make_refusal
from tests.world.proxy.made_verdicts import make_withheld_files

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def make_report(hiding: Hiding, logged_at: datetime | None) -> HiddenReport:
    (withheld,) = make_withheld_files(1, 1)
    return HiddenReport(
        versions=(HiddenVersion(hiding=hiding, version=Version("2.0"), withheld=withheld),), logged_at=logged_at
    )


def test_the_latest_eight_refusals_are_shown_each_file_once() -> None:
    numbers = [7, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    refused = [
        make_refusal(filename=f"widget-{number}.tar.gz", time=NOW - timedelta(minutes=place))
        for place, number in enumerate(numbers)
    ]
    recent = list_recent(refused, ())
    assert [each.filename for each in recent] == [f"widget-{each}.tar.gz" for each in (7, 11, 10, 9, 8, 6, 5, 4)]
    assert recent[0].time == NOW
    assert (recent[0].event, recent[0].rule, recent[0].code) == ("request refused", "everything", "unattested")


def test_files_with_one_name_and_other_bytes_or_projects_are_different() -> None:
    refused = [make_refusal(), make_refusal(sha256="cd" * 32), make_refusal(project=None), make_refusal()]
    assert len(list_recent(refused, ())) == 3


def test_refusals_of_one_second_stay_in_the_order_of_the_record() -> None:
    refused = [make_refusal(filename=name) for name in ("c", "a", "b")]
    assert [each.filename for each in list_recent(refused, ())] == ["c", "a", "b"]


def test_hidden_versions_are_between_the_refusals_at_the_time_of_their_first_request() -> None:
    refused = [make_refusal(time=NOW), make_refusal(time=NOW - timedelta(hours=2), filename="widget-0.9.tar.gz")]
    newest = make_report(Hiding.NEWEST, NOW - timedelta(hours=1))
    halved = make_report(Hiding.SDIST_ONLY, NOW - timedelta(hours=3))
    assert [each.event for each in list_recent(refused, [halved, newest])] == [
        "request refused",
        "newest version 2.0 withheld",
        "request refused",
        "wheels of 2.0 withheld, only an sdist is left",
    ]


def test_a_hidden_version_is_not_shown_before_its_page_is_requested() -> None:
    assert list_recent((), [make_report(Hiding.NEWEST, None)]) == ()
    (shown,) = list_recent((), [make_report(Hiding.NEWEST, NOW)])
    assert (shown.project, shown.code, shown.rule) == ("foo", "unattested", "attested")
