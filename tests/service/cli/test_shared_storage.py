"""Commands over a storage that replicas share: the ledger in the database, the local tier, and files as objects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.processes import get_free_port
from tests.world.engines.shared_storage import make_shared_table
from tests.world.index.distributions import wheel
from tests.world.index.threaded_index import run_index_in_thread
from tests.world.sigstore.private_sigstore import PrivateSigstore

ALL = 'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nname = "all"\nprojects = ["*"]\n'
FOO = '{"kind": "project", "index": "test", "project": "foo", "serial": 7}'
EXPORT = f'{{"assay-ledger": 3}}\n{FOO}\n'


@pytest.fixture
def table(server: PostgresServer, tmp_path: Path) -> dict[str, Any]:
    return make_shared_table(server, asyncio.run(create_assay_database(server)), tmp_path)


def write_configuration(directory: Path, table: Mapping[str, Any], more: str = "") -> Path:
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    path = directory / "proxy.toml"
    (directory / "policy.toml").write_text(ALL)
    root = directory / "root.json"
    root.write_bytes(PrivateSigstore(seed=3).trusted_root())
    path.write_text(
        "\n".join(
            [
                'policy = "policy.toml"',
                f'[storage]\ndirectory = "{directory / "tier"}"\n[storage.shared]',
                *lines,
                f'[storage.shared.deadlines]\nledger = "20 seconds"\n[trust]\nrefresh = false\nroot = "{root}"',
                f"[verification]\nworkers = 0\n{more}",
            ]
        )
    )
    return path


def assay(config: Path, *arguments: str) -> int:
    return run([*arguments, "--config", str(config)])


def read_export(config: Path) -> str:
    target = config.parent / "export.txt"
    assert assay(config, "ledger", "export", str(target)) == 0
    return target.read_text()


def test_an_export_of_a_directory_becomes_the_shared_ledger(tmp_path: Path, table: dict[str, Any]) -> None:
    embedded = tmp_path / "embedded.toml"
    embedded.write_text(f'[storage]\ndirectory = "{tmp_path / "embedded"}"\n')
    (tmp_path / "in.txt").write_text(EXPORT)
    assert assay(embedded, "ledger", "import", str(tmp_path / "in.txt")) == 0
    config = write_configuration(tmp_path, table)
    (tmp_path / "moved.txt").write_text(read_export(embedded))
    assert assay(config, "ledger", "import", str(tmp_path / "moved.txt")) == 0
    assert read_export(config) == EXPORT
    assert not (tmp_path / "tier").exists(), "the local tier is not needed"
    assert assay(config, "ledger", "import", str(tmp_path / "moved.txt"), "--new-ledger") == 2


def test_only_the_role_of_the_operator_may_forget(
    tmp_path: Path, table: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_configuration(tmp_path, table)
    (tmp_path / "in.txt").write_text(EXPORT)
    assert assay(config, "ledger", "import", str(tmp_path / "in.txt")) == 0
    forget = ("ledger", "forget", "test", "foo", "--serial", "--reason", "a wrong serial")
    assert assay(config, *forget) == 3
    assert "--database-url URL, or the variable ASSAY_DATABASE_URL" in capsys.readouterr().err
    url = table["database"].replace("assay_app", "assay_admin")
    assert assay(config, *forget, "--database-url", url.replace("@", ":s3cret@")) == 2
    assert "--database-url: expected a URL without a password" in capsys.readouterr().err
    assert assay(config, *forget, "--database-url", url) == 0
    assert "foo on test: forgot serial" in capsys.readouterr().out
    assert FOO not in read_export(config)
    (tmp_path / "in.txt").write_text(EXPORT.replace('"serial": 7', '"serial": 9'))
    monkeypatch.setenv("ASSAY_DATABASE_URL", url.replace("@", ":s3cret@"))
    assert assay(config, "ledger", "import", str(tmp_path / "in.txt"), "--replace", "--reason", "restored") == 0
    assert '"serial": 9' in read_export(config)


def test_the_url_of_a_database_needs_a_shared_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedded = tmp_path / "embedded.toml"
    embedded.write_text(f'[storage]\ndirectory = "{tmp_path / "embedded"}"\n')
    forget = ("ledger", "forget", "test", "foo", "--serial", "--reason", "x", "--database-url", "postgresql://a@b/c")
    assert assay(embedded, *forget) == 2
    assert "--database-url: expected only with [storage.shared]" in capsys.readouterr().err


def test_the_cache_commands_are_about_the_local_tier_and_need_no_database(
    tmp_path: Path, table: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    away = {**table, "database": f"postgresql://assay_app@127.0.0.1:{get_free_port()}/assay"}
    config = write_configuration(tmp_path, away)
    assert assay(config, "cache", "stats") == 2, "no replica has used the directory"
    (tmp_path / "tier").mkdir()
    (tmp_path / "tier" / "format").write_text("shared 1\n")
    capsys.readouterr()
    assert assay(config, "cache", "stats", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"directory", "blobs"}
    assert assay(config, "cache", "verify") == 0
    assert assay(config, "cache", "prune", "--to", "1 MiB") == 0


def test_warm_leaves_the_files_in_the_object_storage_and_a_dry_run_leaves_nothing(
    tmp_path: Path, table: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    built = wheel("foo", "1.0", padding=100_000)
    lockfile = tmp_path / "requirements.txt"
    lockfile.write_text(f"foo==1.0 --hash=sha256:{built.sha256}\n")
    with run_index_in_thread() as index:
        index.add(built)
        more = f'[[indexes]]\nname = "test"\nurl = "{index.url}"\nfile-hosts = ["{index.files_host}"]\n'
        config = write_configuration(tmp_path, table, more)
        assert assay(config, "explain", "foo") == 0
        assert read_export(config) == '{"assay-ledger": 3}\n', "explain changes nothing"
        assert assay(config, "cache", "warm", str(lockfile)) == 0
        assert "1 of 1 files are in the cache" in capsys.readouterr().out
        assert built.sha256 in read_export(config)
    objects = [path for path in (tmp_path / "objects").rglob("*") if path.name == built.sha256]
    assert [path.read_bytes() for path in objects] == [built.content]
    assert not (tmp_path / "tier").exists(), "warm uses a temporary directory"


def test_check_connects_only_if_it_is_asked_to_and_says_what_it_has_found(
    tmp_path: Path, table: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_configuration(tmp_path, table)
    assert assay(config, "check", "--connect") == 0
    found = capsys.readouterr().out
    assert ", deployment acme-test, role assay_app, schema versions 1 to 1\n" in found
    assert "object storage: it can be written and read, and refuses to create an object twice\n" in found
    assert "warning: the database postgresql://127.0.0.1:" in found, "fsync is off"
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []

    away = write_configuration(tmp_path, {**table, "database": "postgresql://a@127.0.0.1:1/assay"})
    assert assay(away, "check") == 0
    assert "schema versions" not in capsys.readouterr().out
    assert assay(away, "check", "--connect") == 3
    found = capsys.readouterr().out
    assert "warning: the database postgresql://127.0.0.1:1/assay is unavailable" in found
    assert "object storage: it can be written" in found

    other = write_configuration(tmp_path, {**table, "deployment": "another"})
    assert assay(other, "check", "--connect") == 2
    assert "error: the database postgresql://127.0.0.1:" in (found := capsys.readouterr().out)
    assert "belongs to the deployment 'acme-test'" in found


def test_check_refuses_to_connect_without_a_shared_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedded = tmp_path / "embedded.toml"
    embedded.write_text(f'[storage]\ndirectory = "{tmp_path / "embedded"}"\n[trust]\nrefresh = false\n')
    assert assay(embedded, "check") == 0
    assert assay(embedded, "check", "--connect") == 2
    assert "--connect: expected only with [storage.shared]" in capsys.readouterr().err
