"""Upload clients as subprocesses: twine, ``uv publish`` and Poetry, isolated from the configuration of the machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.distributions import BuiltDistribution

TWINE = ROOT / ".tools/managers/bin/twine"
POETRY = ROOT / ".tools/managers/bin/poetry"
_UV = Path(sys.executable).parent / "uv"


@dataclass(frozen=True)
class Publisher:
    """Client that uploads the files in a directory."""

    name: str
    make_command: Callable[[str, str, Sequence[Path]], list[str]]
    """Returns the command for the URL of the upload API, a token and files."""

    async def upload(
        self,
        url: str,
        token: str,
        directory: Path,
        built: Sequence[BuiltDistribution],
        attestations: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> ClientResult:
        """Write distributions with their attestations, by filename, to `directory`, and upload them."""
        files = _write_files(directory, built, attestations)
        return await run_client(*self.make_command(url, token, files), home=directory, cwd=directory)


def _write_files(
    directory: Path, built: Sequence[BuiltDistribution], attestations: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Path]:
    directory.mkdir(parents=True)
    files = []
    for each in built:
        path = directory / each.filename
        path.write_bytes(each.content)
        files.append(path)
        for number, attestation in enumerate(attestations.get(each.filename, ())):
            kind = "publish" if number == 0 else f"extra{number}"
            Path(f"{path}.{kind}.attestation").write_text(json.dumps(attestation))
    return files


def _add_attestations(files: Sequence[Path]) -> list[str]:
    return [str(path) for file in files for path in (file, *sorted(file.parent.glob(f"{file.name}.*.attestation")))]


def _run_twine(url: str, token: str, files: Sequence[Path]) -> list[str]:
    sent = _add_attestations(files)
    options = ["upload", "--non-interactive", "--disable-progress-bar", "--repository-url", url]
    if len(sent) > len(files):
        options.append("--attestations")
    return [str(TWINE), *options, "--username", "__token__", "--password", token, *sent]


def _run_uv(url: str, token: str, files: Sequence[Path]) -> list[str]:
    return [str(_UV), "publish", "--publish-url", url, "--token", token, *_add_attestations(files)]


def _run_poetry(url: str, token: str, files: Sequence[Path]) -> list[str]:
    directory = files[0].parent
    name, version = files[0].name.removesuffix(".tar.gz").split("-")[:2]
    (directory / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.11"\n'
        "[tool.poetry]\npackage-mode = true\n"
    )
    variables = {
        "POETRY_REPOSITORIES_INTERNAL_URL": url,
        "POETRY_HTTP_BASIC_INTERNAL_USERNAME": "__token__",
        "POETRY_HTTP_BASIC_INTERNAL_PASSWORD": token,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    options = ["--no-interaction", "publish", "--repository", "internal", "--dist-dir", str(directory)]
    return ["env", *(f"{name}={value}" for name, value in variables.items()), str(POETRY), *options]


TWINE_UPLOAD = Publisher("twine", _run_twine)
UV_PUBLISH = Publisher("uv", _run_uv)
POETRY_PUBLISH = Publisher("Poetry", _run_poetry)
