"""Shell of `make demo` on a terminal: it uses the pip whose words are promised, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from demo.__main__ import _PIP_MAJOR
from demo.stories import STORIES
from tests.paths import ROOT

pytestmark = pytest.mark.clients
SECONDS = 60
PROMPT = b"(assay demo)"
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Pseudo-terminal of a program."""

    def __init__(self, directory: Path, *command: str, **environ: str) -> None:
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            cwd=ROOT,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory), "TERM": "dumb"}
            | environ,
        )
        os.close(follower)

    def read_until(self, mark: bytes) -> str:
        """Return the output up to `mark`, or up to the end of the program."""
        text = b""
        while mark not in text:
            assert select.select([self._leader], [], [], SECONDS)[0], text
            try:
                piece = os.read(self._leader, 65536)
            except OSError:  # EIO: the program has closed the terminal
                break
            text += piece
        return text.decode(errors="replace").replace("\r\n", "\n")

    def type(self, line: str, end: str = "\n") -> None:
        os.write(self._leader, f"{line}{end}".encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        os.close(self._leader)


def test_the_shell_of_the_demo_keeps_its_promises_and_ends_clean(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("export PATH=/nowhere PIP_INDEX_URL=https://evil.example/\n")
    terminal = Terminal(tmp_path, sys.executable, "-m", "demo", PIP_PYTHON="/gone/python")
    try:
        welcome = terminal.read_until(PROMPT)
        assert "In this shell, pip and uv use the demo." in welcome
        terminal.type("pip --version; echo PIP_PYTHON=[$PIP_PYTHON]")
        said = terminal.read_until(PROMPT)
        assert re.search(rf"^pip {_PIP_MAJOR}\.", said, re.MULTILINE), said
        assert "PIP_PYTHON=[]" in said
        for story in (STORIES[0], STORIES[1]):
            terminal.type(f"pip install {story.wanted}")
            assert story.is_in(terminal.read_until(PROMPT).replace("\n", " ")), story
        # The program says by itself that it runs: Ctrl-C before that could come to no program.
        terminal.type("python -c 'import time; print(6 * 7, flush=True); time.sleep(600)'")
        terminal.read_until(b"42\r\n")
        terminal.type("\x03", end="")
        terminal.read_until(PROMPT)
        terminal.type("python -c 'import acme_widgets, sys; print(sys.prefix)'")
        assert "/assay-demo-" in terminal.read_until(PROMPT), "Ctrl-C does not end the demo"
        assert len(list(tmp_path.glob("assay-demo-*"))) == 1
        terminal.type("exit")
        assert "The demo has ended, and its files are removed." in terminal.read_until(b"removed.")
        assert terminal.process.wait(SECONDS) == 0
    finally:
        terminal.close()
    assert list(tmp_path.glob("assay-demo-*")) == []


@pytest.mark.long
def test_a_stopped_demo_ends_its_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, sys.executable, "-m", "demo")
    try:
        terminal.read_until(PROMPT)
        terminal.process.terminate()
        terminal.read_until(b"The demo has ended")
        assert terminal.process.wait(SECONDS) == 0
    finally:
        terminal.close()
    assert list(tmp_path.glob("assay-demo-*")) == []


def test_the_pip_of_the_demo_is_the_one_that_the_tests_run() -> None:
    (demo,) = re.findall(
        r"^pip==(\S+) \\\n((?: +--hash=.*\n?)+)", (ROOT / "demo" / "pip.lock").read_text(), re.MULTILINE
    )
    assert demo[0].split(".")[0] == str(_PIP_MAJOR)
    assert f"pip=={demo[0]} \\\n" in (ROOT / "requirements-dev.lock").read_text()
    for line in demo[1].splitlines():
        assert line.split()[0] in (ROOT / "requirements-dev.lock").read_text()
