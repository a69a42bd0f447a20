"""Rows of summaries: limits and hostile rows."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from packaging.utils import NormalizedName

from assay.ports import MAX_SUMMARY_RELEASES, ProjectSummary
from assay.store.activity.database import ActivityDatabase
from assay.store.activity.usage import UsageLimits, UsageRecord
from tests.contract.usage_contract import FOO, LONG_AGO, make_summary
from tests.world.proxy.running_proxy import NOW, ManualClock


async def read(usage: UsageRecord) -> ProjectSummary | None:
    (found,) = await usage.list_described("default", LONG_AGO, limit=10)
    return found.summary


async def keep(usage: UsageRecord, body: str, database: ActivityDatabase) -> None:
    usage.note("pypi", FOO, view="default")
    await usage.keep_summaries([make_summary(FOO)])
    await database.run(lambda it: it.execute("UPDATE summaries SET body = ?", (body,)), None)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "[" * 50_000, "{" + " " * 100_000 + "}", '"\\ud800"'])
async def test_an_invalid_summary_counts_as_missing(database: ActivityDatabase, clock: ManualClock, body: str) -> None:
    usage = UsageRecord(database, clock)
    await keep(usage, body, database)
    assert await read(usage) is None
    await usage.close()


async def test_invalid_parts_of_a_summary_are_left_out(database: ActivityDatabase, clock: ManualClock) -> None:
    usage = UsageRecord(database, clock)
    releases = {"1.0": ["full", 7, ""], "x": ["no"], "2.0": "no"} | {f"3.{n}": [] for n in range(1000)}
    body = {"approved": -1, "withheld": "7", "releases": releases, "publishers": ["a", 7, "x" * 1000]}
    await keep(usage, json.dumps(body), database)
    found = await read(usage)
    assert found is not None
    assert (found.approved, found.withheld, found.publishers) == (0, 0, ("a",))
    assert len(found.releases) <= MAX_SUMMARY_RELEASES
    assert (found.releases["1.0"], found.releases["2.0"]) == (("full",), ())
    await usage.close()


async def test_the_highest_versions_are_kept(database: ActivityDatabase, clock: ManualClock) -> None:
    usage = UsageRecord(database, clock)
    usage.note("pypi", FOO, view="default")
    many = {f"1.{number}": ("full",) for number in range(100)}
    summary = ProjectSummary(
        index="pypi", project=FOO, view="default", judged_at=NOW, approved=1, withheld=0, releases=many
    )
    await usage.keep_summaries([summary])
    found = await read(usage)
    assert found is not None
    assert set(found.releases) == {f"1.{number}" for number in range(60, 100)}
    await usage.close()


async def test_the_oldest_summaries_are_removed(database: ActivityDatabase, clock: ManualClock) -> None:
    usage = UsageRecord(database, clock, UsageLimits(summaries=2))
    for number in range(3):
        name = NormalizedName(f"p{number}")
        usage.note("pypi", name, view="default")
        at = NOW + timedelta(days=number)
        await usage.keep_summaries(
            [ProjectSummary(index="pypi", project=name, view="default", judged_at=at, approved=1, withheld=0)]
        )
    described = await usage.list_described("default", LONG_AGO, limit=10)
    assert {each.used.project for each in described if each.summary is not None} == {"p1", "p2"}
    await usage.close()
