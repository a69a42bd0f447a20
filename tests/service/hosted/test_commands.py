from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from assay.cli import run
from tests.world.index.distributions import sdist, wheel
from tests.world.proxy.hosting_proxy import TOKENS, HostingProxy, run_hosting_proxy

WHEEL, SOURCE = wheel("acme-app", "1.0"), sdist("acme-app", "1.0")


async def run_hosted(
    world: HostingProxy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: object,
    user: str = "alice",
    environ: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run ``assay hosted`` against a running proxy; return the exit status and both outputs."""
    monkeypatch.setenv("ASSAY_TOKEN", TOKENS.get(user, user))
    for name, value in (environ or {}).items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    command = ["hosted", *map(str, arguments), "--url", world.proxy.origin]
    status = await asyncio.to_thread(run, command)
    shown = capsys.readouterr()
    return status, shown.out + shown.err


async def test_a_directory_is_imported_listed_and_managed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        dist = tmp_path / "dist"
        dist.mkdir()
        for built in (WHEEL, SOURCE):
            (dist / built.filename).write_bytes(built.content)
            (dist / f"{built.filename}.publish.attestation").write_text(json.dumps(world.sign(built)))
        bare = wheel("acme-app", "1.1")
        (dist / bare.filename).write_bytes(bare.content)

        status, shown = await run_hosted(world, monkeypatch, capsys, "import", "internal", dist, user="bot")

        assert status == 1
        assert f"uploaded: {WHEEL.filename}" in shown
        assert f"uploaded: {SOURCE.filename}" in shown
        assert f"refused: {bare.filename}: this index requires attestations" in shown
        assert await world.fetch_listed("acme-app") == {WHEEL.filename, SOURCE.filename}

        yank = ("yank", "internal", "acme-app", "1.0", "--reason", "broken")
        assert await run_hosted(world, monkeypatch, capsys, *yank) == (
            0,
            f"yank: {WHEEL.filename}\nyank: {SOURCE.filename}\n",
        )
        status, shown = await run_hosted(world, monkeypatch, capsys, "list", "internal")
        assert status == 0
        assert [line.split() for line in shown.splitlines()][1] == [
            "acme-app",
            "active",
            WHEEL.filename,
            shown.split(WHEEL.filename)[1].split()[0],
            "broken",
        ]
        assert (await run_hosted(world, monkeypatch, capsys, "unyank", "internal", "acme-app", "1.0"))[0] == 0
        archive = ("status", "internal", "acme-app", "archived", "--reason", "old")
        assert await run_hosted(world, monkeypatch, capsys, *archive) == (0, "status: acme-app\n")
        status, shown = await run_hosted(world, monkeypatch, capsys, "list", "internal", "--json")
        [project] = json.loads(shown)["projects"]
        assert (project["status"], project["reason"]) == ("archived", "old")
        assert all("yanked" not in each for each in project["files"])


async def test_a_refused_command_states_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        status, shown = await run_hosted(world, monkeypatch, capsys, "list", "internal", user="bot")
        assert (status, "may not manage the index internal" in shown) == (1, True), shown
        assert "ASSAY_TOKEN" not in shown
        status, shown = await run_hosted(world, monkeypatch, capsys, "list", "internal", user="wrong")
        assert (status, shown) == (1, "assay: the proxy does not know the token in ASSAY_TOKEN\n")
        monkeypatch.delenv("ASSAY_TOKEN")
        command = ["hosted", "list", "internal", "--url", world.proxy.origin]
        assert await asyncio.to_thread(run, command) == 1
        assert "ASSAY_TOKEN must contain the token" in capsys.readouterr().err
        missing = ("yank", "internal", "acme-none", "1.0")
        assert (await run_hosted(world, monkeypatch, capsys, *missing))[0] == 1
        empty = tmp_path / "empty"
        empty.mkdir()
        status, shown = await run_hosted(world, monkeypatch, capsys, "import", "internal", empty, user="bot")
        assert (status, "found none" in shown) == (2, True), shown
