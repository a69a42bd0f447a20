from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.engines.shared_storage import make_shared_table
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


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """Table ``[storage.shared]`` of an empty shared storage."""
    if not HAS_POSTGRESQL:
        pytest.skip(MISSING_POSTGRESQL)
    with PostgresServer() as server:
        yield make_shared_table(server, await create_assay_database(server), tmp_path)


async def test_a_directory_is_migrated_to_shared_storage(
    shared: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    async with run_hosting_proxy(old) as world:
        for built in (WHEEL, SOURCE):
            assert (await world.upload(built)).status == 200
        assert (await world.manage("acme-app", "yank", {"version": "1.0", "reason": "broken"})).status == 200
        files = await fetch_files(world)
    configuration = write_migration_configuration(tmp_path / "assay.toml", old, shared)

    def migrate(index: str, directory: Path) -> tuple[int, str]:
        capsys.readouterr()
        status = run(["hosted", "migrate", index, str(directory), "--config", str(configuration)])
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    status, shown = await asyncio.to_thread(migrate, "internal", old / "hosted")
    assert (status, shown.splitlines()[-1]) == (0, "2 files copied, 0 files were there before"), shown
    assert f"copied: {WHEEL.filename}" in shown
    status, shown = await asyncio.to_thread(migrate, "internal", old / "hosted")
    assert (status, shown) == (0, "0 files copied, 2 files were there before\n")
    storage = {"directory": str(new / "assay"), "shared": shared}
    async with run_hosting_proxy(new, storage=storage) as world:
        assert await fetch_files(world) == files
        path = f"/files/internal.hosted.invalid/acme-app/{WHEEL.filename}"
        assert (await world.get(path)).body == WHEEL.content
    for index, directory, reason in (
        ("internal", tmp_path, "has no hosted index internal"),
        ("pypi", old / "hosted", "expected a hosted index of the configuration, found pypi"),
    ):
        status, shown = await asyncio.to_thread(migrate, index, directory)
        assert (status, reason in shown) == (2, True), (status, shown)
    [entry] = (old / "hosted").rglob(f"{WHEEL.filename}/entry.json")
    entry.write_text("{")
    status, shown = await asyncio.to_thread(migrate, "internal", old / "hosted")
    assert (status, "has damaged files" in shown) == (3, True), (status, shown)
    configuration = write_migration_configuration(tmp_path / "assay.toml", old, None)
    status, shown = await asyncio.to_thread(migrate, "internal", old / "hosted")
    assert (status, "storage.shared: expected the storage to which" in shown) == (2, True), shown


async def fetch_files(world: HostingProxy) -> list[dict[str, Any]]:
    """Return the entries of a page, without the addresses that contain the port of the proxy."""
    files = (await world.fetch_page("acme-app"))["files"]
    return [{key: value for key, value in entry.items() if key != "provenance"} for entry in files]


def write_migration_configuration(path: Path, old: Path, shared: Mapping[str, Any] | None) -> Path:
    lines = ["[server.auth]", f'tokens = "{old / "tokens"}"']
    if shared is None:
        lines += ["[storage]", f'hosted = "{old / "hosted"}"']
    else:
        lines.append("[storage.shared]")
        lines += [f'{key} = "{value}"' for key, value in shared.items() if isinstance(value, str)]
    lines += ["[[indexes]]", 'name = "internal"', 'kind = "hosted"', 'projects = ["acme-*"]']
    lines += ["[[indexes]]", 'name = "pypi"', 'url = "https://pypi.org/simple/"']
    path.write_text("\n".join(lines))
    return path
