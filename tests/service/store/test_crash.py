"""kill -9 at random moments: every item that was reported as stored is found, and no item has wrong contents."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from assay.simple.model import Sha256
from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings
from tests.contract.blobs_contract import content_of
from tests.paths import ROOT
from tests.service.store.store_worker import PROJECT, content, record


def run_and_kill(directory: Path, start: int, random: Random) -> list[tuple[str, int]]:
    """Return the output of a worker until it is killed after a random number of lines."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.service.store.store_worker", str(directory), str(start)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert worker.stdout is not None
    lines = [worker.stdout.readline() for _ in range(random.randrange(1, 60))]
    worker.kill()
    rest, _ = worker.communicate()
    lines += [line for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    said = [line.decode().split() for line in lines]
    return [(kind, int(number)) for kind, number in said]


def tear(directory: Path, random: Random) -> None:
    """Damage files that were not synced as a power failure may: truncate them, or add garbage at the end."""
    for unfinished in (directory / "blobs/unfinished").iterdir():
        with unfinished.open("r+b") as file:
            file.truncate(random.randrange(unfinished.stat().st_size + 1))
    for log in directory.rglob("*-wal"):
        with log.open("ab") as file:
            file.write(random.randbytes(random.randrange(10_000)))


async def check(directory: Path, kept: set[tuple[str, int]]) -> None:
    store = await StorageDirectory.open(StorageSettings(directory=directory))
    try:
        assert (await store.blobs.verify()).broken == ()
        history = await store.ledger.get_history("pypi", PROJECT)
        for kind, number in sorted(kept):
            if kind == "blob":
                expected = content(number)
                assert await content_of(store.blobs, Sha256(sha256(expected).hexdigest())) == expected
            elif kind == "record":
                assert await store.records.get(f"record {number}") in {record(number), None}
            elif kind == "ledger":
                assert history.files[f"file-{number}"].sha256 == f"{number:064x}"
        usage = await store.blobs.stats()
        files = [path for path in (directory / "blobs").rglob("*") if path.is_file()]
        assert (usage.count, usage.size) == (len(files), sum(path.stat().st_size for path in files))
        # A worker may have been killed after it recorded an item and before it printed it.
        assert len(history.files) - of_kind(kept, "ledger") <= of_kind(kept, "open")
    finally:
        await store.close()


def of_kind(kept: set[tuple[str, int]], wanted: str) -> int:
    return sum(kind == wanted for kind, _ in kept)


async def crash(directory: Path, rounds: int, seed: int) -> None:
    random = Random(seed)
    kept: set[tuple[str, int]] = set()
    for number in range(rounds):
        kept |= set(run_and_kill(directory, number * 1000, random))
        if number % 2:
            tear(directory, random)
        if number % 5 == 4 or number == rounds - 1:
            await check(directory, kept)
    assert {kind for kind, _ in kept} == {"open", "blob", "record", "ledger"}


async def test_ten_kills_lose_nothing_that_was_finished(tmp_path: Path) -> None:
    await crash(tmp_path / "storage", rounds=10, seed=20261121)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_hundreds_of_kills_lose_nothing_that_was_finished(tmp_path: Path, seed: int) -> None:
    await crash(tmp_path / "storage", rounds=100, seed=seed)
