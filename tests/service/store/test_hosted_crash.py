"""kill -9 of a replica that publishes hosted files: another replica has each file whole, or not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from assay.errors import UploadRefusedError
from assay.store.hosted.shared import SharedHosted
from tests.contract.hosted_contract import ACME, INDEX, publish, read_file
from tests.paths import ROOT
from tests.service.store.hosted_worker import make_content, make_numbered_file, open_bucket
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.engines.shared_hosted import open_replica

pytestmark = pytest.mark.skipif(not HAS_POSTGRESQL, reason=MISSING_POSTGRESQL)
_FILES_OF_A_ROUND = 100_000


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=True) as started:
        yield started


async def run_and_kill(arguments: list[str], lines: int, delay: float) -> set[int]:
    """Return the numbers that a worker printed until it was killed, `delay` seconds after its line number `lines`."""
    command = [sys.executable, "-m", "tests.service.store.hosted_worker", *arguments]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert worker.stdout is not None
    said = [await worker.stdout.readline() for _ in range(lines)]
    await asyncio.sleep(delay)  # a random moment for the kill
    worker.kill()
    said += (await worker.stdout.read()).splitlines(keepends=True)
    await worker.wait()
    return {int(line) for line in said if line.endswith(b"\n")}


async def check(survivor: SharedHosted, published: set[int], start: int) -> int:
    """Check the files of a round; return the number of files that were published and not reported."""
    await survivor.refresh(INDEX)
    project = survivor.find_project(INDEX, ACME)
    listed = set() if project is None else {int(file.version) for file in project.files}
    found = {number for number in listed if start <= number < start + _FILES_OF_A_ROUND}
    assert published <= found
    for number in found:
        file = make_numbered_file(number)
        assert await read_file(survivor, file.filename) == make_content(number)
        assert await survivor.read_document(INDEX, ACME, file.filename, "metadata") == b"metadata"
        assert await survivor.read_document(INDEX, ACME, file.filename, "provenance") == b"provenance"
    for number in range(start, start + 30):
        if number not in found:
            # The database may still have been committing the last transaction of the victim.
            with suppress(UploadRefusedError):
                await publish(survivor, make_numbered_file(number), make_content(number))
            await survivor.refresh(INDEX)
            assert await read_file(survivor, f"acme-{number}.tar.gz") == make_content(number)
            break
    return len(found - published)


async def crash(server: PostgresServer, directory: Path, rounds: int, seed: int) -> None:
    random, objects = Random(seed), directory / "objects"
    objects.mkdir()
    url = server.get_url(await create_assay_database(server), user="assay_app")
    unreported = 0
    async with open_replica(url, open_bucket(objects), directory / "survivor") as survivor:
        for number in range(rounds):
            start = number * _FILES_OF_A_ROUND
            arguments = [url, str(directory / "victim"), str(objects), str(start)]
            published = await run_and_kill(arguments, random.randrange(1, 6), random.uniform(0, 0.3))
            assert published
            unreported += await check(survivor, published, start)
        await survivor.sweep(timedelta(0))
        project = survivor.find_project(INDEX, ACME)
        assert project is not None
        # The directory may also have temporary files of writes that were killed.
        kept = [path for path in objects.rglob("*") if path.name in {"content", "metadata", "provenance"}]
        assert len(kept) == 3 * len(project.files)
    print(f"{rounds} kills: {len(project.files)} files, {unreported} of them published and not reported")


async def test_a_kill_while_files_are_published(server: PostgresServer, tmp_path: Path) -> None:
    await crash(server, tmp_path, rounds=3, seed=20261130)


@pytest.mark.long
async def test_fifty_kills_while_files_are_published(server: PostgresServer, tmp_path: Path) -> None:
    await crash(server, tmp_path, rounds=50, seed=1)
