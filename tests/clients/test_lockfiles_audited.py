"""Lockfiles that uv writes through the proxy, read by `assay audit`, with the private Sigstore."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from assay.cli import run
from tests.world.clients.installers import run_client
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore

pytestmark = pytest.mark.clients

PROJECT = """
[project]
name = "locked"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["widget"]
"""
UV = str(Path(sys.executable).parent / "uv")


async def test_what_uv_locks_through_the_proxy_can_be_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sigstore, project = PrivateSigstore(), tmp_path / "project"
    write(project / "pyproject.toml", PROJECT)
    async with Index() as index, run_test_proxy(index, tmp_path, sigstore=sigstore) as proxy:
        for built in (wheel("widget", "1.0", requires=["plain"]), sdist("widget", "1.0", requires=["plain"])):
            document = sigstore.provenance(built.filename, built.sha256, GitHub(), SIGNING_TIME)
            index.add(built, upload_time=SIGNING_TIME, provenance=document)
        index.add(wheel("plain", "2.0"), upload_time=SIGNING_TIME)
        flags = ("--no-cache", "--default-index", proxy.url, "--python", sys.executable)
        for command in (
            ("lock", *flags),
            ("export", *flags, "--format", "pylock.toml", "-o", "pylock.toml"),
            ("pip", "compile", *flags, "--generate-hashes", "pyproject.toml", "-o", "requirements.txt"),
        ):
            outcome = await run_client(UV, *command, home=tmp_path, cwd=project)
            assert outcome.status == 0, outcome.output
        write(
            tmp_path / "proxy.toml",
            f'[storage]\ndirectory = "store"\n[trust]\nroot = "assay-trusted-root.json"\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n',
        )
        for name in ("uv.lock", "pylock.toml", "requirements.txt"):
            audit = ["audit", str(project / name), "--json", "--config", str(tmp_path / "proxy.toml")]
            capsys.readouterr()
            assert await asyncio.to_thread(run, audit) == 0, name
            found = json.loads(capsys.readouterr().out)
            kinds = {entry["filename"]: entry["verdict"]["evidence"]["evidence"] for entry in found["files"]}
            assert kinds == {
                "widget-1.0-py3-none-any.whl": "attested",
                "widget-1.0.tar.gz": "attested",
                "plain-2.0-py3-none-any.whl": "unattested",
            }
            assert found["not-judged"] == []


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
