"""Command ``assay database``: what it does, its sentences, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.cli import run
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.engines.processes import get_free_port

pytestmark = pytest.mark.skipif(not HAS_POSTGRESQL, reason=MISSING_POSTGRESQL)


@pytest.fixture
def name(server: PostgresServer) -> str:
    """Empty database."""
    return server.create_database()


def database(server: PostgresServer, name: str, action: str, *options: str, user: str = "postgres") -> int:
    return run(["database", action, "--url", server.get_url(name, user=user), *options])


def test_a_database_is_created_once_and_then_passes_its_checks(
    server: PostgresServer, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in ("created the tables of schema version 1 for the deployment acme", "granted the privileges"):
        assert database(server, name, "init", "--deployment", "acme") == 0
        assert expected in capsys.readouterr().out
    assert database(server, name, "upgrade") == 0
    assert capsys.readouterr().out == "the tables already have schema version 1\n"
    assert database(server, name, "check", "--deployment", "acme", user="assay_app") == 0
    assert "passed: deployment acme, role assay_app\n" in capsys.readouterr().out
    assert database(server, name, "check", "--operator", user="assay_admin") == 0
    assert "role assay_admin\n" in capsys.readouterr().out


def test_a_failed_check_says_what_to_do_and_is_an_error_of_the_configuration(
    server: PostgresServer, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert database(server, name, "check") == 2
    assert "has no schema of Assay; run: assay database init\n" in capsys.readouterr().err
    assert database(server, name, "upgrade") == 3
    assert "create it with: assay database init\n" in capsys.readouterr().err
    assert database(server, name, "init", "--deployment", "acme") == 0
    capsys.readouterr()
    assert database(server, name, "check", "--deployment", "other", user="assay_app") == 2
    assert "belongs to the deployment 'acme'" in capsys.readouterr().err
    assert database(server, name, "check", "--operator", user="assay_app") == 2
    assert "the role assay_app has no privilege UPDATE on the column restored" in capsys.readouterr().err


def test_only_the_role_of_the_operator_confirms_a_restore(
    server: PostgresServer, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert database(server, name, "init", "--deployment", "acme") == 0
    capsys.readouterr()
    assert database(server, name, "restored", user="assay_app") == 3
    assert "permission denied for table meta" in capsys.readouterr().err
    assert server.sql("SELECT restored IS NULL FROM assay.meta", database=name) == "t"
    assert database(server, name, "restored", user="assay_admin") == 0
    assert "was restored\n" in capsys.readouterr().out
    assert server.sql("SELECT restored IS NULL FROM assay.meta", database=name) == "f"


@pytest.mark.parametrize("action", ["init", "upgrade", "check", "restored"])
def test_no_message_has_the_password(
    server: PostgresServer, name: str, action: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "t0psecret")
    options = ["--deployment", "acme"] if action == "init" else []
    database(server, name, action, *options)
    unreachable = f"postgresql://assay@127.0.0.1:{get_free_port()}/assay"
    assert run(["database", action, "--url", unreachable, *options]) == 3
    assert run(["database", action, "--url", "postgresql://assay:s3cret@/", *options]) == 2
    captured = capsys.readouterr()
    assert "is unavailable" in captured.err
    assert "s3cret" not in captured.out + captured.err
    assert "t0psecret" not in captured.out + captured.err


@pytest.mark.parametrize("action", ["init", "upgrade", "check", "restored"])
@pytest.mark.parametrize(
    ("login", "parameter"), [("assay:s3cret@", ""), ("assay@", "?password=s3cret")], ids=["login", "parameter"]
)
def test_a_password_on_the_command_line_is_refused_and_named_by_no_message(
    action: str, login: str, parameter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--deployment", "acme"] if action == "init" else []
    url = f"postgresql://{login}127.0.0.1:{get_free_port()}/assay{parameter}"
    assert run(["database", action, "--url", url, *options]) == 2
    captured = capsys.readouterr()
    assert "--url: expected a URL without a password" in captured.err
    assert "environment variable PGPASSWORD" in captured.err
    assert "s3cret" not in captured.out + captured.err


def test_the_configuration_names_deployment_and_database(
    server: PostgresServer, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("k" * 64)
    (tmp_path / "key").chmod(0o600)
    config = tmp_path / "proxy.toml"
    config.write_text(
        f'[storage.shared]\ndeployment = "acme"\ndatabase = "{server.get_url(name, user="assay_app")}"\n'
        'key-file = "key"\n'
    )
    assert database(server, name, "init") == 2
    assert "--deployment: expected, because" in capsys.readouterr().err
    assert database(server, name, "init", "--config", str(config)) == 0
    capsys.readouterr()
    assert run(["database", "check"]) == 2
    assert "the configuration names no database; name it with --url" in capsys.readouterr().err
    assert run(["database", "check", "--config", str(config)]) == 0
    assert "deployment acme, role assay_app\n" in capsys.readouterr().out
