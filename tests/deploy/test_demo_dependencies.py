"""Dependencies of `make demo`: it installs only the runtime lock, and runs without development packages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import aiohttp
import pytest
from packaging.utils import canonicalize_name

from tests.paths import ROOT
from tests.world.proxy.running_proxy import SIMPLE_JSON

SECONDS = 60
REFUSAL = """\
import sys

REFUSED = {refused!r}


class Refusal:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{{name}} is of a development package", name=name)


sys.meta_path.insert(0, Refusal)
"""


def locked(name: str) -> set[str]:
    """Return the distributions of a lock file."""
    found = re.findall(r"(?m)^([A-Za-z0-9._-]+)==", (ROOT / name).read_text("utf-8"))
    return {canonicalize_name(each) for each in found}


def development_modules() -> set[str]:
    """Return the installed top-level modules that only distributions of the development lock provide."""
    only = locked("requirements-dev.lock") - locked("requirements.lock")
    owners = packages_distributions()
    return {module for module, names in owners.items() if {canonicalize_name(name) for name in names} <= only}


@pytest.fixture
def runtime_only(tmp_path: Path) -> dict[str, str]:
    """Return environment variables with which Python finds no module of the development lock."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(REFUSAL.format(refused=development_modules()), "utf-8")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(site),
    }


def imports(module: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import {module}"]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def would_run(target: str, tmp_path: Path) -> str:
    """Return the commands that `make` would run for a target before any installation."""
    command = ["make", "--no-print-directory", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_reference_implementation_is_no_runtime_dependency() -> None:
    only = locked("requirements-dev.lock") - locked("requirements.lock")
    assert {"pypi-attestations", "pytest", "hypothesis"} <= only
    assert {"pypi_attestations", "pyasn1", "pytest", "_pytest", "hypothesis", "blockbuster"} <= development_modules()
    assert {"sigstore", "aiohttp", "tuf"} <= locked("requirements.lock") & locked("requirements-dev.lock")


def test_make_demo_installs_the_runtime_lock_alone(tmp_path: Path) -> None:
    steps = would_run("demo", tmp_path)
    assert "-r requirements.lock" in steps
    assert steps.endswith("-m demo\n")
    assert "requirements-dev.lock" not in steps
    assert "-r requirements-dev.lock" in would_run("test", tmp_path), "the twin"


def test_the_twin_what_only_development_needs_cannot_be_imported(runtime_only: dict[str, str]) -> None:
    refused = imports("pypi_attestations", runtime_only)
    assert refused.returncode == 1
    assert "is of a development package" in refused.stderr
    assert imports("sigstore.verify, tuf.ngclient, aiohttp, assay.cli", runtime_only).returncode == 0


async def test_the_demo_runs_and_verifies_without_any_development_package(runtime_only: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo"),
        cwd=ROOT,
        env=runtime_only,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            first = (await process.stdout.readline()).decode()
            assert first.startswith("Assay runs at http://"), first + (await process.stdout.read()).decode()
            page_url = f"{first.split()[3]}simple/acme-widgets/"
            async with (
                aiohttp.ClientSession(headers={"Accept": SIMPLE_JSON}) as session,
                session.get(page_url) as response,
            ):
                page = await response.json(content_type=None)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    served = {entry["filename"] for entry in page["files"] if not entry["url"].endswith("?withheld")}
    assert "acme_widgets-1.8-py3-none-any.whl" in served, "an attestation was verified"
    codes = {reason["code"] for entry in page["_withheld"] for reason in entry["reasons"]}
    assert {"forged", "provenance-lost", "publisher-changed"} <= codes
