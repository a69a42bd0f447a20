"""Scripts that install Debian packages: they wait for the lock of another package manager, for a limited time."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.repository import list_repository_files
from tests.paths import ROOT

LISTS_LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)"
NO_PACKAGE = "E: Unable to locate package nothing"
SCRIPTS = [path for path in list_repository_files() if re.fullmatch(r"(tests|benchmarks)/install-[a-z]+\.sh", path)]


def run_apt_get(directory: Path, failures: int, error: str, limit: float = 60) -> tuple[int, list[str], str]:
    """Run ``apt_get update`` with an apt-get that fails some times; return status, calls and standard error."""
    program, calls = directory / "apt-get", directory / "calls"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{calls}\n[ "$(wc -l <{calls})" -gt {failures} ] && exit 0\n'
        f'echo "{error}" >&2\nexit 100\n'
    )
    program.chmod(0o755)
    ran = subprocess.run(
        ["bash", "-c", "set -euo pipefail; . tests/apt.sh; apt_get update"],
        cwd=ROOT,
        env={"PATH": f"{directory}:{os.environ['PATH']}", "APT_LOCK_SECONDS": str(limit), "APT_LOCK_PAUSE": "0.01"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, calls.read_text().splitlines(), ran.stderr


def test_a_lock_is_waited_for_until_it_is_free(tmp_path: Path) -> None:
    status, calls, _ = run_apt_get(tmp_path, 2, LISTS_LOCKED)
    assert status == 0
    assert calls == ["-o DPkg::Lock::Timeout=60 update"] * 3, "apt-get itself waits for the lock of dpkg"


def test_the_wait_is_limited(tmp_path: Path) -> None:
    status, calls, errors = run_apt_get(tmp_path, 10_000, LISTS_LOCKED, limit=1)
    assert status == 100
    assert len(calls) > 1
    assert LISTS_LOCKED in errors


def test_another_error_is_reported_at_once(tmp_path: Path) -> None:
    status, calls, errors = run_apt_get(tmp_path, 1, NO_PACKAGE)
    assert (status, len(calls)) == (100, 1)
    assert NO_PACKAGE in errors


def find_bare_calls(text: str) -> list[str]:
    """Return the calls of apt-get that do not wait for a lock."""
    return re.findall(r"(?m)(?:^|[;&|{(]|\bthen|\belse)\s*(apt-get \S.*)$", re.sub(r"(?m)^\s*#.*$", "", text))


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_waits_for_locks(script: str) -> None:
    text = (ROOT / script).read_text("utf-8")
    assert find_bare_calls(text) == []
    assert ("apt_get " in text) == (". tests/apt.sh" in text)


def test_the_twin_a_call_that_does_not_wait_is_found() -> None:
    assert len(SCRIPTS) == 5
    assert find_bare_calls("  apt-get update -qq\n[ -x a ] && apt-get install b\napt_get update\n") == [
        "apt-get update -qq",
        "apt-get install b",
    ]
