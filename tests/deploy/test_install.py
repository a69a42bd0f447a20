"""Installation of the built wheel by uv and pipx, in empty environments, with the oldest and the newest Python here.

It needs the package index, and takes about half a minute for each Python, so it is not in ``make test``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.deploy import tools
from tests.deploy.repository import copy_repository

pytestmark = [pytest.mark.deploy, pytest.mark.long]
INDEX = "https://pypi.org/simple/"


def find_pythons() -> dict[str, str]:
    """Return the commands of all Pythons from 3.11 on, by their version, oldest first."""
    candidates = [f"python3.{minor}" for minor in range(11, 20)]
    candidates += map(str, Path("/root/.pyenv/versions").glob("3.*/bin/python3"))
    found = {f"3.{sys.version_info[1]}": sys.executable}
    for candidate in candidates:
        if (command := shutil.which(candidate)) is None:
            continue
        asked = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
        if (match := re.fullmatch(r"Python (3\.1[1-9])\..*", asked.stdout.strip())) is not None:
            found.setdefault(match[1], command)
    return dict(sorted(found.items(), key=lambda pair: int(pair[0].partition(".")[2])))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        urllib.request.urlopen(INDEX + "aiofiles/", timeout=20).close()  # noqa: S310 - a constant https URL
    except (urllib.error.URLError, TimeoutError) as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    source, into = copy_repository(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    [built] = into.iterdir()
    return built


@pytest.mark.parametrize("version", [*find_pythons()][:: max(1, len(find_pythons()) - 1)])
@pytest.mark.parametrize("installer", ["uv", "pipx"])
def test_the_wheel_is_installed_and_its_command_runs(installer: str, version: str, wheel: Path, tmp_path: Path) -> None:
    python = find_pythons()[version]
    home = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PIP_CONFIG_FILE": "/dev/null"}
    if installer == "uv":
        places = {"UV_TOOL_DIR": f"{tmp_path}/tools", "UV_TOOL_BIN_DIR": f"{tmp_path}/bin"}
        command = [str(Path(sys.executable).parent / "uv"), "tool", "install", "--default-index", INDEX]
    else:
        places = {"PIPX_HOME": f"{tmp_path}/pipx", "PIPX_BIN_DIR": f"{tmp_path}/bin"}
        command = [str(tools.tool("pipx")), "install"]
    certificates = {name: value for name, value in os.environ.items() if name.startswith(("SSL_", "PIP_CERT"))}
    environment = {**home, **places, **certificates}
    run = partial(
        subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    done = run([*command, "--python", python, str(wheel)])
    assert done.returncode == 0, done.stderr
    for arguments in (["--version"], ["check"]):
        asked = run([str(tmp_path / "bin" / "assay"), *arguments])
        assert asked.returncode == 0, asked.stdout + asked.stderr
