"""Storage directory as a whole: ownership and permissions, its lock, and its removal while it is in use."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from assay.errors import LedgerError, StorageError, StorageInUseError
from assay.ports import HistoryChanges
from assay.store.directory import StorageDirectory, open_ledger
from assay.store.factory import copy_storage
from assay.store.settings import StorageSettings
from tests.contract.blobs_contract import content_of, digest
from tests.contract.ledger_contract import learn
from tests.paths import ROOT
from tests.world.proxy.storage import (
    PROJECT,
    needs_root,
    use,
)

HOLDER = """
import asyncio, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings

async def hold():
    store = await StorageDirectory.open(StorageSettings(directory=Path(sys.argv[1])))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()

asyncio.run(hold())
"""


@pytest.fixture
def hold(settings: StorageSettings) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    held: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(settings.directory)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        held.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        return holder

    yield begin
    for holder in held:
        holder.kill()
        holder.communicate()


async def test_everything_in_it_is_for_its_owner_alone(store: StorageDirectory, settings: StorageSettings) -> None:
    await use(store)
    partial = await store.blobs.create_partial()
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in settings.directory.rglob("*")}
    assert stat.S_IMODE(settings.directory.stat().st_mode) == 0o700
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    await partial.discard()


async def test_a_directory_of_ours_that_others_could_read_is_closed_to_them(settings: StorageSettings) -> None:
    settings.directory.mkdir(mode=0o755)
    store = await StorageDirectory.open(settings)
    assert stat.S_IMODE(settings.directory.stat().st_mode) == 0o700
    await store.close()


async def test_what_was_kept_is_there_after_closing_and_opening(settings: StorageSettings) -> None:
    first = await StorageDirectory.open(settings)
    await use(first)
    await first.close()
    await first.close()
    second = await StorageDirectory.open(settings)
    assert await content_of(second.blobs, digest(b"abc")) == b"abc"
    assert await second.records.get("key") == b"value"
    assert (await second.ledger.get_history("pypi", PROJECT)).serial == 1
    await second.close()


async def test_a_closed_store_refuses_everything_and_breaks_nothing(settings: StorageSettings) -> None:
    store = await StorageDirectory.open(settings)
    await store.close()
    for attempt in (store.blobs.create_partial(), store.blobs.open(digest(b"abc")), store.records.get("a")):
        with pytest.raises(StorageError, match="is closed"):
            await attempt
    with pytest.raises(StorageError, match="is closed"):
        await store.ledger.get_history("pypi", PROJECT)


async def test_closing_removes_what_is_unfinished(settings: StorageSettings) -> None:
    store = await StorageDirectory.open(settings)
    partial = await store.blobs.create_partial()
    await partial.append(b"abc")
    assert len(list((settings.directory / "blobs/unfinished").iterdir())) == 1
    await store.close()
    assert list((settings.directory / "blobs/unfinished").iterdir()) == []


async def test_a_second_process_is_refused_with_the_first_ones_id(
    settings: StorageSettings, hold: Callable[[], subprocess.Popen[str]]
) -> None:
    holder = hold()
    with pytest.raises(StorageInUseError, match=rf"in use by process {holder.pid};"):
        await StorageDirectory.open(settings)
    holder.communicate("")
    store = await StorageDirectory.open(settings)
    await store.close()


async def test_a_second_opening_in_the_same_process_is_refused_too(
    store: StorageDirectory, settings: StorageSettings
) -> None:
    with pytest.raises(StorageInUseError, match=rf"in use by process {os.getpid()};"):
        await StorageDirectory.open(settings)
    await use(store)


async def test_the_ledger_can_be_exported_while_another_has_the_directory(
    store: StorageDirectory, settings: StorageSettings
) -> None:
    await use(store)
    ledger = await open_ledger(settings)
    assert [line async for line in ledger.export()] == [line async for line in store.ledger.export()]
    await learn(store.ledger, "pypi", PROJECT, HistoryChanges(serial=2))
    with pytest.raises(LedgerError, match="readonly"):
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=3))
    assert (await ledger.get_history("pypi", PROJECT)).serial == 2
    await ledger.close()


async def test_reading_a_ledger_that_is_not_there_makes_none(settings: StorageSettings) -> None:
    with pytest.raises(LedgerError, match="is missing"):
        await open_ledger(settings)
    assert not settings.directory.exists()


async def test_a_killed_process_leaves_the_directory_free(
    settings: StorageSettings, hold: Callable[[], subprocess.Popen[str]]
) -> None:
    holder = hold()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    store = await StorageDirectory.open(settings)
    await store.close()


async def test_a_failed_opening_lets_go_of_the_directory(settings: StorageSettings) -> None:
    store = await StorageDirectory.open(settings)
    await store.close()
    ledger = settings.directory / "ledger" / "ledger.db"
    kept = ledger.read_bytes()
    ledger.write_bytes(b"garbage" * 1000)
    with pytest.raises(LedgerError):
        await StorageDirectory.open(settings)
    ledger.write_bytes(kept)
    store = await StorageDirectory.open(settings)
    await store.close()


async def test_another_layout_is_refused(settings: StorageSettings) -> None:
    store = await StorageDirectory.open(settings)
    await store.close()
    (settings.directory / "format").write_text("2\n")
    with pytest.raises(StorageError, match="expected layout '1', found '2'"):
        await StorageDirectory.open(settings)


async def test_a_lock_that_is_a_symbolic_link_is_not_followed(settings: StorageSettings, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    settings.directory.mkdir()
    (settings.directory / "lock").symlink_to(victim)
    with pytest.raises(StorageError, match="cannot use the storage directory"):
        await StorageDirectory.open(settings)
    assert victim.read_text() == "precious"


async def test_what_is_no_directory_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot use the storage directory .*: Not a directory"):
        await StorageDirectory.open(StorageSettings(directory=tmp_path / "file" / "storage"))
    with pytest.raises(StorageError, match="cannot use the storage directory /proc/none/storage"):
        await StorageDirectory.open(StorageSettings(directory=Path("/proc/none/storage")))


def _remove_all_but_cached_files(directory: Path) -> None:
    shutil.rmtree(directory / "ledger")
    (directory / "format").unlink()


def _remove_the_contents_of_the_ledger(directory: Path) -> None:
    for path in (directory / "ledger").iterdir():
        path.unlink()
    (directory / "format").unlink()


def _keep_empty_parts(directory: Path) -> None:
    shutil.rmtree(directory)
    for name in ("blobs", "records"):
        (directory / name).mkdir(parents=True)


def _remove_the_ledger(directory: Path) -> None:
    shutil.rmtree(directory / "ledger")


def _empty_the_ledger(directory: Path) -> None:
    (directory / "ledger" / "ledger.db").write_bytes(b"")


_LOSSES = (
    _remove_all_but_cached_files,
    _remove_the_contents_of_the_ledger,
    _keep_empty_parts,
    _remove_the_ledger,
    _empty_the_ledger,
)


@pytest.mark.parametrize("lose", _LOSSES)
async def test_a_directory_with_files_and_without_a_ledger_is_refused(
    settings: StorageSettings, tmp_path: Path, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    store = await StorageDirectory.open(settings)
    await use(store)
    await store.close()
    lose(settings.directory)
    for _ in range(2):  # a refused start does not make the next one pass
        with pytest.raises(LedgerError, match=r"has been used, but its ledger .*: assay serve --new-ledger"):
            await StorageDirectory.open(settings)
        with pytest.raises(LedgerError, match="has been used, but its ledger"):
            await copy_storage(settings, tmp_path / "copy")
    store = await StorageDirectory.open(settings, new_ledger=True)
    assert await store.ledger.list_projects() == []
    await use(store)
    await store.close()
    store = await StorageDirectory.open(settings)
    assert (await store.ledger.get_history("pypi", PROJECT)).serial == 1
    await store.close()
    assert [each.message for each in caplog.records if each.message.startswith("new-ledger")] == ["new-ledger"]


async def test_a_first_start_that_was_interrupted_is_repeated(settings: StorageSettings) -> None:
    (settings.directory / "ledger").mkdir(parents=True)
    (settings.directory / "blobs" / "unfinished").mkdir(parents=True)
    store = await StorageDirectory.open(settings)
    await use(store)
    await store.close()


async def test_a_ledger_that_exists_is_kept_whatever_the_option_says(
    settings: StorageSettings, caplog: pytest.LogCaptureFixture
) -> None:
    store = await StorageDirectory.open(settings)
    await use(store)
    await store.close()
    store = await StorageDirectory.open(settings, new_ledger=True)
    assert (await store.ledger.get_history("pypi", PROJECT)).serial == 1
    await store.close()
    assert [each.message for each in caplog.records if each.message.startswith("new-ledger")] == ["new-ledger-ignored"]
    (settings.directory / "ledger" / "ledger.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(LedgerError, match="file is not a database"):
        await StorageDirectory.open(settings, new_ledger=True)


@needs_root
async def test_a_directory_of_another_user_is_refused(settings: StorageSettings) -> None:
    settings.directory.mkdir()
    os.chown(settings.directory, 65534, -1)
    with pytest.raises(StorageError, match="belongs to user 65534; Assay runs as 0"):
        await StorageDirectory.open(settings)


@needs_root
async def test_a_directory_that_everybody_may_write_to_is_refused(
    settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    settings.directory.mkdir()
    settings.directory.chmod(0o777)
    with pytest.raises(StorageError, match="all users may write"):
        await StorageDirectory.open(settings)
    settings.directory.chmod(0o2770)  # like a Kubernetes volume, which root owns and the process's group may write
    store = await StorageDirectory.open(settings)
    await store.close()


@needs_root
def test_a_directory_that_cannot_be_written_is_refused_in_words() -> None:
    # The child drops its privileges after its imports, because only root may be able to read the virtual environment.
    drop = "import os\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
    nobody = HOLDER.replace("asyncio.run", drop + "asyncio.run")
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        tried = subprocess.run(
            [sys.executable, "-c", nobody, directory],
            input="",
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert f"StorageError: cannot use the storage directory {directory}: Permission denied" in tried.stderr
