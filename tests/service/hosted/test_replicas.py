"""Two proxies over one database and one object storage: an upload at one is installed from the other at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.engines.shared_storage import make_shared_table
from tests.world.index.distributions import BuiltDistribution, sdist, wheel
from tests.world.proxy.hosting_proxy import HostingProxy, run_hosting_proxy
from tests.world.proxy.told import Told
from tests.world.sigstore.private_sigstore import GitHub

pytestmark = pytest.mark.skipif(not HAS_POSTGRESQL, reason=MISSING_POSTGRESQL)

WHEEL, LATER, SOURCE = wheel("acme-app", "1.0"), wheel("acme-app", "1.1"), sdist("acme-app", "1.0")


@dataclass(frozen=True)
class World:
    """Two running proxies, their database server, and the directory that is their object storage."""

    one: HostingProxy
    other: HostingProxy
    server: PostgresServer
    objects: Path

    def find_content(self) -> Path:
        """Return the object with the bytes of the only published file."""
        [found] = self.objects.rglob("hosted/**/content")
        return found


@pytest.fixture
async def world(server: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    database = await create_assay_database(server)
    shared = make_shared_table(server, database, tmp_path)
    async with AsyncExitStack() as stack:

        async def run(name: str) -> HostingProxy:
            directory = tmp_path / name
            directory.mkdir()
            storage = {"directory": str(directory / "assay"), "shared": shared}
            return await stack.enter_async_context(run_hosting_proxy(directory, storage=storage))

        yield World(await run("one"), await run("other"), server, tmp_path / "objects")


async def read_whole(proxy: HostingProxy, built: BuiltDistribution) -> None:
    """Check that a proxy has a file, its METADATA and its provenance."""
    path = f"/files/internal.hosted.invalid/{built.project}/{built.filename}"
    assert (await proxy.get(path)).body == built.content
    if built.filename.endswith(".whl"):
        assert (await proxy.get(f"{path}.metadata")).body == built.metadata
    document = await proxy.get(f"/integrity/{built.project}/{built.version}/{built.filename}/provenance")
    assert json.loads(document.body)["attestation_bundles"][0]["attestations"] == [proxy.sign(built)]


async def test_an_upload_at_one_proxy_is_installed_from_the_other_at_once(world: World) -> None:
    assert await world.other.fetch_listed("acme-app") == set()
    for number, built in enumerate((WHEEL, SOURCE, LATER)):
        uploader, installer = (world.one, world.other) if number % 2 == 0 else (world.other, world.one)
        answer = await uploader.upload(built)
        assert answer.status == 200, answer.reason
        assert built.filename in await installer.fetch_listed("acme-app")
        await read_whole(installer, built)


async def test_a_hot_page_and_a_hot_file_follow_each_change_at_the_other_proxy(world: World) -> None:
    assert (await world.one.upload(WHEEL)).status == 200
    await read_whole(world.other, WHEEL)
    for reason in ("broken", "mended", "broken again"):
        assert (await world.one.manage("acme-app", "yank", {"version": "1.0", "reason": reason})).status == 200
        [entry] = (await world.other.fetch_page("acme-app"))["files"]
        assert entry["yanked"] == reason
    assert (await world.other.manage("acme-app", "status", {"status": "quarantined"})).status == 200
    assert await world.one.fetch_listed("acme-app") == set()
    path = f"/files/internal.hosted.invalid/acme-app/{WHEEL.filename}"
    assert (await world.one.get(path)).status == 404
    assert (await world.one.manage("acme-app", "status", {"status": "active"})).status == 200
    assert (await world.other.get(path)).body == WHEEL.content


async def test_a_name_that_was_taken_at_the_other_proxy_is_refused(world: World) -> None:
    assert (await world.one.upload(WHEEL)).status == 200
    again = await world.other.upload(WHEEL)
    assert (again.status, again.body) == (200, b"OK\n")
    changed = wheel("acme-app", "1.0", files={"acme_app/other.py": b""})
    refused = await world.other.upload(changed)
    assert (refused.status, "is taken by other bytes" in refused.reason) == (400, True), refused.reason


async def test_of_first_files_of_two_publishers_at_two_proxies_one_owns_the_project(world: World) -> None:
    stranger = GitHub(repository="evil/app")
    answers = await asyncio.gather(
        world.one.upload(WHEEL), world.other.upload(LATER, attestations=[world.other.sign(LATER, stranger)])
    )
    assert sorted(answer.status for answer in answers) == [200, 400], answers
    refused = next(answer for answer in answers if answer.status == 400)
    assert "but the project belongs to the publisher" in refused.json()["detail"]
    assert len(await world.one.fetch_listed("acme-app")) == 1
    assert await world.one.fetch_listed("acme-app") == await world.other.fetch_listed("acme-app")


async def test_an_upload_that_lost_a_race_is_checked_again_and_accepted(world: World) -> None:
    answers = await asyncio.gather(
        *(proxy.upload(built) for proxy, built in ((world.one, WHEEL), (world.other, LATER), (world.one, SOURCE)))
    )
    assert [answer.status for answer in answers] == [200, 200, 200], answers
    for proxy in (world.one, world.other):
        assert await proxy.fetch_listed("acme-app") == {WHEEL.filename, LATER.filename, SOURCE.filename}


async def test_changed_objects_are_never_served(world: World) -> None:
    told = Told("digest-mismatch")
    assert (await world.one.upload(WHEEL)).status == 200
    world.find_content().write_bytes(bytes(len(WHEEL.content)))
    path = f"/files/internal.hosted.invalid/acme-app/{WHEEL.filename}"
    assert (await world.other.get(path)).status == 424
    await told.wait()
    world.find_content().write_bytes(WHEEL.content)
    await read_whole(world.one, WHEEL)


async def wait_for_upload(proxy: HostingProxy, built: BuiltDistribution) -> None:
    async with asyncio.timeout(60):
        while (await proxy.upload(built)).status != 200:  # noqa: ASYNC110 - the server of the database has no event
            await asyncio.sleep(0.05)


async def test_without_the_database_pages_are_as_last_known_and_uploads_get_503(world: World) -> None:
    assert (await world.one.upload(WHEEL)).status == 200
    await read_whole(world.other, WHEEL)
    world.server.kill()
    try:
        assert await world.other.fetch_listed("acme-app") == {WHEEL.filename}
        await read_whole(world.other, WHEEL)
        refused = await world.one.upload(LATER)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert (await world.one.manage("acme-app", "yank", {"version": "1.0"})).status == 503
    finally:
        world.server.start()
    await wait_for_upload(world.one, LATER)
    for proxy in (world.other, world.one):
        assert await proxy.fetch_listed("acme-app") == {WHEEL.filename, LATER.filename}
