"""Replica that publishes hosted files and prints each one after it is published, until `test_hosted_crash` kills it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from random import Random

from assay.ports import HostedFile
from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from tests.contract.hosted_contract import make_file, publish
from tests.world.engines.assay_database import DEPLOYMENT
from tests.world.engines.shared_hosted import open_replica

_PUBLISHERS = 3


def make_content(number: int) -> bytes:
    """Return the content of file `number`, of any size up to 300 kB."""
    random = Random(number)
    return random.randbytes(2000 + random.randrange(300_000))


def make_numbered_file(number: int) -> HostedFile:
    digest = hashlib.sha256(make_content(number)).hexdigest()
    return make_file(f"acme-{number}.tar.gz", version=str(number), sha256=digest, size=len(make_content(number)))


def open_bucket(directory: Path) -> Bucket:
    """Return the bucket of all replicas, a directory."""
    return Bucket(ObjectStorageSettings(url=directory.as_uri(), deployment=DEPLOYMENT, first_byte_seconds=20))


async def _run(url: str, directory: Path, objects: Path, start: int) -> None:
    bucket = open_bucket(objects)
    async with open_replica(url, bucket, directory) as replica:

        async def publish_files(first: int) -> None:
            for number in range(first, first + 10**6, _PUBLISHERS):
                await publish(replica, make_numbered_file(number), make_content(number))
                os.write(sys.stdout.fileno(), f"{number}\n".encode())

        await asyncio.gather(*(publish_files(start + each) for each in range(_PUBLISHERS)))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
