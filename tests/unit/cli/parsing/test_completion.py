"""Completion scripts, run by real shells: commands, options, choices and paths, for every command of the parser."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.cli import build_parser
from assay.cli.parsing.completion import FORMATTERS, list_commands

COMMANDS = list(list_commands(build_parser()))
BY_PATH = {each.path: each for each in COMMANDS}
TIMEOUT_SECONDS = 30


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "locks").mkdir()
    (tmp_path / "a b.lock").touch()
    (tmp_path / "uv.lock").touch()
    for shell, formatter in FORMATTERS.items():
        (tmp_path / f".{shell}").write_text(formatter(COMMANDS), "utf-8")
    return tmp_path


def run_shell(directory: Path, *command: str) -> str:
    ran = subprocess.run(
        command,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert ran.stderr == ""
    return ran.stdout


def complete_in_bash(directory: Path, *lines: str) -> list[set[str]]:
    """Return the completions of the last word of each line."""
    calls = []
    for line in lines:
        words = shlex.split(line) + ([""] if line.endswith(" ") else [])
        array = " ".join(map(shlex.quote, words))
        calls.append(f"COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _assay; ")
    body = "; ".join(f"{call} printf '%s\\n' \"${{COMPREPLY[@]}}\"; echo @end" for call in calls)
    out = run_shell(directory, "bash", "--norc", "-c", f"source .bash; {body}")
    return [set(part.split("\n")) - {""} for part in out.split("@end\n")[:-1]]


def complete_in_fish(directory: Path, *lines: str) -> list[set[str]]:
    body = "; ".join(f"complete -C {shlex.quote(line)}; echo @end" for line in lines)
    out = run_shell(directory, "fish", "--no-config", "-c", f"source .fish; {body}")
    return [{row.split("\t")[0] for row in part.split("\n")} - {""} for part in out.split("@end\n")[:-1]]


ZSHRC = r"""
unsetopt beep prompt_cr prompt_sp
fpath=($HOME/functions $fpath)
autoload -Uz compinit && compinit -u
compadd() {  # records the matches of a call, except for calls that only fill an array
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a hits
    builtin compadd -O hits "$@"
    (( $#hits )) && print -rl -- $hits >>$HOME/hits
    builtin compadd "$@"
}
PS1='@prompt'
"""


def complete_in_zsh(directory: Path, *lines: str) -> list[set[str]]:
    """Type each line and a tab on a terminal, and return the words that the script offers."""
    (directory / "functions").mkdir(exist_ok=True)
    shutil.copy(directory / ".zsh", directory / "functions" / "_assay")
    (directory / ".zshrc").write_text(ZSHRC)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-i"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "vt100", "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    os.close(follower)

    unread = b""

    def read_until(mark: bytes) -> None:
        nonlocal unread
        while mark not in unread:
            assert select.select([leader], [], [], TIMEOUT_SECONDS)[0], unread
            unread += os.read(leader, 65536)
        unread = unread.partition(mark)[2]

    found = []
    hits = directory / "hits"
    try:
        read_until(b"@prompt")
        for number, line in enumerate(lines):
            hits.write_text("")
            # Control-U removes the line, and the echo marks the end of the completion.
            os.write(leader, f"{line}\t\x15echo @do''ne{number}\n".encode())
            read_until(b"@done%d" % number)
            read_until(b"@prompt")
            found.append(set(hits.read_text("utf-8").replace("\\ ", " ").splitlines()))
    finally:
        process.terminate()
        os.close(leader)
        process.wait(TIMEOUT_SECONDS)
    return found


def mark_missing(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(shell) is None, reason=f"{shell} is not on this machine: tests/install-tools.sh installs it"
    )


EVERY_SHELL = pytest.mark.parametrize(
    "complete",
    [
        complete_in_bash,
        pytest.param(complete_in_zsh, marks=mark_missing("zsh")),
        pytest.param(complete_in_fish, marks=mark_missing("fish")),
    ],
    ids=["bash", "zsh", "fish"],
)
Complete = Callable[..., list[set[str]]]


@EVERY_SHELL
def test_a_shell_completes_commands_options_values_and_paths(directory: Path, complete: Complete) -> None:
    expected: dict[str, tuple[set[str], set[str]]] = {
        # line: words that are offered, words that are not
        "assay ": ({"serve", "audit", "audit-log", "completion"}, {"export", "--config", "uv.lock"}),
        "assay au": ({"audit", "audit-log"}, {"serve"}),
        "assay ledger ": ({"export", "import", "forget"}, {"serve", "uv.lock"}),
        "assay ledger export --": ({"--config"}, {"--replace", "--reason"}),
        "assay serve --log ": ({"auto", "text", "json"}, {"--port", "uv.lock"}),
        "assay serve --po": ({"--port", "--policy"}, {"--log"}),
        "assay serve --port ": (set(), {"auto", "uv.lock", "--log"}),
        "assay audit ": ({"uv.lock", "a b.lock"}, {"serve", "export"}),
        "assay relock uv.lock --to ": ({"upstream", "proxy"}, {"uv.lock"}),
        "assay completion ": ({"bash", "zsh", "fish"}, {"uv.lock"}),
        "assay init lo": ({"locks/"}, {"uv.lock"}),
        "assay policy diff --config uv": ({"uv.lock"}, {"--json"}),
        "assay cache ": ({"stats", "warm", "uv.lock"}, {"serve"}),
    }
    for line, found in zip(expected, complete(directory, *expected), strict=True):
        offered, withheld = expected[line]
        # A single completion may be inserted instead of listed, and a directory may have no slash.
        assert offered <= found | {f"{word}/" for word in found}, line
        assert not withheld & found - set(line.split()), line


@pytest.mark.parametrize("complete", [complete_in_bash, pytest.param(complete_in_fish, marks=mark_missing("fish"))])
def test_every_command_completes_all_its_options(directory: Path, complete: Complete) -> None:
    lines = [f"{path} --" for path in BY_PATH]
    for path, found in zip(BY_PATH, complete(directory, *lines), strict=True):
        flags = {flag for option in BY_PATH[path].options for flag in option.flags if flag.startswith("--")}
        assert found == flags, path


@pytest.mark.parametrize(("shell", "arguments"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_the_scripts_are_valid(directory: Path, shell: str, arguments: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine: tests/install-tools.sh installs it")
    assert run_shell(directory, shell, arguments, f".{shell}") == ""


def test_every_command_of_the_parser_is_in_the_words() -> None:
    assert {"assay", "assay serve", "assay ledger export", "assay policy diff", "assay completion"} <= set(BY_PATH)
    assert set(BY_PATH["assay"].commands) == {path.split()[1] for path in BY_PATH if " " in path}
    assert all(summary for each in COMMANDS for summary in each.commands.values())
    assert all(option.help for each in COMMANDS for option in each.options)
    assert BY_PATH["assay init"].arguments == ("@directories",)
    assert BY_PATH["assay waive"].arguments == (), "a filename on an index is no file here"
