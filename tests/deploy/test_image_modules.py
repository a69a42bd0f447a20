"""List of modules that the image compiles, by the command in the Dockerfile: it must have the whole package.

The command is run here, without the image, over a copy of the package as an installation has it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import ROOT

APPENDED = "\nprint(*sys.modules, sep='\\n', file=sys.stderr)"


@dataclass(frozen=True)
class Listed:
    """Modules that the command found."""

    files: frozenset[Path]
    modules: frozenset[str]
    """Names under which they were imported."""


def command_of(dockerfile: str) -> list[str]:
    """Return the words of the command whose output `compileall` reads."""
    lines = dockerfile.replace("\\\n", "").splitlines()
    [run] = [line for line in lines if line.startswith("RUN ") and "compileall" in line]
    assert "$" not in run, "the shell would put something else in its place"
    words = shlex.split(run.removeprefix("RUN "))
    into = words.index(">")
    assert words[into + 1] == words[words.index("-i") + 1], "compileall reads what was written"
    return words[:into]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package outside the repository."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "proxy" / "assay", site / "assay", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def listed(code: str, options: list[str], site: Path) -> Listed:
    found = subprocess.run(
        [sys.executable, *options, "-c", code + APPENDED],
        cwd=site.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return Listed(
        frozenset(Path(line) for line in found.stdout.splitlines() if line), frozenset(found.stderr.splitlines())
    )


def wanted(site: Path) -> set[Path]:
    """Return every module of the package except `__main__`, which the command omits."""
    return set((site / "assay").rglob("*.py")) - {site / "assay" / "__main__.py"}


def test_the_list_holds_every_module_of_the_package_and_what_they_import(site: Path) -> None:
    program, *options, dash_c, code = command_of((ROOT / "Dockerfile").read_text("utf-8"))
    assert (Path(program).name, dash_c) == ("python", "-c")
    found = listed(code, options, site)
    assert len(wanted(site)) > 200
    assert wanted(site) - found.files == set()
    assert [path for path in found.files if path.match("*/aiohttp/client.py")]
    assert len(found.files) > 700


def test_nothing_is_imported_from_the_repository_or_called_proxy(site: Path) -> None:
    _, *options, _, code = command_of((ROOT / "Dockerfile").read_text("utf-8"))
    found = listed(code, options, site)
    assert "assay.web.app" in found.modules
    assert {name for name in found.modules if name.split(".")[0] == "proxy"} == set()
    assert [path for path in found.files if path.is_relative_to(ROOT / "proxy")] == []


def test_the_twin_a_walk_over_nothing_is_found(site: Path) -> None:
    _, *options, _, code = command_of((ROOT / "Dockerfile").read_text("utf-8"))
    assert "assay.__path__" in code
    found = listed(code.replace("assay.__path__", "[]"), options, site)
    assert wanted(site) - found.files == wanted(site) - {site / "assay" / "__init__.py"}
