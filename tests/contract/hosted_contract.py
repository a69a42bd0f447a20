"""Contract of `assay.ports.HostedStorage`: what is published is whole, and is never replaced."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.errors import StorageError, UploadRefusedError, UpstreamGoneError
from assay.evidence import PublisherIdentity
from assay.ports import HostedFile, HostedProject, HostedStorage

ACME, INDEX = NormalizedName("acme"), "internal"
CONTENT = bytes(range(256)) * 5000


def make_file(filename: str = "acme-1.0-py3-none-any.whl", content: bytes = CONTENT, **changes: Any) -> HostedFile:
    file = HostedFile(
        filename=filename,
        version="1.0",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        uploaded=datetime(2026, 11, 1, 12, 30, 15, 250, tzinfo=UTC),
        uploader="bot",
        requires_python=">=3.9",
        metadata_sha256=hashlib.sha256(b"metadata").hexdigest(),
        provenance_sha256=hashlib.sha256(b"provenance").hexdigest(),
        signers=(PublisherIdentity("public", "https://issuer.example", "repository-id:1"),),
    )
    return replace(file, **changes)


async def publish(
    storage: HostedStorage, file: HostedFile, content: bytes = CONTENT, project: NormalizedName = ACME
) -> None:
    """Publish a file, whatever the project has."""
    while not await try_publish(storage, file, content, project, storage.find_project(INDEX, project)):
        await storage.refresh(INDEX)


async def try_publish(
    storage: HostedStorage, file: HostedFile, content: bytes, project: NormalizedName, known: HostedProject | None
) -> bool:
    """Publish a file if the project still equals `known`."""
    async with storage.stage(INDEX) as staged:
        await staged.write(content[:1000])
        await staged.write(bytearray(content[1000:]))
        assert staged.size == len(content)
        sha256, blake2 = await staged.finish()
        assert sha256 == hashlib.sha256(content).hexdigest()
        assert blake2 == hashlib.blake2b(content, digest_size=32).hexdigest()
        with await asyncio.to_thread(staged.open_reader) as reader:
            assert await asyncio.to_thread(reader.read) == content
        return await storage.publish(
            INDEX,
            project,
            staged,
            file,
            metadata=b"metadata" if file.metadata_sha256 else None,
            provenance=b"provenance" if file.provenance_sha256 else None,
            known=known,
        )


async def read_file(storage: HostedStorage, filename: str, start: int = 0) -> bytes:
    async with storage.open_file(INDEX, ACME, filename, start=start, url="https://x.invalid/") as body:
        assert body.start == start
        return b"".join([bytes(chunk) async for chunk in body.chunks])


class HostedContract:
    """Tests of a storage of hosted indexes, with the index `internal`."""

    @pytest.fixture
    def hosted(self) -> HostedStorage:
        raise NotImplementedError

    async def test_a_published_file_is_found_with_its_documents(self, hosted: HostedStorage) -> None:
        file = make_file()
        assert hosted.find_project(INDEX, ACME) is None
        assert hosted.list_projects(INDEX) == ()

        await publish(hosted, file)

        project = hosted.find_project(INDEX, ACME)
        assert project is not None
        assert (project.files, project.status) == ((file,), "active")
        assert hosted.list_projects(INDEX) == (ACME,)
        assert await read_file(hosted, file.filename) == CONTENT
        assert await read_file(hosted, file.filename, 1000) == CONTENT[1000:]
        assert await hosted.read_document(INDEX, ACME, file.filename, "metadata") == b"metadata"
        assert await hosted.read_document(INDEX, ACME, file.filename, "provenance") == b"provenance"

    async def test_a_file_without_documents_has_none(self, hosted: HostedStorage) -> None:
        file = make_file(metadata_sha256=None, provenance_sha256=None, signers=())
        await publish(hosted, file)
        assert await hosted.read_document(INDEX, ACME, file.filename, "metadata") is None
        assert await hosted.read_document(INDEX, ACME, "acme-2.0.tar.gz", "provenance") is None

    async def test_what_is_not_published_is_not_found(self, hosted: HostedStorage) -> None:
        async with hosted.stage(INDEX) as staged:
            await staged.write(b"x")
        assert hosted.find_project(INDEX, ACME) is None
        with pytest.raises(UpstreamGoneError):
            await read_file(hosted, "acme-1.0-py3-none-any.whl")

    async def test_a_published_file_is_never_replaced(self, hosted: HostedStorage) -> None:
        file = make_file()
        await publish(hosted, file)
        with pytest.raises(UploadRefusedError, match="is taken"):
            await publish(hosted, make_file(content=b"other" * 1000), b"other" * 1000)
        assert await read_file(hosted, file.filename) == CONTENT
        project = hosted.find_project(INDEX, ACME)
        assert project is not None
        assert project.files == (file,)

    async def test_a_file_is_published_only_if_its_project_has_not_changed(self, hosted: HostedStorage) -> None:
        one, other = make_file(), make_file("acme-1.0.tar.gz")
        assert await try_publish(hosted, one, CONTENT, ACME, None)
        known = hosted.find_project(INDEX, ACME)
        assert not await try_publish(hosted, other, CONTENT, ACME, None)
        await hosted.set_status(INDEX, ACME, "archived", None)
        assert not await try_publish(hosted, other, CONTENT, ACME, known)
        changed = hosted.find_project(INDEX, ACME)
        assert changed is not None
        assert changed.files == (one,)
        assert await try_publish(hosted, other, CONTENT, ACME, changed)

    async def test_the_same_staged_file_is_published_after_another_check(self, hosted: HostedStorage) -> None:
        await publish(hosted, make_file())
        file = make_file("acme-1.0.tar.gz")
        async with hosted.stage(INDEX) as staged:
            await staged.write(CONTENT)
            await staged.finish()
            publish_it = partial(
                hosted.publish, INDEX, ACME, staged, file, metadata=b"metadata", provenance=b"provenance"
            )
            assert not await publish_it(known=None)
            assert await publish_it(known=hosted.find_project(INDEX, ACME))
        assert await read_file(hosted, file.filename) == CONTENT
        assert await hosted.read_document(INDEX, ACME, file.filename, "metadata") == b"metadata"

    async def test_what_has_returned_is_current(self, hosted: HostedStorage) -> None:
        await publish(hosted, make_file())
        await hosted.refresh(INDEX)
        assert hosted.is_current(INDEX)
        await hosted.wait_until_visible(INDEX)
        assert hosted.list_projects(INDEX) == (ACME,)

    async def test_files_are_in_the_order_of_their_uploads(self, hosted: HostedStorage) -> None:
        late = make_file("acme-0.9.tar.gz", version="0.9", uploaded=datetime(2026, 11, 2, tzinfo=UTC))
        early = make_file("acme-1.0.tar.gz", uploaded=datetime(2026, 11, 1, tzinfo=UTC))
        await publish(hosted, late)
        await publish(hosted, early)
        project = hosted.find_project(INDEX, ACME)
        assert project is not None
        assert [each.filename for each in project.files] == [early.filename, late.filename]

    async def test_each_change_gives_the_project_another_version(self, hosted: HostedStorage) -> None:
        versions = set()

        def note() -> None:
            project = hosted.find_project(INDEX, ACME)
            assert project is not None
            versions.add(project.version)

        file = make_file()
        await publish(hosted, file)
        note()
        await hosted.set_yanked(INDEX, ACME, [file.filename], "")
        note()
        await hosted.set_yanked(INDEX, ACME, [file.filename], "broken")
        note()
        await hosted.set_status(INDEX, ACME, "archived", "old")
        note()
        assert len(versions) == 4
        await hosted.set_yanked(INDEX, ACME, [file.filename], None)
        await hosted.set_status(INDEX, ACME, "active", None)
        note()
        assert len(versions) == 4  # as at first

    async def test_yanks_and_status_are_kept(self, hosted: HostedStorage) -> None:
        one, other = make_file(), make_file("acme-1.0.tar.gz")
        await publish(hosted, one)
        await publish(hosted, other)
        await hosted.set_yanked(INDEX, ACME, [one.filename], "broken")
        await hosted.set_status(INDEX, ACME, "deprecated", "use other")
        project = hosted.find_project(INDEX, ACME)
        assert project is not None
        assert {each.filename: each.yanked for each in project.files} == {one.filename: "broken", other.filename: None}
        assert (project.status, project.reason) == ("deprecated", "use other")
        with pytest.raises(StorageError):
            await hosted.set_status(INDEX, NormalizedName("none"), "archived", None)

    async def test_of_concurrent_uploads_of_one_name_one_is_published(self, hosted: HostedStorage) -> None:
        contents = [bytes([number]) * 2000 for number in range(6)]
        results = await asyncio.gather(
            *(publish(hosted, make_file(content=each), each) for each in contents), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in results) == ["NoneType"] + ["UploadRefusedError"] * 5
        won = next(content for content, result in zip(contents, results, strict=True) if result is None)
        assert await read_file(hosted, make_file().filename) == won

    async def test_it_is_closed_twice_without_an_error(self, hosted: HostedStorage) -> None:
        await hosted.close()
        await hosted.close()
