"""Commands on a terminal of 80 columns: a real lockfile of more than 60 packages fits, with the problems first."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.cells import cell_len

from assay.lockfiles import read_lockfile
from tests.paths import ROOT
from tests.world.index.distributions import make_raw_file, wheel
from tests.world.proxy.cli_sandbox import LENIENT_POLICY, LONG_AGO, CliSandbox

COLUMNS = 80
WITHHELD = """
[[rules]]
name = "no old certificates"
projects = ["certifi", "idna"]
attestations = "required"
publishers = "any"
"""


def run_on_terminal(sandbox: CliSandbox, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command on a pseudo-terminal, and return its status and what the terminal gets."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "assay", *arguments, "--config", str(sandbox.directory / "proxy.toml")],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.PIPE,
        cwd=sandbox.directory,
        env={"PATH": os.environ["PATH"], "HOME": str(sandbox.directory), "TERM": "xterm-256color", **(environ or {})},
    )
    os.close(follower)
    received = b""
    try:
        while piece := os.read(leader, 65536):
            received += piece
    except OSError:  # EIO: the last process has closed the terminal
        pass
    os.close(leader)
    _, log = process.communicate()
    assert "Traceback" not in log.decode()
    return process.returncode, received.decode().replace("\r\n", "\n")


def publish_locked(sandbox: CliSandbox, lockfile: Path) -> int:
    """Publish a file for each digest of a lockfile, and return the number of projects."""
    pinned = read_lockfile(lockfile.read_text("utf-8"), lockfile.name).files
    for number, each in enumerate(pinned):
        assert each.version is not None
        name = f"{each.project.replace('-', '_')}-{each.version}-{number}-py3-none-any.whl"
        entry = {"hashes": {"sha256": each.sha256}, "size": 1}
        sandbox.index.add(make_raw_file(name, project=each.project), upload_time=LONG_AGO, entry=entry, metadata=False)
    return len({each.project for each in pinned})


def test_the_audit_of_a_real_lockfile_fits_80_columns_with_problems_first(sandbox: CliSandbox) -> None:
    lockfile = sandbox.directory / "requirements.txt"
    lockfile.write_bytes((ROOT / "requirements-dev.lock").read_bytes())
    projects = publish_locked(sandbox, lockfile)
    assert projects >= 60
    sandbox.policy.write_text(LENIENT_POLICY.replace("version = 1", f"version = 1\n{WITHHELD}"))
    status, shown = run_on_terminal(sandbox, "audit", "requirements.txt", environ={"NO_COLOR": "1"})
    assert status == 1
    assert "\x1b" not in shown
    lines = shown.splitlines()
    assert max(map(cell_len, lines)) <= COLUMNS
    assert lines[0].split() == ["PROJECT", "VERSION", "FILES", "RULE"]
    assert "EVIDENCE of all rows: none" in lines
    problems = [line for line in lines if re.match(r"certifi|idna", line)]
    assert lines[1].startswith("certifi ")
    assert [line.split()[0] for line in problems] == ["certifi", "idna"]
    approved = [number for number, line in enumerate(lines) if re.search(r" \d+ approved  ", line)]
    assert len(approved) == projects - 2
    assert lines.index(problems[-1]) < approved[0]
    assert "[unattested] the file has no attestation" in " ".join(shown.split())
    assert approved[-1] < len(lines) - 1


def test_colour_is_only_for_terminals_and_never_in_json(sandbox: CliSandbox) -> None:
    assert "\x1b[32m1 approved\x1b[0m" in run_on_terminal(sandbox, "explain", "plain")[1]
    assert "\x1b" not in sandbox.run_assay("explain", "plain")[1]
    assert "\x1b" not in run_on_terminal(sandbox, "explain", "plain", "--json")[1]


def test_hostile_names_and_reasons_print_no_control_characters(sandbox: CliSandbox) -> None:
    for name in (
        "widget-\x1b[2J-py3-none-any.whl",
        "widget-[red]1[/red].tar.gz",
        "widget-\u202e.zip",
        "widget-\x9b1m.whl",
    ):
        sandbox.index.add(make_raw_file(name, project="widget"), upload_time=LONG_AGO, metadata=False)
    yanked = sandbox.publish(wheel("widget", "3.0"), None)
    sandbox.index.yank(yanked, "\x1b]0;owned\x07")
    status, shown = run_on_terminal(sandbox, "explain", "widget", "--files")
    assert status == 1
    own = re.sub(r"\x1b\[(?:1|31|32|33|0)m", "", shown)
    assert all(character.isprintable() or character == "\n" for character in own)
    joined = "".join(own.split())
    assert "widget-[red]1[/red].tar.gz" in joined
    assert "\\x1b[2J" in joined


def test_explain_has_a_row_for_each_version_newest_first(sandbox: CliSandbox) -> None:
    for version in ("1.9", "1.10", "1.10rc1"):
        sandbox.publish(wheel("widget", version), None)
    status, shown = sandbox.run_assay("explain", "widget")
    assert status == 0
    table = shown.split("\n\n")[1].splitlines()
    assert table[0].split() == ["VERSION", "FILES", "RULE", "EVIDENCE", "BECAUSE"]
    assert [line.split()[:3] for line in table[1:]] == [
        ["1.10", "1", "approved"],
        ["1.10rc1", "1", "approved"],
        ["1.9", "1", "approved"],
        ["1.0", "2", "approved"],
    ]
    assert shown.endswith("\n5 approved, 0 withheld; newest approved version: 1.10\n")
    by_file = sandbox.run_assay("explain", "widget", "--files")[1]
    assert [line.split()[0] for line in by_file.splitlines()[3:8]] == [
        "widget-1.10-py3-none-any.whl",
        "widget-1.10rc1-py3-none-any.whl",
        "widget-1.9-py3-none-any.whl",
        "widget-1.0-py3-none-any.whl",
        "widget-1.0.tar.gz",
    ]
    assert "widget-1.9-py3-none-any.whl" in sandbox.run_assay("explain", "widget", "1.9")[1], (
        "a version shows its files"
    )
