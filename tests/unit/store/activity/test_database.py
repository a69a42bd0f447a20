"""Database of activity: hostile contents, other versions, a failing disk. Nothing but history is ever lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from assay.store.activity.database import ActivityDatabase
from assay.store.activity.schema import SCHEMA_VERSION, TABLES
from tests.world.proxy.running_proxy import ManualClock

INSERT = "INSERT INTO used_projects VALUES (1, 'pypi', 'foo', 1)"


async def count(database: ActivityDatabase) -> int:
    return await database.run(lambda it: int(it.execute("SELECT count(*) FROM used_projects").fetchone()[0]), -1)


async def insert(database: ActivityDatabase) -> bool:
    return await database.run(lambda it: bool(it.execute(INSERT)), default=False)


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)


def read_modes(path: Path) -> tuple[int, int]:
    return path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777


def write_garbage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)


def link(path: Path, target: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(target)


async def test_rows_survive_a_restart(database: ActivityDatabase, database_path: Path, clock: ManualClock) -> None:
    assert await insert(database)
    await database.close()
    again = ActivityDatabase(database_path, clock)
    assert await count(again) == 1
    await again.close()
    assert read_modes(database_path) == (0o600, 0o700)


async def test_an_error_in_an_action_writes_nothing_of_it(database: ActivityDatabase) -> None:
    def fail(connection: sqlite3.Connection) -> bool:
        connection.execute(INSERT)
        connection.execute("SELECT * FROM missing")
        return True

    assert await database.run(fail, default=False) is False
    assert await count(database) in {0, -1}


@pytest.mark.parametrize(
    ("statements", "kept"),
    [
        (["CREATE TRIGGER t AFTER INSERT ON used_projects BEGIN DELETE FROM used_views; END"], 0),
        (["CREATE TABLE other (x)"], 0),
        (["DROP TABLE used_views"], 0),
        (["PRAGMA application_id = 7"], 0),
        ([f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "CREATE TABLE other (x)", "CREATE VIEW v AS SELECT 1"], 0),
        (["UPDATE used_projects SET last_used = 2"], 1),
    ],
)
async def test_tables_of_another_program_or_version_are_replaced(
    database: ActivityDatabase, database_path: Path, clock: ManualClock, statements: list[str], kept: int
) -> None:
    await insert(database)
    await database.close()
    change(database_path, *statements)
    again = ActivityDatabase(database_path, clock)
    await count(again)  # the database is set aside, and the next action begins a new one
    assert await count(again) == kept
    assert await again.run(
        lambda it: {sql for (sql,) in it.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}, set[str]()
    ) == set(TABLES)
    await again.close()


async def test_a_damaged_file_is_set_aside(
    database: ActivityDatabase, database_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_garbage(database_path)
    assert await count(database) == -1
    assert await count(database) == 0
    assert database_path.with_suffix(".broken").read_bytes().startswith(b"this is no")
    assert "activity-corrupt" in caplog.text


async def test_a_symbolic_link_is_not_followed(database: ActivityDatabase, database_path: Path, tmp_path: Path) -> None:
    link(database_path, tmp_path / "elsewhere")
    assert await count(database) == -1
    assert not (tmp_path / "elsewhere").exists()


async def test_a_failing_disk_is_tried_again_after_a_pause(
    database: ActivityDatabase, database_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    database_path.parent.write_text("a file where the directory belongs")
    assert [await count(database), await count(database)] == [-1, -1]
    assert caplog.text.count("activity-unavailable") == 1
    database_path.parent.unlink()
    assert await count(database) == -1, "the pause is not over"
    clock.now += timedelta(seconds=31)
    assert await count(database) == 0
    assert "activity-recovered" in caplog.text
