"""Installers with their own settings for retries, whose output a user sees: pip, uv, Poetry, PDM and pipenv."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.paths import TOOLS
from tests.world.clients.installers import ClientResult, run_client

_POETRY = TOOLS / "managers" / "bin" / "poetry"
_OLD_PIP = TOOLS / "old-pip" / "pip"
_PDM = TOOLS / "managers" / "bin" / "pdm"
_PIPENV = TOOLS / "managers" / "bin" / "pipenv"
_UV = Path(sys.executable).parent / "uv"
_PYPROJECT = """
[project]
name = "application"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["{wanted}"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "assay"
url = "{url}"
priority = "primary"
"""


_UV_PROJECT = """
[project]
name = "application"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["{wanted}"]
[[tool.uv.index]]
url = "{url}"
default = true
[[tool.pdm.source]]
name = "pypi"
url = "{url}"
"""


@dataclass(frozen=True)
class Installer:
    """Installer with its own settings for retries, timeouts and output."""

    name: str
    make_command: Callable[[str, str, Path], list[str]]
    """Creates a directory with what the command needs; returns the command for an index URL and a requirement."""

    async def install(self, url: str, wanted: str, directory: Path) -> ClientResult:
        """Install `wanted` from the index at `url`; everything that is written is in `directory`, which is created."""
        command = self.make_command(url, wanted, directory)
        return await run_client(*command, home=directory, cwd=directory, retries={})


def _run_pip(url: str, wanted: str, directory: Path, *program: str) -> list[str]:
    directory.mkdir(parents=True)
    options = ["install", "--no-cache-dir", "--index-url", url, "--target", str(directory / "target"), wanted]
    return [sys.executable, *program, *options]


def _run_uv(url: str, wanted: str, directory: Path) -> list[str]:
    directory.mkdir(parents=True)
    options = ["pip", "install", "--no-cache", "--default-index", url, "--python", sys.executable]
    return [str(_UV), *options, "--target", str(directory / "target"), wanted]


def _run_poetry(url: str, wanted: str, directory: Path) -> list[str]:
    directory.mkdir(parents=True)
    (directory / "pyproject.toml").write_text(_PYPROJECT.format(url=url, wanted=wanted), "utf-8")
    (directory / "poetry.toml").write_text("[virtualenvs]\nin-project = true\n", "utf-8")
    return [str(_POETRY), "--no-interaction", "--no-cache", "install"]


def _write_project(url: str, wanted: str, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "pyproject.toml").write_text(_UV_PROJECT.format(url=url, wanted=wanted), "utf-8")


def _run_uv_project(url: str, wanted: str, directory: Path, command: str) -> list[str]:
    _write_project(url, wanted, directory)
    return ["env", "-u", "UV_NO_CONFIG", str(_UV), command, "--no-cache", "--python", sys.executable]


def _run_pdm(url: str, wanted: str, directory: Path) -> list[str]:
    _write_project(url, wanted, directory)
    return [str(_PDM), "lock", "--no-cross-platform"]


def _run_pipenv(url: str, wanted: str, directory: Path) -> list[str]:
    directory.mkdir(parents=True)
    requirement = Requirement(wanted)
    source = f'[[source]]\nname = "assay"\nurl = "{url}"\nverify_ssl = false\n'
    package = f'[packages]\n{requirement.name} = "{requirement.specifier or "*"}"\n'
    (directory / "Pipfile").write_text(source + package, "utf-8")
    settings = ["PIPENV_VENV_IN_PROJECT=1", "PIPENV_IGNORE_VIRTUALENVS=1", "PIPENV_NOSPIN=1"]
    return ["env", *settings, str(_PIPENV), "--python", sys.executable, "install"]


PIP = Installer("pip", lambda url, wanted, directory: _run_pip(url, wanted, directory, "-m", "pip"))
OLD_PIP = Installer("pip 23.2", lambda url, wanted, directory: _run_pip(url, wanted, directory, str(_OLD_PIP)))
UV = Installer("uv", _run_uv)
UV_LOCK = Installer("uv lock", lambda url, wanted, directory: _run_uv_project(url, wanted, directory, "lock"))
UV_SYNC = Installer("uv sync", lambda url, wanted, directory: _run_uv_project(url, wanted, directory, "sync"))
UV_LOWEST = Installer(
    "uv with lowest-direct",
    lambda url, wanted, directory: [*_run_uv(url, wanted, directory), "--resolution", "lowest-direct"],
)
POETRY = Installer("Poetry", _run_poetry)
PDM = Installer("PDM", _run_pdm)
PIPENV = Installer("pipenv", _run_pipenv)


def needs(path: Path, name: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test with a reason if a program is missing."""
    return pytest.mark.skipif(not path.exists(), reason=f"{name} is not here: tests/install-managers.sh installs it")


EVERY_INSTALLER = [
    pytest.param(PIP, id="pip"),
    pytest.param(OLD_PIP, id="old-pip", marks=needs(_OLD_PIP, "pip 23.2")),
    pytest.param(UV, id="uv"),
    pytest.param(POETRY, id="poetry", marks=needs(_POETRY, "Poetry")),
]
NEEDS_POETRY, NEEDS_PDM, NEEDS_OLD_PIP = needs(_POETRY, "Poetry"), needs(_PDM, "PDM"), needs(_OLD_PIP, "pip 23.2")
NEEDS_PIPENV = needs(_PIPENV, "pipenv")
