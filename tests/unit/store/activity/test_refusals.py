"""Record of refusals: restarts, limits, hostile rows, a failing disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from assay.ports import RefusalFilter
from assay.store.activity.database import ActivityDatabase
from assay.store.activity.refusals import RefusalLimits, RefusalRecord
from tests.contract.refusals_contract import make_refusal
from tests.world.proxy.running_proxy import NOW, ManualClock

EVERYTHING = RefusalFilter(views=["default"])


@pytest.fixture
async def make(database: ActivityDatabase, clock: ManualClock) -> AsyncIterator[Callable[..., RefusalRecord]]:
    made: list[RefusalRecord] = []

    def begin(**limits: int) -> RefusalRecord:
        made.append(RefusalRecord(database, clock, RefusalLimits(**limits)))
        return made[-1]

    yield begin
    for each in made:
        await each.close()


async def list_names(record: RefusalRecord) -> list[str]:
    return [each.filename for each in await record.find(EVERYTHING, limit=100)]


async def test_refusals_and_their_numbers_survive_a_restart(
    make: Callable[..., RefusalRecord], database: ActivityDatabase, database_path: Path, clock: ManualClock
) -> None:
    record = make()
    record.note(make_refusal())
    await record.close()
    await database.close()
    reopened = ActivityDatabase(database_path, clock)
    again = RefusalRecord(reopened, clock)
    assert await list_names(again) == ["widget-1.0.tar.gz"]
    assert [each.total for each in await again.count_by_day("default", make_refusal().time.date())] == [1]
    await reopened.close()


async def test_the_oldest_refusals_are_removed_and_stay_counted(make: Callable[..., RefusalRecord]) -> None:
    record = make(refusals=2)
    for number in range(4):
        record.note(make_refusal(filename=f"{number}"))
        await record.flush()
    assert await list_names(record) == ["3", "2"]
    assert sum(each.total for each in await record.count_by_day("default", make_refusal().time.date())) == 4


async def test_a_burst_is_counted_as_a_whole(make: Callable[..., RefusalRecord]) -> None:
    record = make(pending=3)
    for number in range(10):
        record.note(make_refusal(filename=f"{number}"))
    assert await list_names(record) == ["9", "8", "7"]
    assert sum(each.total for each in await record.count_by_day("default", make_refusal().time.date())) == 10


async def test_old_days_are_removed(make: Callable[..., RefusalRecord]) -> None:
    record = make(count_rows=2)
    for day in range(4):
        record.note(make_refusal(time=NOW - timedelta(days=10 - day)))
        await record.flush()
    counted = await record.count_by_day("default", NOW.date() - timedelta(days=20))
    assert [each.day for each in counted] == [NOW.date() - timedelta(days=8), NOW.date() - timedelta(days=7)]


async def test_refusals_wait_while_the_disk_fails(
    make: Callable[..., RefusalRecord], clock: ManualClock, database_path: Path
) -> None:
    database_path.parent.write_text("a file where the directory belongs")
    record = make()
    record.note(make_refusal(filename="1"))
    assert await list_names(record) == []
    record.note(make_refusal(filename="2"))
    database_path.parent.unlink()
    clock.now += timedelta(minutes=1)
    assert await list_names(record) == ["2", "1"]
    assert sum(each.total for each in await record.count_by_day("default", make_refusal().time.date())) == 2


@pytest.mark.parametrize(
    "change",
    [
        "time = 'x'",
        "codes = ' <script> '",
        "filename = ''",
        f"view = '{'x' * 300}'",
        "message = x'00'",
        "codes = x'00'",
    ],
)
async def test_a_row_that_assay_never_writes_is_ignored(
    make: Callable[..., RefusalRecord], database: ActivityDatabase, change: str
) -> None:
    record = make()
    for name in ("1", "2"):
        record.note(make_refusal(filename=name))
    await record.flush()
    await database.run(lambda it: it.execute(f"UPDATE refusals SET {change} WHERE filename = '1'"), None)  # noqa: S608 - constants
    assert await list_names(record) == ["2"]


async def test_invalid_parts_of_a_row_are_left_out(
    make: Callable[..., RefusalRecord], database: ActivityDatabase
) -> None:
    record = make()
    record.note(make_refusal())
    await record.flush()
    change = "UPDATE refusals SET project = '<b>', sha256 = 'x', time = 99999999999, codes = ' <b> forged '"
    await database.run(lambda it: it.execute(change), None)
    (found,) = await record.find(EVERYTHING, limit=10)
    assert (found.project, found.sha256, found.time, found.codes) == (None, None, NOW, ("forged",))
