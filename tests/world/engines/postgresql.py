"""PostgreSQL server on loopback, with roles and databases for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Self

from tests.world.engines.processes import EngineProcess, get_free_port

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
HAS_POSTGRESQL = bool(_PROGRAMS)
MISSING_POSTGRESQL = "PostgreSQL is not on this machine: tests/install-engines.sh installs it"
_SETTINGS = ("listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=32MB", "max_wal_size=256MB")


class PostgresServer:
    """Server with an empty data directory, which is removed at the end. Use it as a context manager.

    PostgreSQL refuses to run as root; as root, the server runs as the user `postgres`.

    Args:
        durable: True to flush each commit to the disk, for tests that kill the machine's processes.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="assay-pg-"))
        self._user = "postgres" if os.geteuid() == 0 else None
        self._numbers = count()
        self._programs = _PROGRAMS[-1]
        if self._user is not None:
            shutil.chown(self._directory, self._user, self._user)
        self._run("initdb", "-D", str(self._directory / "data"), "-A", "trust", "-U", "postgres", "--no-sync")
        self.port = get_free_port()
        settings = [f"port={self.port}", f"unix_socket_directories={self._directory}", *_SETTINGS]
        if not durable:
            settings += ["fsync=off", "full_page_writes=off"]
        options = [part for each in settings for part in ("-c", each)]
        command = [str(self._programs / "postgres"), "-D", str(self._directory / "data"), *options]
        self.process = EngineProcess(command, self._directory / "log", user=self._user)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._directory,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Start the server, also again after `kill`, and wait until it accepts connections."""
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        self.process.start(lambda: subprocess.run(ready, check=False).returncode == 0)

    def kill(self) -> None:
        """Kill all processes of the server, as a failure of the machine would."""
        self.process.kill()

    def back_up(self, directory: Path) -> None:
        """Copy the data of the stopped server to a directory that does not exist."""
        shutil.copytree(self._directory / "data", directory)

    def restore(self, directory: Path) -> None:
        """Replace the data of the stopped server with a copy that `back_up` made."""
        data = self._directory / "data"
        shutil.rmtree(data)
        shutil.copytree(directory, data)
        if self._user is not None:
            for path in (data, *data.rglob("*")):
                shutil.chown(path, self._user, self._user)

    def sql(self, statements: str, *, database: str = "postgres", user: str = "postgres") -> str:
        """Run statements with psql; return its output without headings."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", database]
        return self._run("psql", *where, "-v", "ON_ERROR_STOP=1", "-qAt", "-c", statements).strip()

    def create_database(self, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of another, and return its name."""
        name = f"test{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def get_url(self, database: str, *, user: str = "postgres") -> str:
        """Return the URL of a database. Every role may log in without a password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
