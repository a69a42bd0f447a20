"""Targets of the Makefile for newcomers: what they say before they install something."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT


def list_commands(target: str, tmp_path: Path) -> list[str]:
    """Return the commands of a target in a checkout without an installation."""
    command = ["make", "--no-print-directory", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def count_packages(*names: str) -> int:
    locks = [(ROOT / name).read_text("utf-8") for name in names]
    return len({name for text in locks for name in re.findall(r"^([A-Za-z0-9][^=\s]*)==", text, re.MULTILINE)})


@pytest.mark.parametrize(
    ("target", "locks", "duration"),
    [
        ("serve", ["requirements.lock"], "about 20 seconds"),
        ("demo", ["requirements.lock"], "about 20 seconds"),
        ("test", ["requirements.lock", "requirements-dev.lock"], "about a minute"),
    ],
)
def test_a_first_target_says_how_many_packages_it_installs(
    tmp_path: Path, target: str, locks: list[str], duration: str
) -> None:
    (line,) = (line for line in list_commands(target, tmp_path) if line.startswith("echo "))
    said = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == f"Installing {count_packages(*locks)} pinned packages into {tmp_path / 'venv'}, {duration}\n"
    assert count_packages(*locks) > 40


def test_make_serve_ends_with_a_command_for_people(tmp_path: Path) -> None:
    assert list_commands("serve", tmp_path)[-1].endswith("/assay serve --log text")
