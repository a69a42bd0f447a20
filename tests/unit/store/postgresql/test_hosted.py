"""Reads of hosted entries: each batch is bounded in rows and in bytes, and no row is missed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assay.store.postgresql.database import Database
from assay.store.postgresql.hosted import HostedTables
from tests.world.engines.postgresql import PostgresServer

ENTRY_BYTES = 1000
MEBIBYTE = 2**20


def add_files(server: PostgresServer, database_name: str, *, rows: int, entry_bytes: int, index: str = "one") -> None:
    """Add files with random entries, as the role of the service can."""
    server.sql(
        f"""
        INSERT INTO assay.hosted_uploads (upload, idx, project)
            SELECT '{index}' || n, '{index}', 'acme' FROM generate_series(1, {rows}) AS n;
        INSERT INTO assay.hosted_files (idx, filename, project, upload, entry, changed)
            SELECT '{index}', n::text, 'acme', '{index}' || n, decode(repeat('7b', {entry_bytes}), 'hex'), n
            FROM generate_series(1, {rows}) AS n;
        """,  # noqa: S608 - constants of the tests
        database=database_name,
    )


async def read_in_batches(tables: HostedTables, limit: int) -> list[list[int]]:
    batches: list[list[int]] = []
    after, is_last = 0, False
    while not is_last:
        rows, is_last = await tables.read_files("one", after, limit)
        after = rows[-1].changed if rows else after
        batches.append([row.changed for row in rows])
    return batches


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ((MEBIBYTE, 500), [10]),
        ((MEBIBYTE, 10), [10, 0]),
        ((MEBIBYTE, 4), [4, 4, 2]),
        ((3 * ENTRY_BYTES + 100, 500), [3, 3, 3, 1]),
        ((ENTRY_BYTES - 1, 500), [1] * 10),
    ],
)
async def test_each_batch_is_bounded_in_rows_and_in_bytes_and_no_row_is_missed(
    server: PostgresServer, database: Database, database_name: str, limits: tuple[int, int], sizes: list[int]
) -> None:
    max_batch_bytes, limit = limits
    add_files(server, database_name, rows=10, entry_bytes=ENTRY_BYTES)
    add_files(server, database_name, rows=3, entry_bytes=ENTRY_BYTES, index="other")
    batches = await read_in_batches(HostedTables(database, max_batch_bytes=max_batch_bytes), limit)
    assert [len(batch) for batch in batches] == sizes
    assert [changed for batch in batches for changed in batch] == list(range(1, 11))


async def test_an_entry_that_is_too_large_is_not_read_and_one_at_the_limit_is(
    server: PostgresServer, database: Database, database_name: str
) -> None:
    add_files(server, database_name, rows=1, entry_bytes=MEBIBYTE)
    add_files(server, database_name, rows=1, entry_bytes=MEBIBYTE + 1, index="other")
    tables = HostedTables(database)
    [row], _ = await tables.read_files("one", 0, 10)
    assert row.entry is not None
    assert len(row.entry) == MEBIBYTE
    [row], _ = await tables.read_files("other", 0, 10)
    assert row.entry is None


async def test_states_are_read_in_batches_too(server: PostgresServer, database: Database, database_name: str) -> None:
    server.sql(
        """
        INSERT INTO assay.hosted_projects (idx, project, state, changed)
            SELECT 'one', n::text, decode(repeat('7b', 1000), 'hex'), n FROM generate_series(1, 5) AS n;
        """,
        database=database_name,
    )
    tables = HostedTables(database, max_batch_bytes=2 * ENTRY_BYTES + 100)
    rows, is_last = await tables.read_states("one", 1, 500)
    assert ([row.project for row in rows], is_last) == (["2", "3"], False)
    rows, is_last = await tables.read_states("one", 3, 500)
    assert ([row.project for row in rows], is_last) == (["4", "5"], True)
    assert rows[0].state == b"{" * ENTRY_BYTES


async def test_an_upload_with_a_name_of_a_megabyte_is_not_swept_and_another_is(
    server: PostgresServer, database: Database, database_name: str
) -> None:
    server.sql(
        """
        INSERT INTO assay.hosted_uploads (upload, idx, project, started)
            VALUES ('long', 'one', repeat('a', 1048576), '2020-01-01'), ('short', 'one', 'acme', '2020-01-01');
        """,
        database=database_name,
    )
    uploads = await HostedTables(database).abandon_uploads(timedelta(days=1), 10)
    assert [each.upload for each in uploads] == ["short"]
