"""Process that stores items and prints each one after it is stored, until `test_crash` kills it."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random

from packaging.utils import canonicalize_name

from assay.ports import HistoryChanges, SeenFile
from assay.simple.model import Sha256
from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings
from tests.contract.ledger_contract import learn

PROJECT = canonicalize_name("crash")


def content(number: int) -> bytes:
    """Return the content of blob `number`, of any size up to 300 kB."""
    random = Random(number)
    return random.randbytes(random.randrange(300_000))


def record(number: int) -> bytes:
    """Return the value of record `number`."""
    return Random(number).randbytes(2000)


def say(kind: str, number: int) -> None:
    """Print a line with one write, so that a reader gets complete lines only."""
    os.write(sys.stdout.fileno(), f"{kind} {number}\n".encode())


async def bring_blobs(store: StorageDirectory, start: int) -> None:
    for number in range(start, start + 10**6, 2):
        whole = content(number)
        partial = await store.blobs.create_partial()
        for at in range(0, len(whole), 65536):
            await partial.append(whole[at : at + 65536])
        digest = Sha256(sha256(whole).hexdigest())
        await partial.commit(digest)
        say("blob", number)


async def put_records(store: StorageDirectory, start: int) -> None:
    for number in range(start, start + 10**6):
        await store.records.put(f"record {number}", record(number))
        say("record", number)


async def write_ledger(store: StorageDirectory, start: int) -> None:
    for number in range(start, start + 10**6):
        seen = SeenFile(sha256=Sha256(f"{number:064x}"), first_seen=datetime.now(UTC), late=False)
        await learn(store.ledger, "pypi", PROJECT, HistoryChanges(serial=number, files={f"file-{number}": seen}))
        say("ledger", number)


async def main(directory: Path, start: int) -> None:
    store = await StorageDirectory.open(StorageSettings(directory=directory))
    say("open", start)
    await asyncio.gather(
        bring_blobs(store, start), bring_blobs(store, start + 1), put_records(store, start), write_ledger(store, start)
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
