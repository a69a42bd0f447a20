"""Scripts that install tools: they wait for the lock of another package manager, and install a lock file once."""

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


FAKE_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit; fi
echo "$*; $PIP_CONFIG_FILE ${PIP_FIND_LINKS-unset} ${PIP_EXTRA_INDEX_URL-unset}" >>calls
! grep -q missing-package a.lock
"""
INSTALLED = "-m pip install --quiet --no-deps --only-binary :all: --require-hashes -r a.lock; /dev/null unset unset"


def run_install_environment(directory: Path, lock: str) -> tuple[int, list[str]]:
    """Install a lock file in ``.tools/b`` with an interpreter that installs nothing; return status and calls of pip."""
    python, calls = directory / "fake-python", directory / "calls"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    (directory / "a.lock").write_text(lock)
    calls.write_text("")
    settings = {
        "PIP_FIND_LINKS": "wheels",
        "PIP_EXTRA_INDEX_URL": "https://index.example",
        "PIP_CONFIG_FILE": "pip.conf",
    }
    ran = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; . {ROOT}/tests/pip.sh; install_environment a.lock b || exit 7"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHON": str(python), **settings},
        timeout=60,
        check=False,
    )
    return ran.returncode, calls.read_text().splitlines()


def test_a_lock_file_is_installed_once_and_again_after_a_change(tmp_path: Path) -> None:
    assert run_install_environment(tmp_path, "one\n") == (0, [INSTALLED])
    (tmp_path / ".tools" / "b" / "left").touch()
    assert run_install_environment(tmp_path, "one\n") == (0, [])
    assert (tmp_path / ".tools" / "b" / "left").exists()
    assert run_install_environment(tmp_path, "two\n") == (0, [INSTALLED])
    assert not (tmp_path / ".tools" / "b" / "left").exists(), "the environment is new"


def test_an_incomplete_environment_is_removed_and_installed_by_the_next_run(tmp_path: Path) -> None:
    assert run_install_environment(tmp_path, "one\n") == (0, [INSTALLED])
    assert run_install_environment(tmp_path, "missing-package\n") == (7, [INSTALLED])
    assert list((tmp_path / ".tools").iterdir()) == []
    assert run_install_environment(tmp_path, "one\n") == (0, [INSTALLED])
    assert (tmp_path / ".tools" / "b").is_dir()


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_installs_lock_files_by_the_shared_functions(script: str) -> None:
    text = (ROOT / script).read_text("utf-8")
    assert not re.search(r"-m venv|PIP_CONFIG_FILE|cmp -s", text)
    assert ("install_environment " in text) == (". tests/pip.sh" in text)


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_waits_for_locks(script: str) -> None:
    text = (ROOT / script).read_text("utf-8")
    assert find_bare_calls(text) == []
    assert ("apt_get " in text) == (". tests/apt.sh" in text)


def test_the_twin_a_call_that_does_not_wait_is_found() -> None:
    assert len(SCRIPTS) == 6
    assert find_bare_calls("  apt-get update -qq\n[ -x a ] && apt-get install b\napt_get update\n") == [
        "apt-get update -qq",
        "apt-get install b",
    ]
