"""Commands check, explain, verify and trust: their output as text and JSON, and the exit status."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from tests.paths import ROOT
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply
from tests.world.index.threaded_index import run_index_in_thread
from tests.world.proxy.cli_sandbox import write_configuration
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore


@pytest.fixture
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=3)


@pytest.fixture
def settings(tmp_path: Path, sigstore: PrivateSigstore) -> Path:
    """Return a configuration whose index does not exist."""
    return write_configuration(tmp_path, "https://index.example/simple/", "index.example", sigstore)


def test_check_shows_what_a_configuration_means(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--config", str(settings)]) == 0
    shown = capsys.readouterr().out
    for part in ("widgets come from acme", "https://index.example/simple/", "index.example", "configuration is valid"):
        assert part in shown


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[storage]", "[sotrage]", "storage"),
        ("workers = 0", 'workers = "two"', "verification.workers"),
        ('name = "test"', 'name = "test"\nfile-host = []', "file-hosts"),
        ('policy = "policy.toml"', 'policy = "missing.toml"', "missing.toml"),
    ],
)
def test_a_wrong_setting_is_exit_2_and_says_where(
    settings: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    settings.write_text(settings.read_text("utf-8").replace(old, new), "utf-8")
    assert run(["check", "--config", str(settings)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "found", "valid"),
    [("indexes", "internal", "test"), ("trust", "acme", "default"), ("trust", "sigstore", "our")],
)
def test_a_policy_may_name_only_what_the_configuration_defines(
    settings: Path, capsys: pytest.CaptureFixture[str], key: str, found: str, valid: str
) -> None:
    root = settings.read_text("utf-8").partition('root = "')[2].partition('"')[0]
    with settings.open("a", encoding="utf-8") as file:
        file.write(f'[trust.roots.our]\npath = "{root}"\nissuers = ["https://gitlab.acme.example"]\n')
    policy = settings.parent / "policy.toml"
    for name, status in ((found, 2), (valid, 0)):
        policy.write_text(f'version = 1\n[[rules]]\nprojects = ["*"]\n{key} = ["{name}"]\n', "utf-8")
        assert run(["check", "--config", str(settings)]) == status
    assert f"policy.toml:4: rules[0].{key}[0]: expected one of " in capsys.readouterr().err


def test_explain_tells_each_verdict_and_changes_nothing(
    tmp_path: Path, sigstore: PrivateSigstore, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = wheel("widget", "1.0"), wheel("widget", "2.0")
    acme = GitHub(repository="acme/widget")
    with run_index_in_thread(Index) as index:
        index.add(good, upload_time=SIGNING_TIME, provenance=sigstore.provenance(good.filename, good.sha256, acme))
        index.add(bad, upload_time=SIGNING_TIME + timedelta(days=1))
        config = write_configuration(tmp_path, index.url, index.files_host, sigstore)
        assert run(["explain", "widget", "--config", str(config)]) == 1
        shown = capsys.readouterr().out
        assert "acme/widget" in shown
        assert "1 approved, 1 withheld" in shown
        assert "2.0: provenance no, lost" in shown
        assert "1.0: provenance" not in shown
        assert "namespaces" not in shown
        index.set_page_keys("widget", namespaces=[{"name": "acme", "owned": True}])
        assert run(["explain", "Widget", "1.0", "--config", str(config)]) == 0
        assert "namespaces according to the index: acme (owned)" in capsys.readouterr().out
        assert run(["explain", "widget", bad.filename, "--json", "--config", str(config)]) == 1
        known = json.loads(capsys.readouterr().out)
        (told,) = known["files"]
        (release,) = known["releases"]
        assert known["namespaces"] == [{"name": "acme", "owned": True}]
        assert (release["version"], release["provenance"], release["unattested"]) == ("2.0", ["no", "lost"], 1)
        assert (told["verdict"], told["reasons"][0]["rule"]) == ("withheld", "widgets come from acme")
        assert run(["explain", "widget", "3.0", "--config", str(config)]) == 2
        capsys.readouterr()
        assert run(["explain", "nothing", "--config", str(config)]) == 1
        assert capsys.readouterr() == ("", "assay: no such project: test has no project nothing\n")
        assert run(["explain", "Nothing", "--json", "--config", str(config)]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["project"], told["files"], told["error"]) == ("nothing", [], "test has no project nothing")
        assert set(told) == {*known, "error"}
        index.inject_fault("/simple/silent/", Reply(403), times=None)
        assert run(["explain", "silent", "--config", str(config)]) == 3, "an index that gives no answer proves nothing"
    assert not (tmp_path / "storage").exists()


def verified(directory: Path, *arguments: str) -> int:
    return run(["verify", *arguments, "--config", str(directory / "proxy.toml")])


def test_verify_tells_what_a_document_proves_of_a_file(
    tmp_path: Path, settings: Path, sigstore: PrivateSigstore, capsys: pytest.CaptureFixture[str]
) -> None:
    built = wheel("widget", "1.0")
    file, document = tmp_path / built.filename, tmp_path / "provenance"
    file.write_bytes(built.content)
    acme = GitHub(repository="acme/widget")
    document.write_bytes(sigstore.provenance(built.filename, built.sha256, acme))
    arguments = (str(file), "--provenance", str(document))
    assert verified(tmp_path, *arguments) == 0
    assert "acme/widget" in capsys.readouterr().out
    assert verified(tmp_path, *arguments, "--policy", str(tmp_path / "policy.toml"), "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["rule"]) == ("approved", "widgets come from acme")
    assert told["provenance-sha256"] == hashlib.sha256(document.read_bytes()).hexdigest()

    document.write_bytes(sigstore.provenance(built.filename, built.sha256, GitHub(repository="mallory/widget")))
    assert verified(tmp_path, *arguments) == 0, "it proves what it proves"
    assert verified(tmp_path, *arguments, "--policy", str(tmp_path / "policy.toml")) == 1
    assert "[publisher]" in capsys.readouterr().out

    document.write_bytes(sigstore.provenance(built.filename, "0" * 64, acme))
    assert verified(tmp_path, *arguments) == 1
    assert "FORGED" in capsys.readouterr().out
    assert settings.exists()


def test_verify_says_what_it_cannot_read(tmp_path: Path, settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(tmp_path, str(tmp_path / "nothing.whl"), "--provenance", str(settings)) == 2
    assert verified(tmp_path, str(settings), "--provenance", str(tmp_path / "nothing")) == 2
    assert "nothing: cannot be read" in capsys.readouterr().err


def test_trust_show_names_the_roots(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "show", "--json", "--config", str(settings)]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["name"] == "default"
    assert told["digest"] == hashlib.sha256((settings.parent / "root.json").read_bytes()).hexdigest()


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "schema"]) == 0
    assert "rules" in json.loads(capsys.readouterr().out)["properties"]


def test_the_version_is_that_of_the_installed_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--version"])
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (ended.value.code, capsys.readouterr().out) == (0, f"assay {stated['version']}\n")
    assert version(stated["name"]) == stated["version"]


def test_the_version_is_written_once_in_the_package() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    modules = sorted((ROOT / "proxy").rglob("*.py"))
    assert len(modules) > 200
    assert [path.name for path in modules if f'"{stated}"' in path.read_text("utf-8")] == []
