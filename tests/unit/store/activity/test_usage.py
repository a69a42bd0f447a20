"""Usage record: what is kept, the limits, hostile rows, writing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.store.activity.database import ActivityDatabase
from assay.store.activity.usage import UsageLimits, UsageRecord
from tests.world.proxy.running_proxy import NOW, ManualClock

FOO = NormalizedName("foo")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def make(database: ActivityDatabase, clock: ManualClock) -> AsyncIterator[Callable[..., UsageRecord]]:
    made: list[UsageRecord] = []

    def begin(**limits: float) -> UsageRecord:
        made.append(UsageRecord(database, clock, UsageLimits(**limits)))  # type: ignore[arg-type]  # whole numbers
        return made[-1]

    yield begin
    for each in made:
        await each.close()


async def use(usage: UsageRecord, *versions: str, project: str = "foo") -> None:
    for version in versions:
        usage.note("pypi", NormalizedName(project), view="default", version=Version(version))
    await usage.flush()


async def test_history_survives_a_restart_with_the_time_of_the_last_use(
    make: Callable[..., UsageRecord], clock: ManualClock, database_path: Path, database: ActivityDatabase
) -> None:
    usage = make()
    await use(usage, "1.0", "2.0")
    clock.now += timedelta(days=1)
    usage.note("pypi", FOO, view="default", version=Version("2.0"))  # close writes it
    await usage.close()
    await database.close()
    reopened = ActivityDatabase(database_path, clock)
    (found,) = await UsageRecord(reopened, clock).list_used(LONG_AGO)
    await reopened.close()
    assert found.last_used == NOW + timedelta(days=1)
    assert found.versions == {"2.0": NOW + timedelta(days=1), "1.0": NOW}


async def test_the_last_used_project_comes_first_and_old_ones_are_left_out(
    make: Callable[..., UsageRecord], clock: ManualClock
) -> None:
    usage = make()
    for project in ("old", "middle", "new"):
        await use(usage, "1", project=project)
        clock.now += timedelta(days=1)
    assert [each.project for each in await usage.list_used(LONG_AGO)] == ["new", "middle", "old"]
    assert [each.project for each in await usage.list_used(NOW + timedelta(days=1))] == ["new", "middle"]


async def test_the_versions_and_projects_used_longest_ago_are_removed_first(
    make: Callable[..., UsageRecord], clock: ManualClock
) -> None:
    usage = make(projects=3, versions_per_project=2)
    for version in ("1", "2", "3", "1"):
        await use(usage, version)
        clock.now += timedelta(minutes=1)
    (foo,) = await usage.list_used(LONG_AGO)
    assert set(foo.versions) == {"1", "3"}
    for project in ("a", "b", "c"):
        await use(usage, "1", project=project)
        clock.now += timedelta(minutes=1)
    assert {each.project for each in await usage.list_used(LONG_AGO)} == {"a", "b", "c"}


async def test_all_versions_together_are_limited(make: Callable[..., UsageRecord], clock: ManualClock) -> None:
    usage = make(versions=3)
    for project in ("a", "b"):
        await use(usage, "1", "2", project=project)
        clock.now += timedelta(minutes=1)
    counts = {each.project: len(each.versions) for each in await usage.list_used(LONG_AGO)}
    assert counts == {"a": 1, "b": 2}


async def test_notes_beyond_the_limit_are_dropped_and_the_others_kept(make: Callable[..., UsageRecord]) -> None:
    usage = make(pending=2)
    for project in ("a", "b", "c"):
        usage.note("pypi", NormalizedName(project), view="default")
    assert {each.project for each in await usage.list_used(LONG_AGO)} == {"a", "b"}


async def test_notes_are_written_without_being_asked_for(
    make: Callable[..., UsageRecord], database: ActivityDatabase
) -> None:
    usage = make(flush_delay_seconds=0.01)
    usage.note("pypi", FOO, view="default")
    while not await database.run(lambda it: it.execute("SELECT count(*) FROM used_projects").fetchone()[0], 0):  # noqa: ASYNC110 - there is no event to await
        await asyncio.sleep(0.005)


async def test_notes_wait_while_the_disk_fails(
    make: Callable[..., UsageRecord], clock: ManualClock, database_path: Path
) -> None:
    database_path.parent.write_text("a file where the directory belongs")
    usage = make()
    usage.note("pypi", FOO, view="default", version=Version("1"))
    assert await usage.list_used(LONG_AGO) == []
    database_path.parent.unlink()
    clock.now += timedelta(minutes=1)
    assert [each.project for each in await usage.list_used(LONG_AGO)] == [FOO]


async def test_a_failed_write_is_repeated_without_a_further_note(
    make: Callable[..., UsageRecord], clock: ManualClock, database_path: Path, database: ActivityDatabase
) -> None:
    database_path.parent.write_text("a file where the directory belongs")
    usage = make(flush_delay_seconds=0.01)
    usage.note("pypi", FOO, view="default")
    await usage.flush()
    database_path.parent.unlink()
    clock.now += timedelta(minutes=1)
    while not await database.run(lambda it: it.execute("SELECT count(*) FROM used_projects").fetchone()[0], 0):  # noqa: ASYNC110 - there is no event to await
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "row",
    [
        "(2, 'pypi', 'Not_Normalized', 1800000000)",
        "(2, 'pypi', '<b>x</b>', 1800000000)",
        "(2, 'pypi', CAST(x'ff00' AS TEXT), 1800000000)",
        "(2, '', 'bar', 1800000000)",
        f"(2, 'pypi', '{'a' * 300}', 1800000000)",
        "(2, x'00', 'bar', 1800000000)",
        "(2, 'pypi', 'bar', 'later')",
    ],
)
async def test_a_row_that_assay_never_writes_is_ignored(
    make: Callable[..., UsageRecord], database: ActivityDatabase, row: str
) -> None:
    usage = make()
    await use(usage, "1.0")
    assert await database.run(lambda it: bool(it.execute(f"INSERT INTO used_projects VALUES {row}")), default=False)  # noqa: S608 - constants
    assert [each.project for each in await usage.list_used(LONG_AGO)] == [FOO]


async def test_invalid_versions_and_future_times_are_not_believed(
    make: Callable[..., UsageRecord], database: ActivityDatabase
) -> None:
    usage = make()
    await use(usage, "1.0")
    rows = [(1, "not a version", 5), (1, "2.0", 10**17), (1, "x" * 10_000, 5)]
    await database.run(lambda it: it.executemany("INSERT INTO used_versions VALUES (?, ?, ?)", rows), None)
    (foo,) = await usage.list_used(LONG_AGO)
    assert foo.versions == {"1.0": NOW, "2.0": NOW}
