"""Table in docs/troubleshooting.md of what pip, uv and Poetry print for each trouble, and after how long.

The long test runs every cell against `assay serve`; the short ones run those of a file's provenance with pip and uv.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest

from tests.paths import DOCS
from tests.world.clients.consoles import EVERY_INSTALLER, PIP, UV, Installer
from tests.world.clients.installers import ClientResult
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faults import Corrupt, Hang, Reply
from tests.world.index.faulty_server import Fault
from tests.world.proxy.running_proxy import SIMPLE_JSON, run_test_proxy
from tests.world.proxy.serve_process import ServeProcess, files_path, run_serve_process
from tests.world.sigstore.private_sigstore import PrivateSigstore

pytestmark = pytest.mark.clients

POLICY = """
version = 1
withheld = "explain"
[defaults]
min-age = "0 days"
attestations = "if-present"
ratchet = "warn"
[[rules]]
name = "all"
projects = ["*"]
"""
UPLOADED = "2026-06-01T12:00:05Z"
WANTED = "troubled==1.0"
HEADING = "## What installers print, and after how long"
TABLE = (DOCS / "troubleshooting.md").read_text("utf-8").partition(HEADING)[2].partition("\n## ")[0]
CELL = re.compile(r"(?:`(?P<quotation>[^`]+)`|installs), (?P<seconds>\d+) s")
MAX_WAIT_SECONDS = 120
MAX_SLOWNESS, MAX_DELAY_SECONDS = 3, 45
"""Limits on the time of a client on a busy machine: a multiple of the documented seconds, and seconds beyond it."""


@dataclass(frozen=True)
class Cell:
    """Cell of the table."""

    quotation: str | None
    """Output of the client, with ``…`` for other text; None if it installs the file."""
    seconds: int

    def check(self, found: ClientResult) -> None:
        """Check exit status, output and time of a client."""
        assert (found.status == 0) == (self.quotation is None), found.output
        if self.quotation is not None:
            pattern = ".+?".join(re.escape(part) for part in self.quotation.split("…"))
            assert re.search(pattern, found.text), found.output
        assert found.seconds < self.seconds * MAX_SLOWNESS + MAX_DELAY_SECONDS, found.output


def read_table() -> dict[str, dict[str, Cell]]:
    """Return the cells by the trouble and the name of the installer."""
    lines = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in cells] for cells in lines]
    table: dict[str, dict[str, Cell]] = {}
    for trouble, *cells in rows:
        table[trouble] = {}
        for name, cell in zip(head[1:], cells, strict=True):
            found = CELL.search(cell)
            assert found, (trouble, cell)
            table[trouble][name] = Cell(found["quotation"], int(found["seconds"]))
    return table


@dataclass(frozen=True)
class World:
    """`assay serve` in front of a project with a troubled and a good version, and another project."""

    index: Index
    proxy: ServeProcess
    troubled: ListedFile

    async def inject(self, trouble: str) -> None:
        """Let the index have the trouble; a file and its METADATA have it after the file is approved."""
        if trouble.startswith(("File", "METADATA")):
            await self._wait_until_approved()
        self.index.inject_fault(*TROUBLES[trouble](self.index, self.troubled))

    async def _wait_until_approved(self) -> None:
        """Wait until the page offers METADATA for all files, as it does for approved ones."""
        async with asyncio.timeout(MAX_WAIT_SECONDS), aiohttp.ClientSession(headers={"Accept": SIMPLE_JSON}) as session:
            files: list[dict[str, Any]] = []
            while not files or not all(each["core-metadata"] for each in files):
                async with session.get(f"{self.proxy.url}troubled/") as response:
                    files = (await response.json(content_type=None))["files"]

    async def wait_for_status(self, status: int) -> None:
        """Wait until the proxy has answered a request for the troubled file with `status`."""
        path = files_path(self.troubled)
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            while not any(  # noqa: ASYNC110 - the other process has no event to await
                unquote(str(each.get("path"))) == path and each.get("status") == status for each in self.proxy.log
            ):
                await asyncio.sleep(0.05)


def write_root(directory: Path, sigstore: PrivateSigstore) -> str:
    """Write the trusted root into a new directory, and return its path."""
    directory.mkdir()
    path = directory / "root.json"
    path.write_bytes(sigstore.trusted_root())
    return str(path)


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    sigstore = PrivateSigstore(seed=1)
    root = write_root(directory, sigstore)
    async with Index() as index:

        def add(project: str, version: str) -> ListedFile:
            built = wheel(project, version)
            made: dict[str, Any] = {"provenance": sigstore.provenance(built.filename, built.sha256)}
            return index.add(built, upload_time=UPLOADED, **made)

        troubled, _, _ = add("troubled", "1.0"), add("troubled", "0.9"), add("other", "1.0")
        environ = {"ASSAY_TRUST__ROOT": root}
        async with run_serve_process(index, directory, policy=POLICY, environ=environ) as proxy:
            yield World(index, proxy, troubled)


def of_provenance(fault: Fault) -> Callable[[Index, ListedFile], tuple[str, Fault]]:
    return lambda _, listed: (listed.provenance_path, fault)


def of_file(fault: Fault) -> Callable[[Index, ListedFile], tuple[str, Fault]]:
    return lambda _, listed: (listed.path, fault)


def of_metadata(fault: Fault) -> Callable[[Index, ListedFile], tuple[str, Fault]]:
    return lambda _, listed: (f"{listed.path}.metadata", fault)


def of_page(fault: Fault) -> Callable[[Index, ListedFile], tuple[str, Fault]]:
    return lambda index, _: (index.page_path("troubled"), fault)


PENDING = "Provenance: being fetched, and arrives after 15 seconds"
UNAVAILABLE = "Provenance: the index answers 500"
UNUSABLE = "Provenance: the index sends a login page"
TROUBLES = {
    UNAVAILABLE: of_provenance(Reply(500)),
    "Provenance: the index is silent": of_provenance(Hang()),
    UNUSABLE: of_provenance(Reply(200, b"<html>login", {"Content-Type": "text/html"})),
    "File: the index answers 404": of_file(Reply(404)),
    "File: the index answers 503": of_file(Reply(503)),
    "File: the index is silent": of_file(Hang()),
    "File: other bytes than the page says": of_file(Corrupt(5)),
    "METADATA: the index answers 404": of_metadata(Reply(404)),
    "METADATA: the index is silent": of_metadata(Hang()),
    "METADATA: other bytes than the page says": of_metadata(Corrupt(5)),
    "Page: the index answers 503": of_page(Reply(503)),
    "Page: the index is silent": of_page(Hang()),
    "Page: the index sends broken JSON": of_page(Reply(200, b"{", {"Content-Type": SIMPLE_JSON})),
    "Page: the index answers 403": of_page(Reply(403)),
}
DOWN = "Page: the index is down"


async def install_beside(installer: Installer, made: World, directory: Path) -> ClientResult:
    """Install the troubled version, and meanwhile the other project, which succeeds; return the first result."""
    found, other = await asyncio.gather(
        installer.install(made.proxy.url, WANTED, directory / "troubled"),
        installer.install(made.proxy.url, "other", directory / "other"),
    )
    assert other.status == 0, other.output
    return found


async def check_cell(directory: Path, installer: Installer, trouble: str) -> None:
    async with world(directory / "proxy") as made:
        await made.inject(trouble)
        found = await install_beside(installer, made, directory / "client")
        read_table()[trouble][installer.name.split()[0]].check(found)


def test_the_table_has_a_row_for_each_trouble() -> None:
    table = read_table()
    assert set(table) == {PENDING, DOWN, *TROUBLES}
    assert {name for cells in table.values() for name in cells} == {"pip", "uv", "Poetry"}


@pytest.mark.parametrize(("installer", "trouble"), [(PIP, UNAVAILABLE), (UV, UNUSABLE)], ids=["pip", "uv"])
async def test_pip_and_uv_print_why_a_file_has_no_provenance(
    tmp_path: Path, installer: Installer, trouble: str
) -> None:
    await check_cell(tmp_path, installer, trouble)


async def test_pip_and_uv_wait_for_provenance_that_is_being_fetched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "assay")
    sigstore, built = PrivateSigstore(seed=1), wheel("troubled", "1.0")
    patience = timedelta(seconds=0.5)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore, patience=patience) as proxy,
    ):
        provenance = sigstore.provenance(built.filename, built.sha256)
        stall = index.stall(index.add(built, provenance=provenance, upload_time=UPLOADED).provenance_path)
        installing = [asyncio.create_task(each.install(proxy.url, WANTED, tmp_path / each.name)) for each in (PIP, UV)]
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            while not any(  # noqa: ASYNC110 - a log has no event to await
                getattr(record, "fields", {}).get("status") == HTTPStatus.SERVICE_UNAVAILABLE
                for record in caplog.records
            ):
                await asyncio.sleep(0.05)
        stall.release.set()
        for found in await asyncio.gather(*installing):
            assert found.status == 0, found.output


@pytest.mark.long
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("installer", EVERY_INSTALLER)
async def test_each_installer_prints_what_the_table_says(tmp_path: Path, installer: Installer, trouble: str) -> None:
    await check_cell(tmp_path, installer, trouble)


@pytest.mark.long
@pytest.mark.parametrize("installer", EVERY_INSTALLER)
async def test_each_installer_waits_for_provenance_that_is_being_fetched(tmp_path: Path, installer: Installer) -> None:
    async with world(tmp_path / "proxy") as made:
        stall = made.index.stall(made.troubled.provenance_path)
        installing = asyncio.create_task(install_beside(installer, made, tmp_path / "client"))
        await made.wait_for_status(503)
        stall.release.set()
        read_table()[PENDING][installer.name.split()[0]].check(await installing)


@pytest.mark.long
@pytest.mark.parametrize("installer", EVERY_INSTALLER)
async def test_while_the_index_is_down_each_installer_fails_except_for_cached_projects(
    tmp_path: Path, installer: Installer
) -> None:
    async with world(tmp_path / "proxy") as made:
        cached = await installer.install(made.proxy.url, "other", tmp_path / "before")
        assert cached.status == 0, cached.output
        await made.index.down()
        found = await install_beside(installer, made, tmp_path / "client")
        await made.index.up()
        read_table()[DOWN][installer.name.split()[0]].check(found)
