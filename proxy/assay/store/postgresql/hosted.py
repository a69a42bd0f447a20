"""Tables of the hosted indexes.

    hosted_indexes     version of each index, which grows by one with each change of its files or states
    hosted_uploads     uploads, registered before their objects are written: open, published, abandoned or removed
    hosted_files       published files; rows are added and never changed
    hosted_projects    status and yanks of each project

Each change first increments the version of its index. This locks the row, so that changes of one index happen one after
the other, also those of other replicas, and a reader that has all changes up to a version misses none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from assay.errors import StorageError
from assay.hosted.naming import make_taken_error
from assay.simple.model import NormalizedName
from assay.store.hosted.catalog import FileRow, StateRow

if TYPE_CHECKING:
    from assay.store.postgresql.database import Connection, Database

_MAX_ENTRY_BYTES: Final = 2**20
_MAX_STATE_BYTES: Final = 8 * 2**20
"""Maximum size of the state of a project, in bytes. It has the reason of each yanked file."""
_MAX_BATCH_BYTES: Final = 8 * 2**20
"""Maximum size of the rows that one query returns, in bytes, so that it ends before the deadline of the database."""
_MAX_NAME_BYTES: Final = 2**16
"""Maximum size of the index and project of an upload that is swept, in bytes."""
_NEXT_VERSION: Final = """
    INSERT INTO hosted_indexes (idx, version) VALUES ($1, 1)
    ON CONFLICT (idx) DO UPDATE SET version = hosted_indexes.version + 1 RETURNING version"""
_REVISION: Final = """
    SELECT greatest(
        (SELECT max(changed) FROM hosted_files WHERE idx = $1 AND project = $2),
        (SELECT changed FROM hosted_projects WHERE idx = $1 AND project = $2), 0)"""
_IS_TAKEN: Final = "SELECT EXISTS (SELECT FROM hosted_files WHERE idx = $1 AND filename = $2)"
_CLOSE_UPLOAD: Final = """
    UPDATE hosted_uploads SET outcome = 'published' WHERE upload = $1 AND outcome = 'open' RETURNING upload"""
_ADD_FILE: Final = """
    INSERT INTO hosted_files (idx, filename, project, upload, entry, changed) VALUES ($1, $2, $3, $4, $5, $6)"""


def _make_batch_query(table: str, names: Sequence[str], content: str) -> str:
    """Return a query for rows of an index ($1) after a version ($2): at most $3 rows with at most $5 bytes together.

    A content of more than $4 bytes is null. The column `found` has the number of rows before the limit on their bytes.
    `octet_length` does not read a content that is stored apart from its row.
    """
    size = " + ".join(f"octet_length({name})" for name in names)
    columns = ", ".join(names)
    return f"""
        SELECT {columns}, changed, CASE WHEN octet_length({content}) <= $4 THEN {content} END AS {content}, found FROM (
            SELECT *, count(*) OVER () AS found, row_number() OVER (ORDER BY changed) AS number,
                sum({size} + size) OVER (ORDER BY changed) AS total
            FROM (
                SELECT {columns}, changed, {content},
                    CASE WHEN octet_length({content}) <= $4 THEN octet_length({content}) ELSE 0 END AS size
                FROM {table} WHERE idx = $1 AND changed > $2 ORDER BY changed LIMIT $3
            ) AS page
        ) AS measured WHERE total <= $5 OR number = 1 ORDER BY changed"""  # noqa: S608 - constants


_READ_FILES: Final = _make_batch_query("hosted_files", ("project", "filename", "upload"), "entry")
_READ_STATES: Final = _make_batch_query("hosted_projects", ("project",), "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonedUpload:
    """Upload that was not published in time."""

    index: str
    project: str
    upload: str


class _ChangedError(Exception):
    """Error that rolls a transaction back because the project has changed."""


class HostedTables:
    """Rows of all hosted indexes.

    Args:
        database: the database, which belongs to the caller.
        max_batch_bytes: maximum size of the rows that one query returns, in bytes.
    """

    def __init__(self, database: Database, *, max_batch_bytes: int = _MAX_BATCH_BYTES) -> None:
        self._database = database
        self._max_batch_bytes = max_batch_bytes

    async def get_versions(self, indexes: Sequence[str]) -> dict[str, int]:
        """Return the version of each index that has one.

        Raises:
            StorageError: the database cannot be read.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT idx, version FROM hosted_indexes WHERE idx = ANY($1::text[])", list(indexes)
            )
        return {row["idx"]: row["version"] for row in rows}

    async def read_files(self, index: str, after: int, limit: int) -> tuple[list[FileRow], bool]:
        """Return rows that were added after a version of the index, in that order, and whether they are all such rows.

        A batch has at most `limit` rows. All of its rows together have at most `max_batch_bytes`, unless it is one row.

        Raises:
            StorageError: the database cannot be read.
        """
        async with self._database.connection() as connection:
            found = await connection.fetch(_READ_FILES, index, after, limit, _MAX_ENTRY_BYTES, self._max_batch_bytes)
        rows = [
            FileRow(
                project=row["project"],
                filename=row["filename"],
                upload=row["upload"],
                entry=row["entry"],
                changed=row["changed"],
            )
            for row in found
        ]
        return rows, _has_all(found, limit)

    async def read_states(self, index: str, after: int, limit: int) -> tuple[list[StateRow], bool]:
        """Return projects whose state changed after a version of the index, in that order, and whether they are all.

        The limits are those of `read_files`.

        Raises:
            StorageError: the database cannot be read.
        """
        async with self._database.connection() as connection:
            found = await connection.fetch(_READ_STATES, index, after, limit, _MAX_STATE_BYTES, self._max_batch_bytes)
        rows = [StateRow(project=row["project"], state=row["state"], changed=row["changed"]) for row in found]
        return rows, _has_all(found, limit)

    async def register_upload(self, index: str, project: NormalizedName, upload: str) -> None:
        """Register an upload, before its objects are written. Another call changes nothing.

        Raises:
            StorageError: the database cannot be written.
        """
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO hosted_uploads (upload, idx, project) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                upload,
                index,
                project,
            )

    async def publish(self, index: str, row: FileRow) -> bool:
        """Add the row of a file in one transaction, unless its project has changed since the version `row.changed`.

        Returns:
            False if the project has changed. Nothing is written then.

        Raises:
            UploadRefusedError: the filename is taken.
            StorageError: the database cannot be written, or the upload took too long. After an error, it may be unknown
                whether the row was added.
        """
        try:
            async with self._database.transaction() as connection:
                await _publish(connection, index, row)
        except _ChangedError:
            return False
        return True

    async def change_state(self, index: str, project: NormalizedName, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the state of a project by what `change` returns for the current one, in one transaction.

        Raises:
            StorageError: the index has no such project, the new state is too large, or the database cannot be written.
        """
        async with self._database.transaction() as connection:
            version = await _lock_index(connection, index)
            exists = "SELECT EXISTS (SELECT FROM hosted_files WHERE idx = $1 AND project = $2)"
            if not await connection.fetchval(exists, index, project):
                raise StorageError(f"the index {index} has no project {project}")
            known = "SELECT state FROM hosted_projects WHERE idx = $1 AND project = $2"
            state = change(await connection.fetchval(known, index, project))
            if len(state) > _MAX_STATE_BYTES:
                raise StorageError(f"the reasons of the yanked files of {project} are too long")
            await connection.execute(
                """
                INSERT INTO hosted_projects (idx, project, state, changed) VALUES ($1, $2, $3, $4)
                ON CONFLICT (idx, project) DO UPDATE SET state = excluded.state, changed = excluded.changed
                """,
                index,
                project,
                state,
                version,
            )

    async def abandon_uploads(self, older_than: timedelta, limit: int) -> list[AbandonedUpload]:
        """Forbid to publish uploads that were registered long ago; return at most `limit` with objects to remove.

        Raises:
            StorageError: the database cannot be written.
        """
        async with self._database.connection() as connection:
            rows: list[Any] = await connection.fetch(
                """
                UPDATE hosted_uploads SET outcome = 'abandoned' WHERE upload IN (
                    SELECT upload FROM hosted_uploads
                    WHERE (outcome = 'abandoned' OR (outcome = 'open' AND started <= now() - $1::interval))
                        AND octet_length(idx) + octet_length(project) <= $3
                    LIMIT $2 FOR UPDATE SKIP LOCKED
                ) RETURNING idx, project, upload
                """,
                older_than,
                limit,
                _MAX_NAME_BYTES,
            )
        return [AbandonedUpload(index=row["idx"], project=row["project"], upload=row["upload"]) for row in rows]

    async def mark_removed(self, uploads: Sequence[str]) -> None:
        """Record that the objects of abandoned uploads were removed.

        Raises:
            StorageError: the database cannot be written.
        """
        async with self._database.connection() as connection:
            await connection.execute(
                """
                UPDATE hosted_uploads SET outcome = 'removed' WHERE upload = ANY($1::text[]) AND outcome = 'abandoned'
                """,
                list(uploads),
            )


def _has_all(rows: Sequence[Any], limit: int) -> bool:
    """Return whether a batch has all rows after its version."""
    return len(rows) < limit and (not rows or len(rows) == rows[0]["found"])


async def _lock_index(connection: Connection, index: str) -> int:
    """Increment the version of an index and return it. Other changes of the index wait until the transaction ends."""
    version: int = await connection.fetchval(_NEXT_VERSION, index)
    return version


async def _publish(connection: Connection, index: str, row: FileRow) -> None:
    version = await _lock_index(connection, index)
    if await connection.fetchval(_IS_TAKEN, index, row.filename):
        raise make_taken_error(row.filename)
    if await connection.fetchval(_REVISION, index, row.project) != row.changed:
        raise _ChangedError
    if await connection.fetchval(_CLOSE_UPLOAD, row.upload) is None:
        raise StorageError(f"the upload of {row.filename} took too long; try again")
    await connection.execute(_ADD_FILE, index, row.filename, row.project, row.upload, row.entry, version)
