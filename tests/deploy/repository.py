"""The files of the repository, as git knows them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT


@functools.cache
def list_repository_files() -> tuple[str, ...]:
    """Return the paths of all files that are tracked or would be by `git add`; skip the test outside of a checkout."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"no git checkout: {listed.stderr.strip()}")
    return tuple(sorted(path for path in set(listed.stdout.split("\0")) if path and (ROOT / path).is_file()))


def copy_repository(into: Path) -> Path:
    """Copy the repository's files, without anything that is built or ignored; return `into`."""
    for path in list_repository_files():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, into / path)
    return into
