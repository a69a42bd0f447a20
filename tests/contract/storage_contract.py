"""Contract of every storage engine as a whole. A test class inherits `StorageContract` and gives `storage`."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from assay.errors import ConfigurationError, StorageError
from assay.ports import HistoryChanges, Notice, RefusalFilter, Storage
from tests.contract.blobs_contract import content_of, digest, publish
from tests.contract.ledger_contract import PROJECT, learn

MIN_KEY_BYTES = 32


class StorageContract:
    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError

    async def test_its_parts_are_one_storage_each(self, storage: Storage) -> None:
        await storage.records.put("key", b"value")
        assert await storage.records.get("key") == b"value"
        await learn(storage.ledger, "pypi", PROJECT, HistoryChanges(serial=1))
        assert (await storage.ledger.get_history("pypi", PROJECT)).serial == 1
        storage.usage.note("pypi", PROJECT, view="default")
        assert [each.project for each in await storage.usage.list_used(datetime(2020, 1, 1, tzinfo=UTC))] == [PROJECT]
        await storage.reported_hits.add([("MAL-1", PROJECT)])
        assert await storage.reported_hits.select_new([("MAL-1", PROJECT)]) == []
        assert await storage.refusals.find(RefusalFilter(views=["default"]), limit=1) == ()
        assert storage.directory

    async def test_a_lock_is_first_and_nothing_is_away(self, storage: Storage) -> None:
        async def is_done() -> bool:
            return False

        async with storage.flights.flight("page:pypi:x", is_done) as flight:
            assert flight.first
        assert storage.degraded == ()
        assert storage.objects is None or not await storage.objects.has(digest(b"no such object"))

    async def test_hosted_files_begin_empty_where_they_have_a_place(self, storage: Storage) -> None:
        assert all(len(key) >= MIN_KEY_BYTES for key in storage.get_keys())
        hosted = None
        with suppress(ConfigurationError):  # no object storage is configured
            hosted = await storage.open_hosted(["internal"])
        if hosted is not None:
            assert hosted.list_projects("internal") == ()
            await hosted.close()

    async def test_only_storage_with_objects_has_an_archive_of_audit_trails(self, storage: Storage) -> None:
        if storage.objects is None:
            with suppress(ConfigurationError):  # shared, but without an object storage
                assert storage.make_audit_archive() is None
        else:
            assert storage.make_audit_archive() is not None

    async def test_what_was_downloaded_is_among_the_blobs(self, storage: Storage) -> None:
        sha = await publish(storage.download_blobs, b"abc")
        assert await content_of(storage.blobs, sha) == b"abc"
        assert await content_of(storage.download_blobs, sha) == b"abc"
        assert await storage.download_blobs.stats() == await storage.blobs.stats()
        assert (await storage.download_blobs.verify()).checked == 1
        assert (await storage.download_blobs.prune(0)).count == 1
        await publish(storage.blobs, b"abc")
        await storage.download_blobs.remove(sha)
        assert await content_of(storage.blobs, digest(b"abc")) is None

    async def test_a_check_passes_and_leaves_nothing(self, storage: Storage) -> None:
        before = await storage.blobs.stats()
        await storage.check()
        assert await storage.blobs.stats() == before

    async def test_every_subscriber_hears_each_notice_from_then_on(self, storage: Storage) -> None:
        first, second = list[Notice](), list[Notice]()
        notices = [Notice(index="pypi", project=PROJECT), Notice(index="internal", project=PROJECT)]
        storage.notices.publish(notices[0])
        storage.notices.subscribe(first.append)
        storage.notices.publish(notices[0])
        storage.notices.subscribe(second.append)
        storage.notices.publish(notices[1])
        assert (first, second) == (notices, notices[1:])

    async def test_a_spooled_document_is_there_whole_or_not_at_all(self, storage: Storage) -> None:
        spool = await storage.open_spool()
        async with spool.open_writer() as writer:
            await writer.append(b"abc")
            await writer.append(b"def")
            finished = await writer.finish("list")
        async with spool.open_writer() as unfinished:
            await unfinished.append(b"x")
        assert finished.size == 6
        assert finished.etag.startswith('"')
        async with finished.open_reader() as reader:
            assert reader.read() == b"abcdef"

    async def test_a_newer_document_of_a_name_stands_beside_the_older_until_that_is_removed(
        self, storage: Storage
    ) -> None:
        spool = await storage.open_spool()
        made = []
        for content in (b"old", b"new"):
            async with spool.open_writer() as writer:
                await writer.append(content)
                made.append(await writer.finish("list"))
        old, new = made
        assert old.etag != new.etag
        async with old.open_reader() as reader:
            await old.remove()
            assert reader.read() == b"old", "who has it open keeps it"
        async with new.open_reader() as reader:
            assert reader.read() == b"new"
        with pytest.raises(StorageError):
            async with old.open_reader():
                pass

    async def test_the_background_verification_ends_with_the_storage(self, storage: Storage) -> None:
        await publish(storage.blobs, b"abc")
        storage.start_scrub()
        assert await content_of(storage.blobs, digest(b"abc")) == b"abc"
        await storage.close()

    async def test_it_can_be_closed_twice(self, storage: Storage) -> None:
        await storage.open_spool()
        await storage.close()
        await storage.close()
