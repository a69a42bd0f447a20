"""Start of a replica: each missing or wrong part is a sentence and an exit status; the embedded engine needs none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assay.store.factory import open_storage
from assay.store.settings import StorageSettings
from assay.store.shared.storage import SharedStorage
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.processes import get_free_port
from tests.world.engines.shared_storage import make_replica_settings, make_shared_table

EXIT_CONFIGURATION, EXIT_UNAVAILABLE = 2, 3
START_SECONDS = 60


@pytest.fixture
async def table(server: PostgresServer, tmp_path: Path) -> dict[str, Any]:
    table = make_shared_table(server, await create_assay_database(server), tmp_path)
    return {key: value for key, value in table.items() if key != "deadlines"}


def serve(directory: Path, table: Mapping[str, Any], *, command: str = "serve") -> subprocess.CompletedProcess[str]:
    """Run a command with the table until it ends, because the replica cannot start."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    config = directory / "proxy.toml"
    storage = f'[storage]\ndirectory = "{directory / "tier"}"\n[storage.shared]\n'
    config.write_text(f"{storage}{chr(10).join(lines)}\n[trust]\nrefresh = false\n[server]\nport = 0\n")
    return subprocess.run(
        [sys.executable, "-m", "assay", command, "--config", str(config)],
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        check=False,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


def get_last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


def test_a_database_that_cannot_be_reached_ends_the_start_with_status_3(tmp_path: Path, table: dict[str, Any]) -> None:
    url = f"postgresql://assay@127.0.0.1:{get_free_port()}/assay"
    done = serve(tmp_path, {**table, "database": url})
    assert done.returncode == EXIT_UNAVAILABLE, done.stderr
    assert "the database postgresql://127.0.0.1:" in get_last_line(done)
    assert "is unavailable" in get_last_line(done)


async def test_a_database_without_tables_names_the_command(
    server: PostgresServer, tmp_path: Path, table: dict[str, Any]
) -> None:
    done = serve(tmp_path, {**table, "database": server.get_url(server.create_database())})
    assert (done.returncode, "assay database init" in get_last_line(done)) == (EXIT_CONFIGURATION, True)


def test_a_parameter_that_the_server_does_not_accept_ends_the_start_with_status_2(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    done = serve(tmp_path, {**table, "database": f"{table['database']}?no_such_parameter=1"})
    assert (done.returncode, "correct the parameter or remove it" in get_last_line(done)) == (EXIT_CONFIGURATION, True)
    done = serve(tmp_path, {**table, "database": f"{table['database']}?sslmode=require"})
    assert (done.returncode, "the server offers no TLS" in get_last_line(done)) == (EXIT_UNAVAILABLE, True)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"deployment": "another"}, "belongs to the deployment"),
        ({"key-file": "/nonexistent/key"}, "/nonexistent/key: cannot be read"),
        (
            {"objects": "file:///nonexistent/some%20objects"},
            "storage.shared.objects: expected a directory that exists, found /nonexistent/some objects",
        ),
        ({"objects": "file:///etc/hosts"}, "expected a directory that exists, found /etc/hosts"),
        ({"password-file": "/nonexistent/password"}, "/nonexistent/password: cannot be read"),
        ({"database": "postgresql://assay:secret@127.0.0.1/assay"}, "without a password"),
    ],
    ids=["deployment", "key", "no directory", "file", "password", "password in the URL"],
)
async def test_a_wrong_setting_ends_the_start_with_status_2(
    tmp_path: Path, table: dict[str, Any], keys: dict[str, str], sentence: str
) -> None:
    done = serve(tmp_path, {**table, **keys})
    assert (done.returncode, sentence in done.stderr, "secret" in done.stderr) == (EXIT_CONFIGURATION, True, False)


async def test_a_directory_with_a_ledger_of_its_own_is_refused_with_the_way_out(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    embedded = await open_storage(StorageSettings(directory=tmp_path / "tier"))
    await embedded.close()
    done = serve(tmp_path, table)
    assert done.returncode == EXIT_CONFIGURATION
    assert "has an embedded ledger" in get_last_line(done)
    assert "assay ledger export FILE" in get_last_line(done)


async def test_an_empty_directory_can_be_an_object_storage(server: PostgresServer, tmp_path: Path) -> None:
    directory = tmp_path / "some objects"
    directory.mkdir()
    settings = make_replica_settings(server, await create_assay_database(server), tmp_path, objects=directory.as_uri())
    store = await open_storage(settings)
    await store.close()
    assert isinstance(store, SharedStorage)
    assert store.degraded == ()


async def test_check_reads_the_files_of_the_replicas(tmp_path: Path, table: dict[str, Any]) -> None:
    good = serve(tmp_path, table, command="check")
    assert (good.returncode, "shared by replicas: deployment acme-test, postgresql://127.0.0.1:" in good.stdout) == (
        0,
        True,
    ), good.stderr
    bad = serve(tmp_path, {**table, "key-file": "/nonexistent/key"}, command="check")
    assert (bad.returncode, "/nonexistent/key: cannot be read" in bad.stderr) == (EXIT_CONFIGURATION, True)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, table: dict[str, Any]) -> None:
    (tmp_path / "asyncpg.py").write_text("raise ModuleNotFoundError(\"No module named 'asyncpg'\", name='asyncpg')")
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    config = tmp_path / "proxy.toml"
    config.write_text("[storage.shared]\n" + "\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "assay", "check", "--config", str(config)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert (done.returncode, done.stderr) == (
        EXIT_CONFIGURATION,
        "assay: [storage.shared] needs the package asyncpg, which is not installed; install assay-proxy[scale]\n",
    )


EMBEDDED = """
import asyncio, sys
from pathlib import Path
from assay.assembly import assemble
from assay.assembly.inputs import read_policies
from assay.config import Configuration
import assay.cli.commands.serve

async def run():
    configuration = Configuration.model_validate(
        {"storage": {"directory": sys.argv[1]}, "trust": {"refresh": False}, "verification": {"workers": 0}}
    )
    async with assemble(configuration, read_policies(configuration)):
        pass

asyncio.run(run())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"asyncpg", "obstore"}))
print(sorted(name for name in sys.modules if name.startswith("assay.store.postgresql.database")))
"""


def test_a_proxy_without_the_table_imports_no_package_of_the_shared_engine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EMBEDDED, str(tmp_path / "storage")], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n[]\n"
