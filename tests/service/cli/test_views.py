"""Commands with several views: `check` shows all views, and `--view` chooses the policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.cli import run
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.threaded_index import run_index_in_thread

OPEN = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
CLOSED = 'version = 1\n[[rules]]\nname = "closed"\nprojects = ["widget"]\nmin-age = "9000 days"\n'
ENDED = """
[[waivers]]
projects = ["a"]
versions = "==1"
uploaded-before = 2020-01-01
lifts = ["yanked"]
expires = 2020-01-02
reason = "old"
"""
BUILT = wheel("widget", "1.0")


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """Yield a configuration with two views and an index with one file."""
    (tmp_path / "open.toml").write_text(OPEN, "utf-8")
    (tmp_path / "closed.toml").write_text(CLOSED + ENDED, "utf-8")
    (tmp_path / "tokens").write_text(f"ci:{'0' * 64}\n", "utf-8")
    with run_index_in_thread(Index) as index:
        index.add(BUILT)
        path = tmp_path / "proxy.toml"
        path.write_text(
            f"""
            policy = "open.toml"
            [server.auth]
            tokens = "tokens"
            [storage]
            directory = "storage"
            [trust]
            refresh = false
            [verification]
            workers = 0
            [[views]]
            name = "strict"
            path = "/strict/"
            policy = "closed.toml"
            users = ["ci"]
            [[indexes]]
            name = "test"
            url = "{index.url}"
            """,
            "utf-8",
        )
        yield path


def test_check_shows_every_view_its_policy_and_who_may_use_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--config", str(config)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "VIEW PATH POLICY MODE DIGEST USERS" in lines
    [default] = [line for line in lines if line.startswith("default / ")]
    [strict] = [line for line in lines if line.startswith("strict /strict/ ")]
    assert "open.toml enforce" in default
    assert default.endswith("all")
    assert "closed.toml enforce" in strict
    assert strict.endswith("ci")
    assert (
        lines.index("view default:")
        < lines.index("open *")
        < lines.index("view strict:")
        < lines.index("closed widget")
    )
    assert [line for line in lines if line.startswith("warning: view strict: waivers[0]: old: expired")]


def test_check_reads_every_views_policy(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "closed.toml").write_text("version = 2", "utf-8")
    assert run(["check", "--config", str(config)]) == 2
    assert "closed.toml:1: version" in capsys.readouterr().err


def test_explain_audit_pin_and_warm_judge_by_the_view_that_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"widget==1.0 --hash=sha256:{BUILT.sha256}\n", "utf-8")
    commands = [["explain", "widget"], *([*words, str(lock)] for words in (["explain"], ["audit"], ["pin"]))]
    for command in (*commands, ["cache", "warm", str(lock)]):
        for view, status in (([], 0), (["--view", "default"], 0), (["--view", "strict"], 1)):
            assert run([*command, *view, "--config", str(config)]) == status, (command, view)
            shown = "".join(capsys.readouterr())
            assert ("too-young" in shown) == (status == 1), (command, view)


def test_policy_test_holds_the_view_to_expectations(config: Path, tmp_path: Path) -> None:
    expectations = tmp_path / "expect.toml"
    expectations.write_text('[[expect]]\nproject = "widget"\nverdict = "withheld"\nreason = "too-young"\n', "utf-8")
    command = ["policy", "test", str(expectations), "--config", str(config)]
    assert run(command) == 1
    assert run([*command, "--view", "strict"]) == 0
    assert run([*command, "--policy", str(tmp_path / "closed.toml")]) == 0


def test_waive_appends_to_the_views_policy(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "waive",
        BUILT.filename,
        "--reason",
        "now",
        "--expires",
        "2999-01-01",
        "--append",
        "--config",
        str(config),
    ]
    assert run(command) == 2
    assert "is approved and needs no waiver" in capsys.readouterr().err
    assert run([*command, "--view", "strict"]) == 0
    assert (tmp_path / "open.toml").read_text("utf-8") == OPEN
    assert BUILT.sha256 in (tmp_path / "closed.toml").read_text("utf-8")
    assert run(["explain", "widget", "--view", "strict", "--config", str(config)]) == 0


def test_an_unknown_view_is_named_beside_the_known_ones(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "widget", "--view", "strct", "--config", str(config)]) == 2
    assert (
        "--view: expected one of the views default, strict; found 'strct'; did you mean \"strict\"?"
        in capsys.readouterr().err
    )


def test_a_view_and_a_policy_are_one_too_many(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["audit", "x.txt", "--view", "strict", "--policy", "p.toml", "--config", str(config)])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_explain_says_by_which_policy(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = set()
    for view in ("default", "strict"):
        run(["explain", "widget", "--json", "--view", view, "--config", str(config)])
        digests.add(json.loads(capsys.readouterr().out)["policy"])
    assert len(digests) == 2
