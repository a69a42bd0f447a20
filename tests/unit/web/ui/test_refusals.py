"""Recent refusals of the home page: the latest eight, each file once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from assay.web.ui.refusals import RefusalLog
from tests.world.proxy.made_verdicts import make_withheld_files

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_the_latest_eight_refusals_are_kept_and_all_are_counted() -> None:
    log, files = RefusalLog(), make_withheld_files(1, 12)
    for minute, withheld in enumerate(files):
        log.add(withheld, NOW + timedelta(minutes=minute))
    log.add(files[7], NOW + timedelta(hours=1))
    assert log.count == 13
    assert [each.withheld for each in log.recent()] == [files[each] for each in (7, 11, 10, 9, 8, 6, 5, 4)]
    assert log.recent()[0].time == NOW + timedelta(hours=1)
