"""The plan of a download in one directory: its sources in order."""

from __future__ import annotations

from assay.files.source_plan import plan_in_order
from tests.unit.files.sources import Served, sends, wanted


async def test_each_plan_asks_all_sources_once_and_in_order() -> None:
    sources = [Served([sends()]) for _ in range(2)]
    make_plan = plan_in_order(*sources)
    for _ in range(2):
        plan = make_plan(wanted())
        plan.report_wrong_bytes(sources)
        assert [await plan.get_next() for _ in range(3)] == [*sources, None]
        plan.finish(is_stored=True)
