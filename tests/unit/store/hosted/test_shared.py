"""Hosted files of several replicas: visible at once, one winner, all or nothing, and damage that stays small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.errors import StorageError, UploadRefusedError, UpstreamError
from assay.ports import HostedFile
from assay.store.hosted.shared import SharedHosted
from assay.store.postgresql.hosted import HostedTables
from tests.contract.hosted_contract import ACME, CONTENT, INDEX, make_file, publish, read_file, try_publish
from tests.world.engines.memory_bucket import MemoryBucket
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.shared_hosted import open_replica
from tests.world.proxy.told import Told

FILE = make_file()
NOW = timedelta(0)


@dataclass(frozen=True)
class Store:
    """Database and bucket of all replicas, for tests that damage them while no replica runs."""

    server: PostgresServer
    database_name: str
    bucket: MemoryBucket
    directory: Path

    def damage(self, statements: str) -> None:
        self.server.sql(statements, database=self.database_name)

    def open_replica(self) -> AbstractAsyncContextManager[SharedHosted]:
        return open_replica(self.server.get_url(self.database_name, user="assay_app"), self.bucket, self.directory)


@pytest.fixture
def store(server: PostgresServer, database_name: str, bucket: MemoryBucket, tmp_path: Path) -> Store:
    return Store(server, database_name, bucket, tmp_path)


@pytest.fixture
async def replicas(url: str, bucket: MemoryBucket, tmp_path: Path) -> AsyncIterator[list[SharedHosted]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_replica(url, bucket, tmp_path / str(number))) for number in range(3)
        ]


def list_files(replica: SharedHosted) -> list[str]:
    project = replica.find_project(INDEX, ACME)
    return [] if project is None else [file.filename for file in project.files]


async def test_an_upload_at_one_replica_is_visible_at_the_others_when_it_returns(replicas: list[SharedHosted]) -> None:
    one, *others = replicas
    is_over = False

    async def keep_current(replica: SharedHosted) -> None:
        while not is_over:
            await replica.refresh(INDEX)
            await asyncio.sleep(0)

    current = [asyncio.create_task(keep_current(other)) for other in others]
    for number in range(5):
        file = make_file(f"acme-{number}.tar.gz", version=str(number))
        await publish(one, file)
        for other in others:
            # As the proxy does: what is in memory counts only if it is current.
            if not other.is_current(INDEX):
                await other.refresh(INDEX)
            assert file.filename in list_files(other)
    await one.set_status(INDEX, ACME, "quarantined", "malware")
    for other in others:
        if not other.is_current(INDEX):
            await other.refresh(INDEX)
        project = other.find_project(INDEX, ACME)
        assert project is not None
        assert project.status == "quarantined"
    is_over = True
    await asyncio.gather(*current)


async def test_every_replica_has_the_bytes_and_documents(replicas: list[SharedHosted]) -> None:
    await publish(replicas[0], FILE)
    await replicas[1].refresh(INDEX)
    assert replicas[1].find_project(INDEX, ACME) == replicas[0].find_project(INDEX, ACME)
    assert await read_file(replicas[1], FILE.filename) == CONTENT
    assert await replicas[1].read_document(INDEX, ACME, FILE.filename, "metadata") == b"metadata"
    assert await replicas[1].read_document(INDEX, ACME, FILE.filename, "provenance") == b"provenance"


async def test_of_six_uploaders_of_one_name_at_three_replicas_one_wins(replicas: list[SharedHosted]) -> None:
    contents = [bytes([number]) * 2000 for number in range(6)]
    results = await asyncio.gather(
        *(publish(replicas[number % 3], make_file(content=each), each) for number, each in enumerate(contents)),
        return_exceptions=True,
    )
    refused = [each for each in results if isinstance(each, UploadRefusedError)]
    assert len(refused) == 5, results
    assert all("is taken" in str(each) for each in refused)
    won = next(content for content, result in zip(contents, results, strict=True) if result is None)
    for replica in replicas:
        await replica.refresh(INDEX)
        assert list_files(replica) == [FILE.filename]
        assert await read_file(replica, FILE.filename) == won


async def test_of_first_files_with_different_names_one_is_checked_again(replicas: list[SharedHosted]) -> None:
    """Otherwise, two publishers could become owners of one project."""
    one, other = make_file(), make_file("acme-1.0.tar.gz")

    async def compete(replica: SharedHosted, file: HostedFile) -> bool:
        is_published = await try_publish(replica, file, CONTENT, ACME, None)
        assert len(list_files(replica)) == 1, "the other file must be known before this one is checked again"
        return is_published

    results = await asyncio.gather(compete(replicas[0], one), compete(replicas[1], other))
    assert sorted(results) == [False, True]
    await replicas[1].refresh(INDEX)
    await replicas[0].refresh(INDEX)
    assert list_files(replicas[0]) == list_files(replicas[1])
    assert len(list_files(replicas[0])) == 1
    await publish(replicas[results.index(False)], (one, other)[results.index(False)])


async def test_changes_of_two_managers_are_both_kept(replicas: list[SharedHosted]) -> None:
    await publish(replicas[0], FILE)
    await publish(replicas[0], make_file("acme-1.0.tar.gz"))
    await asyncio.gather(
        replicas[0].set_yanked(INDEX, ACME, [FILE.filename], "broken"),
        replicas[1].set_yanked(INDEX, ACME, ["acme-1.0.tar.gz"], ""),
        replicas[2].set_status(INDEX, ACME, "deprecated", None),
    )
    for replica in replicas:
        await replica.refresh(INDEX)
        project = replica.find_project(INDEX, ACME)
        assert project is not None
        assert project.status == "deprecated"
        assert {file.filename: file.yanked for file in project.files} == {
            FILE.filename: "broken",
            "acme-1.0.tar.gz": "",
        }


async def test_a_crash_before_the_entry_publishes_nothing_and_its_objects_are_removed_later(
    replicas: list[SharedHosted], bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> bool:
        raise StorageError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(HostedTables, "publish", crash)
        with pytest.raises(StorageError, match="killed"):
            await publish(replicas[0], FILE)
    left = set(bucket.objects)
    assert len(left) == 3
    assert list_files(replicas[0]) == []

    await publish(replicas[1], FILE)

    await replicas[2].refresh(INDEX)
    assert await read_file(replicas[2], FILE.filename) == CONTENT
    assert await replicas[2].sweep() == 0  # too early
    assert left <= set(bucket.objects)
    assert await replicas[2].sweep(NOW) == 1
    assert not left & set(bucket.objects)
    assert await replicas[2].sweep(NOW) == 0
    await replicas[0].refresh(INDEX)
    assert await read_file(replicas[0], FILE.filename) == CONTENT


async def test_objects_that_could_not_be_removed_are_removed_by_the_next_sweep(
    replicas: list[SharedHosted], bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> bool:
        raise StorageError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(HostedTables, "publish", crash)
        with pytest.raises(StorageError, match="killed"):
            await publish(replicas[0], FILE)
    bucket.is_away = True
    with pytest.raises(StorageError, match="away"):
        await replicas[0].sweep(NOW)
    bucket.is_away = False
    assert await replicas[1].sweep(NOW) == 1
    assert bucket.objects == {}


async def test_an_upload_whose_objects_were_removed_is_not_published(
    replicas: list[SharedHosted], bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = bucket.put_file

    async def stall(*arguments: Any) -> None:
        await put(*arguments)
        await replicas[1].sweep(NOW)

    with monkeypatch.context() as patch:
        patch.setattr(bucket, "put_file", stall)
        with pytest.raises(StorageError, match="took too long"):
            await publish(replicas[0], FILE)
    assert list_files(replicas[0]) == []
    await publish(replicas[0], FILE)
    assert await read_file(replicas[0], FILE.filename) == CONTENT


async def test_objects_that_the_database_does_not_know_are_never_removed(
    replicas: list[SharedHosted], bucket: MemoryBucket
) -> None:
    key = f"hosted/internal/acme/{'0' * 32}/content"
    bucket.objects[key] = b"of a database that was restored from a backup"
    await replicas[0].sweep(NOW)
    assert key in bucket.objects


async def test_without_object_storage_nothing_is_published(replicas: list[SharedHosted], bucket: MemoryBucket) -> None:
    bucket.is_away = True
    with pytest.raises(StorageError, match="the bucket is away"):
        await publish(replicas[0], FILE)
    assert list_files(replicas[0]) == []
    bucket.is_away = False
    await publish(replicas[0], FILE)
    bucket.is_away = True
    with pytest.raises(StorageError, match="cannot be read: the bucket is away"):
        await replicas[0].read_document(INDEX, ACME, FILE.filename, "metadata")
    with pytest.raises(UpstreamError, match="the bucket is away"):
        await read_file(replicas[0], FILE.filename)


async def test_another_try_to_publish_writes_no_objects_again(
    replicas: list[SharedHosted], bucket: MemoryBucket
) -> None:
    await publish(replicas[0], make_file("acme-1.0.tar.gz", metadata_sha256=None, provenance_sha256=None))
    known = replicas[1].find_project(INDEX, ACME)
    async with replicas[1].stage(INDEX) as staged:
        await staged.write(CONTENT)
        await staged.finish()
        before = bucket.puts

        async def try_it() -> bool:
            return await replicas[1].publish(
                INDEX, ACME, staged, FILE, metadata=None, provenance=None, known=replicas[1].find_project(INDEX, ACME)
            )

        assert known is None
        assert not await try_it()
        await replicas[1].refresh(INDEX)
        assert await try_it()
    assert bucket.puts - before == 1
    assert await read_file(replicas[1], FILE.filename) == CONTENT


async def test_a_changed_or_missing_object_is_an_error(replicas: list[SharedHosted], bucket: MemoryBucket) -> None:
    changed, missing = Told("hosted-document-changed"), Told("hosted-file-missing")
    await publish(replicas[0], FILE)
    for key in bucket.objects:
        bucket.objects[key] = b"other"
    for kind in ("metadata", "provenance"):
        with pytest.raises(StorageError, match="has changed in the object storage"):
            await replicas[0].read_document(INDEX, ACME, FILE.filename, kind)
    bucket.objects.clear()
    with pytest.raises(UpstreamError, match="does not have the published file"):
        await read_file(replicas[0], FILE.filename)
    with pytest.raises(StorageError, match="is missing from it"):
        await replicas[0].read_document(INDEX, ACME, FILE.filename, "metadata")
    await changed.wait(3)
    await missing.wait()


async def test_without_the_database_the_last_known_files_are_shown_and_nothing_is_published(
    server: PostgresServer, url: str, bucket: MemoryBucket, tmp_path: Path
) -> None:
    away, back = Told("hosted-unconfirmed"), Told("hosted-confirmed")
    async with (
        open_replica(url, bucket, tmp_path / "a") as replica,
        open_replica(url, bucket, tmp_path / "b", grace_seconds=0) as strict,
    ):
        await publish(replica, FILE)
        server.kill()
        try:
            with pytest.raises(StorageError):
                await publish(replica, make_file("acme-1.0.tar.gz"))
            await replica.refresh(INDEX)
            assert list_files(replica) == [FILE.filename]
            with pytest.raises(StorageError):
                await strict.refresh(INDEX)
            assert not strict.is_current(INDEX)
            await away.wait(2)
        finally:
            server.start()
        await asyncio.gather(*(_become_confirmed(each) for each in (replica, strict)))
        await back.wait(2)
        await publish(replica, make_file("acme-1.0.tar.gz"))
        await strict.refresh(INDEX)
        assert list_files(strict) == ["acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"]


async def _become_confirmed(replica: SharedHosted) -> None:
    """Check until the database answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                await replica._freshness.check()  # requests would use the failed check for a moment
            except StorageError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_paused_database_delays_a_request_once(
    server: PostgresServer, url: str, bucket: MemoryBucket, tmp_path: Path
) -> None:
    async with open_replica(url, bucket, tmp_path, deadline_seconds=3) as replica:
        await publish(replica, FILE)
        server.process.pause()
        try:
            told = Told("hosted-unconfirmed")
            for _ in range(5):
                await replica.refresh(INDEX)
                assert list_files(replica) == [FILE.filename]
            await told.wait()
            with pytest.raises(StorageError):
                await publish(replica, make_file("acme-1.0.tar.gz"))
        finally:
            server.process.resume()
        await _become_confirmed(replica)
        await publish(replica, make_file("acme-1.0.tar.gz"))
        assert len(list_files(replica)) == 2


async def test_a_replica_starts_without_the_database_and_answers_when_it_is_back(
    server: PostgresServer, url: str, bucket: MemoryBucket, tmp_path: Path
) -> None:
    async with open_replica(url, bucket, tmp_path / "a") as replica:
        await publish(replica, FILE)
    server.kill()
    try:
        async with open_replica(url, bucket, tmp_path / "b") as late:
            with pytest.raises(StorageError):
                await late.refresh(INDEX)
            server.start()
            await _become_confirmed(late)
            assert list_files(late) == [FILE.filename]
    finally:
        server.kill()
        server.start()


def _replace_in_entry(old: str, new: str) -> str:
    text = f"regexp_replace(convert_from(entry, 'UTF8'), '{old}', '{new}')"
    return f"UPDATE assay.hosted_files SET entry = convert_to({text}, 'UTF8')"  # noqa: S608 - constants of the tests


async def test_the_time_of_an_entry_may_have_any_zone(store: Store) -> None:
    async with store.open_replica() as replica:
        await publish(replica, FILE)
    store.damage(_replace_in_entry('"uploaded": "[^"]+"', '"uploaded": "2026-07-01T14:00:00+14:00"'))
    async with store.open_replica() as replica:
        project = replica.find_project(INDEX, ACME)
        assert project is not None
        assert [file.uploaded.isoformat() for file in project.files] == ["2026-07-01T00:00:00+00:00"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE assay.hosted_files SET entry = ''",
        """UPDATE assay.hosted_files SET entry = '{"schema": 2}'""",
        "UPDATE assay.hosted_files SET entry = convert_to(repeat('x', 2000000), 'UTF8')",
        "UPDATE assay.hosted_files SET filename = 'acme-2.0-py3-none-any.whl'",
        _replace_in_entry('"size": [0-9]+', '"size": Infinity'),
        _replace_in_entry('"size": [0-9]+', '"size": -1'),
        _replace_in_entry('"uploaded": "[^"]+"', '"uploaded": "0001-01-01T00:00:00+14:00"'),
        "UPDATE assay.hosted_files SET project = '../acme'",
        "ALTER TABLE assay.hosted_files DISABLE TRIGGER ALL; UPDATE assay.hosted_files SET upload = '../x'",
    ],
)
async def test_a_damaged_row_hides_its_file(damage: str, store: Store) -> None:
    async with store.open_replica() as replica:
        await publish(replica, FILE)
    store.damage(damage)
    told = Told("hosted-entry-unusable")
    async with store.open_replica() as replica:
        await told.wait()
        assert replica.list_projects(INDEX) == ()
        if "project" not in damage:
            with pytest.raises(StorageError, match="is damaged, so its owner, versions and names cannot be checked"):
                await publish(replica, make_file("acme-1.0.tar.gz"))
        await publish(replica, make_file("other-1.0.tar.gz"), project=NormalizedName("other"))
        assert replica.list_projects(INDEX) == (NormalizedName("other"),)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE assay.hosted_projects SET state = ''",
        """UPDATE assay.hosted_projects SET state = '{"schema": 1, "status": "x", "reason": null, "yanked": {}}'""",
    ],
)
async def test_a_damaged_state_hides_the_files_of_its_project(damage: str, store: Store) -> None:
    async with store.open_replica() as replica:
        await publish(replica, FILE)
        await replica.set_status(INDEX, ACME, "archived", None)
    store.damage(damage)
    told = Told("hosted-entry-unusable")
    async with store.open_replica() as replica:
        await told.wait()
        project = replica.find_project(INDEX, ACME)
        assert project is not None
        assert (project.status, project.reason) == ("quarantined", "the record of its status is damaged")
        with pytest.raises(StorageError, match="restore it from a backup"):
            await replica.set_status(INDEX, ACME, "active", None)
        with pytest.raises(StorageError, match="its status of the project acme is damaged"):
            await publish(replica, make_file("acme-1.0.tar.gz"))


async def test_a_database_that_went_back_is_a_security_event(
    replicas: list[SharedHosted], server: PostgresServer, database_name: str
) -> None:
    await publish(replicas[0], FILE)
    await publish(replicas[0], make_file("acme-1.0.tar.gz"))
    told = Told("hosted-went-back")
    server.sql(
        "DELETE FROM assay.hosted_files WHERE changed = 2; UPDATE assay.hosted_indexes SET version = 1",
        database=database_name,
    )
    async with asyncio.timeout(20):
        while len(list_files(replicas[0])) == 2:
            await replicas[0].refresh(INDEX)
            await asyncio.sleep(0)
    await told.wait()
    assert told.events[0]["files"] == 1
    assert list_files(replicas[0]) == [FILE.filename]


async def test_uploads_in_progress_are_removed_at_the_next_start_except_by_a_reader(
    url: str, bucket: MemoryBucket, tmp_path: Path
) -> None:
    left = tmp_path / "uploads" / "left"
    left.mkdir(parents=True)
    async with open_replica(url, bucket, tmp_path, read_only=True):
        assert left.exists()
    async with open_replica(url, bucket, tmp_path):
        assert not left.exists()


def _add_rows(store: Store, rows: int) -> None:
    """Add rows to the index "crowded" that are no entries, as a program with the role of the service can."""
    store.damage(
        f"""
        INSERT INTO assay.hosted_uploads (upload, idx, project)
            SELECT 'crowded' || n, 'crowded', 'big' FROM generate_series(1, {rows}) AS n;
        INSERT INTO assay.hosted_files (idx, filename, project, upload, entry, changed)
            SELECT 'crowded', n::text, 'big', 'crowded' || n, decode(repeat('7b', 10000), 'hex'), n
            FROM generate_series(1, {rows}) AS n;
        INSERT INTO assay.hosted_indexes (idx, version) VALUES ('crowded', {rows});
        """  # noqa: S608 - numbers of the tests
    )


@pytest.mark.parametrize(("rows", "is_too_large"), [(9, False), (11, True)])
async def test_an_index_that_does_not_fit_in_memory_is_refused_alone(
    rows: int, is_too_large: bool, store: Store
) -> None:
    url = store.server.get_url(store.database_name, user="assay_app")
    _add_rows(store, rows)
    told = Told("hosted-index-too-large")
    async with open_replica(
        url,
        store.bucket,
        store.directory,
        other_indexes=("crowded",),
        max_index_weight=100_000,
        retry_seconds=0.2,
        max_batch_bytes=25_000,
    ) as replica:
        await publish(replica, FILE)
        await replica.refresh(INDEX)
        assert list_files(replica) == [FILE.filename]
        if not is_too_large:
            await replica.refresh("crowded")
            assert replica.is_current("crowded")
            return
        await told.wait()
        assert not replica.is_current("crowded")
        with pytest.raises(StorageError, match="the entries of the index crowded have more than 100000 bytes"):
            await replica.refresh("crowded")
        store.damage("DELETE FROM assay.hosted_files WHERE idx = 'crowded'")
        await asyncio.sleep(0.3)
        await replica.refresh("crowded")
        assert replica.list_projects("crowded") == ()
    assert len(told.events) == 1
