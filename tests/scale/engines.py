"""PostgreSQL and SeaweedFS as the shared storage of replicas."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from obstore.store import S3Store

from tests.scale.kills import Victim
from tests.world.engines.object_storage import ACCESS_KEY, S3_ENVIRONMENT, SECRET_KEY, S3Server
from tests.world.engines.postgresql import PostgresServer
from tests.world.index.fake_index import ListedFile

DEPLOYMENT = "scale-test"
KEPT_SECONDS = 60
"""Limit on the time in which a file must be in object storage after it was served."""


@dataclass(frozen=True)
class SharedEngines:
    """A database and a prefix of a bucket, for one cluster.

    Attributes:
        postgres: server of the database.
        s3: server of the bucket.
        endpoint: URL of the object storage: that of `s3`, unless a test has another server.
        database: name of the database.
        deployment: prefix of the objects.
        key_file: file with the key that seals records and signs requests between replicas.
        flight_seconds: maximum wait for the work of another replica.
        deadline_seconds: deadline of the database and of object storage. It is longer than the default, because a slow
            machine must not look like an outage.
    """

    postgres: PostgresServer
    s3: S3Server
    endpoint: str
    database: str
    deployment: str
    key_file: Path
    flight_seconds: int = 20
    deadline_seconds: int = 10

    @classmethod
    def create(cls, postgres: PostgresServer, s3: S3Server, directory: Path) -> SharedEngines:
        """Create a database with the tables of Assay, and a key file in `directory`."""
        database = postgres.create_database()
        key_file = directory / "shared-key"
        key_file.write_text(secrets.token_hex(32) + "\n", "ascii")
        key_file.chmod(0o600)
        made = cls(postgres, s3, s3.endpoint, database, f"{DEPLOYMENT}-{database}", key_file)
        made._initialise(directory)
        return made

    def _initialise(self, directory: Path) -> None:
        config = directory / "admin.toml"
        storage = self.configure("", [])
        config.write_text(f'[storage]\ndirectory = "{directory / "admin"}"\n{storage}', "utf-8")
        self._administer("init", config)

    def _administer(self, action: str, config: Path) -> None:
        """Run ``assay database`` as the superuser."""
        url = self.postgres.get_url(self.database)
        command = [sys.executable, "-m", "assay", "database", action, "--config", str(config), "--url", url]
        environ = {"PATH": os.environ["PATH"], **self.environ}
        done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def environ(self) -> Mapping[str, str]:
        return S3_ENVIRONMENT

    def configure(self, address: str, peers: Sequence[str]) -> str:
        """Return the table `[storage.shared]`, with short deadlines."""
        lines = [
            "[storage.shared]",
            f'deployment = "{self.deployment}"',
            f'database = "{self.postgres.get_url(self.database, user="assay_app")}"',
            f'objects = "s3://{self.s3.bucket}/"',
            f'endpoint = "{self.endpoint}"',
            'region = "us-east-1"',
            f'key-file = "{self.key_file}"',
        ]
        if peers:
            lines += [f"peers = {list(peers)}".replace("'", '"'), f'peer-address = "{address}"']
        deadlines = {"ledger": self.deadline_seconds, "objects": self.deadline_seconds, "flight": self.flight_seconds}
        lines += ["[storage.shared.deadlines]", *(f'{name} = "{each} seconds"' for name, each in deadlines.items())]
        return "\n".join([*lines, ""])

    def open_objects(self) -> S3Store:
        """Return a client of the bucket."""
        return S3Store(
            self.s3.bucket,
            endpoint=self.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def get_object_path(self, sha256: str) -> str:
        return f"{self.deployment}/blobs/{sha256[:2]}/{sha256}"

    async def wait_until_kept(self, listed: Iterable[ListedFile]) -> None:
        """Wait until object storage has the files; replicas put them there after the response."""
        objects = self.open_objects()
        async with asyncio.timeout(KEPT_SECONDS):
            for each in listed:
                while True:
                    try:
                        await objects.head_async(self.get_object_path(each.built.sha256))
                        break
                    except FileNotFoundError:
                        await asyncio.sleep(0.05)  # there is no event to wait for

    def sql(self, statements: str) -> str:
        """Run statements as the superuser; return their output without headings."""
        return self.postgres.sql(statements, database=self.database)

    def read_first_digests(self) -> dict[str, str]:
        """Return the first digest of each filename in the ledger."""
        rows = self.sql("SELECT convert_from(filename, 'UTF8'), encode(sha256, 'hex') FROM assay.files")
        return dict(row.split("|") for row in rows.splitlines())

    def confirm_restored(self) -> None:
        """Confirm that the database was restored from a backup, as an operator does."""
        self._administer("restored", self.key_file.parent / "admin.toml")

    def list_victims(self) -> list[Victim]:
        """Return both servers, as things that can be killed. They start in threads, because that takes seconds."""

        def make(name: str, server: PostgresServer | S3Server) -> Victim:
            kill, start = (partial(asyncio.to_thread, act) for act in (server.kill, server.start))
            return Victim(name, kill, start, is_engine=True)

        return [make("PostgreSQL", self.postgres), make("object storage", self.s3)]
