"""Command init: the written files pass `assay check`, questions, and files that it never overwrites."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from assay.cli import run


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def list_names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_yes_writes_files_that_pass_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "new" / "assay"
    assert run(["init", str(directory), "--yes"]) == 0
    config = directory / "proxy.toml"
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {config} and {directory / 'policy.toml'}",
        f"next: assay check --config {config}",
        f"      assay serve --config {config}",
        "index URL for pip and uv: http://127.0.0.1:8080/simple/",
    ]
    assert run(["check", "--config", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "all other packages" in shown
    assert "warning" not in shown


def test_the_answers_are_in_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer(
        monkeypatch,
        "http://pypi.acme.example",
        "https://pypi.acme.example",
        "acme\x1b[31m",
        "acme-* https://gitlab.acme.example/simple",
        "attested",
    )
    assert run(["init"]) == 0
    asked = capsys.readouterr().out
    assert asked.count("]: ") == 5
    assert "]: expected https, because other machines use it" in asked
    assert "index URL for pip and uv: https://pypi.acme.example/simple/" in asked
    assert "\x1b" not in asked
    assert run(["check", "--config", "proxy.toml"]) == 0
    shown = capsys.readouterr().out
    for part in ("https://gitlab.acme.example/simple/", "is attested by any Trusted Publisher", "mode enforce"):
        assert part in shown


def test_empty_answers_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "", "", "")
    assert run(["init", str(tmp_path / "asked")]) == 0
    assert run(["init", str(tmp_path / "unasked"), "--yes"]) == 0
    for name in ("proxy.toml", "policy.toml"):
        assert (tmp_path / "asked" / name).read_text() == (tmp_path / "unasked" / name).read_text()


@pytest.mark.parametrize("name", ["proxy.toml", "policy.toml"])
@pytest.mark.parametrize("is_link", [False, True])
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, is_link: bool) -> None:
    if is_link:
        (tmp_path / name).symlink_to("nowhere")
    else:
        (tmp_path / name).write_text("mine")
    assert run(["init", str(tmp_path), "--yes"]) == 2
    assert f"{name}: exists, and assay init overwrites nothing" in capsys.readouterr().err
    assert list_names(tmp_path) == [name]
    assert is_link or (tmp_path / name).read_text() == "mine"


def test_without_answers_or_a_directory_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for lines in (("",), ("no url",) * 5):
        answer(monkeypatch, *lines)
        assert run(["init", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "standard input ended before all questions were answered; use --yes" in said
    assert "no valid answer in 5 attempts" in said
    (tmp_path / "file").write_text("")
    assert run(["init", str(tmp_path / "file" / "below"), "--yes"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert list_names(tmp_path) == ["file"]
