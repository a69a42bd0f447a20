"""Output of the program in a pipe whose reader closes it early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assay.__main__ import EXIT_BROKEN_PIPE

ASSAY = [sys.executable, "-m", "assay"]
LONG, SHORT, HELP, ERROR = ["policy", "schema"], ["--version"], ["--help"], ["frobnicate"]
BY_COMMAND = pytest.mark.parametrize("arguments", [LONG, SHORT, HELP], ids=lambda arguments: arguments[-1])


@BY_COMMAND
def test_a_reader_that_has_gone_ends_the_command_without_a_traceback(arguments: list[str]) -> None:
    with subprocess.Popen([*ASSAY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        # argparse ignores the error if Python does not buffer the output (PYTHONUNBUFFERED).
        assert process.wait() in ({0, EXIT_BROKEN_PIPE} if arguments is HELP else {EXIT_BROKEN_PIPE})
        assert said == b""


@BY_COMMAND
def test_the_twin_a_reader_that_stays_gets_everything(arguments: list[str]) -> None:
    ran = subprocess.run([*ASSAY, *arguments], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.endswith(b"\n")


def test_head_in_a_shell_gets_its_line(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m assay policy schema | head -n 1; echo "${{PIPESTATUS[0]}}"'
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[0] == "{"
    assert ran.stdout.splitlines()[1] in {"0", str(EXIT_BROKEN_PIPE)}, "0 if all of it fits into the pipe"


def test_both_streams_may_go_together() -> None:
    with subprocess.Popen([*ASSAY, *ERROR], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() in {2, EXIT_BROKEN_PIPE}


def test_closed_streams_do_not_matter() -> None:
    command = f'"{sys.executable}" -m assay --version >&-'
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=False).stderr == b""


def test_another_broken_pipe_is_not_hidden() -> None:
    code = (
        "import assay.__main__, assay.cli, sys\n"
        "def fail(arguments):\n    raise BrokenPipeError('a connection')\n"
        "assay.cli.run = fail\n"
        "assay.__main__.main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "BrokenPipeError: a connection" in ran.stderr
