"""Tools that tests/install-tools.sh installs, and the rendered chart. A test is skipped if a tool is missing."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT, TOOLS

CHART = ROOT / "helm" / "assay"
EXAMPLES = ROOT / "config" / "examples"
VALUES = sorted(path.name for path in (CHART / "ci").glob("*-values.yaml"))
HELMS = ("helm", "helm3")
_BIN = TOOLS / "bin"
_VENV = TOOLS / "venv" / "bin"

Document = dict[str, Any]


def tool(name: str) -> Path:
    """Return the path of a tool; skip the test if the tool is missing."""
    for path in (_BIN / name, _VENV / name):
        if path.exists():
            return path
    pytest.skip(f"{name} is missing: bash tests/install-tools.sh")


def run(name: str, *arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end, and return its result with any status."""
    command = [str(tool(name)), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def documents_of(text: str) -> list[Document]:
    """Return YAML documents as values, read by the Python of the tools, because Assay has no YAML parser."""
    read = run("python", "tests/deploy/cluster_schema.py", "json", given=text)
    assert read.returncode == 0, read.stderr
    found: list[Document] = json.loads(read.stdout)
    return found


def template(
    values: str | None = None, over: Mapping[str, object] | None = None, *, helm: str = "helm", version: str = "1.34.0"
) -> subprocess.CompletedProcess[str]:
    """Run ``helm template`` with an example's values, overridden by `over`, and return its result with any status."""
    chosen: list[str | Path] = ["--values", CHART / "ci" / values] if values else []
    for key, value in (over or {}).items():
        chosen += ["--set-json", f"{key}={json.dumps(value)}"]
    return run(helm, "template", "pypi-proxy", CHART, "--namespace", "build", "--kube-version", version, *chosen)


@functools.cache
def _documents(values: str | None, over: str, helm: str, version: str) -> str:
    rendered = template(values, json.loads(over), helm=helm, version=version)
    assert rendered.returncode == 0, rendered.stderr
    return json.dumps(documents_of(rendered.stdout))


def documents(
    values: str | None, over: Mapping[str, object] | None = None, *, helm: str = "helm", version: str = "1.34.0"
) -> list[Document]:
    """Return the rendered documents of the chart."""
    found: list[Document] = json.loads(_documents(values, json.dumps(over or {}), helm, version))
    return found


def only(found: Sequence[Document], kind: str, suffix: str = "") -> Document:
    """Return the one document of a kind whose name ends in `suffix`."""
    [one] = [each for each in found if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
    return one


def workload(found: Sequence[Document]) -> Document:
    """Return the StatefulSet (mode: single) or the Deployment (mode: scaled)."""
    [one] = [each for each in found if each["kind"] in {"StatefulSet", "Deployment"}]
    return one


def environment(container: Document) -> dict[str, str]:
    """Return the variables of a container that have a literal value."""
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
