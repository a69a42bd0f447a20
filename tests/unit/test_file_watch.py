"""Files are loaded by path when they change; invalid contents have no effect and are reported once for each change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from assay import file_watch
from assay.errors import ConfigurationError
from assay.file_watch import FileState, FileWatch, SettingWatch, reload_on_change


class Reader:
    """Reader of files that must contain numbers."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.loaded = list[int]()
        self.tried = 0
        self.fault: Exception | None = None

    def __call__(self) -> None:
        self.tried += 1
        if self.fault is not None:
            raise self.fault
        try:
            self.loaded.append(sum(int(path.read_text()) for path in self.paths))
        except (ValueError, OSError) as error:
            raise ConfigurationError(f"setting: {error}") from error


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.write_text("2")
    return one, other


async def test_files_are_loaded_at_first_and_then_when_either_changes(paths: tuple[Path, Path]) -> None:
    reader = Reader(*paths)
    watch = SettingWatch("setting", paths, reader)
    assert await watch.reload_if_changed()
    assert not await watch.reload_if_changed()
    paths[1].write_text("20")
    assert await watch.reload_if_changed()
    assert reader.loaded == [3, 21]


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_text("none"), lambda path: path.unlink()], ids=["nonsense", "gone"]
)
async def test_bad_files_are_refused_once_and_good_ones_that_come_back_are_loaded_again(
    paths: tuple[Path, Path], spoil: Callable[[Path], object]
) -> None:
    reader = Reader(*paths)
    watch = SettingWatch("setting", paths, reader)
    await watch.reload_if_changed()
    spoil(paths[0])
    with pytest.raises(ConfigurationError, match="setting"):
        await watch.reload_if_changed()
    assert not await watch.reload_if_changed(), "as bad as before"
    assert (reader.loaded, reader.tried) == ([3], 2)
    paths[0].write_text("1")
    assert await watch.reload_if_changed()
    assert reader.loaded == [3, 3]


async def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    link = tmp_path / "link"
    link.symlink_to("a")
    reader = Reader(link)
    watch = SettingWatch("setting", [link], reader)
    await watch.reload_if_changed()
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").rename(link)
    assert await watch.reload_if_changed()
    assert reader.loaded == [1, 2]


class Slow(FileWatch[bytes]):
    """Watch that waits until files stay unchanged, and records the calls of its hooks."""

    def __init__(self, path: Path, between: Callable[[], object] = lambda: None) -> None:
        super().__init__([path], poll_interval_seconds=60, settle_seconds=0)
        self.applied = list[bytes]()
        self.checks = list[tuple[bool, bool]]()
        self.checked = asyncio.Event()
        self._between = between

    def _read(self) -> FileState:
        state = super()._read()
        self._between()
        return state

    def _load(self, state: FileState) -> bytes:
        (content,) = state.contents
        assert isinstance(content, bytes)
        return content

    def _apply(self, loaded: bytes) -> bool:
        self.applied.append(loaded)
        return True

    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:
        self.checks.append((has_changed, requested))
        self.checked.set()

    def _on_refused(self, error: ConfigurationError) -> None:
        raise error

    def _on_fault(self, error: Exception) -> None:
        raise error


async def test_a_file_that_is_still_being_written_is_loaded_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("half")
    watch = Slow(path, lambda: path.write_text("whole"))
    assert not await watch.reload_if_changed()
    assert await watch.reload_if_changed()
    assert watch.applied == [b"whole"]


async def test_a_requested_check_comes_at_once_and_loads_what_has_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    watch = Slow(path)
    await watch.reload_if_changed()
    running = asyncio.create_task(watch.run())
    watch.request_check()
    async with asyncio.timeout(10):
        await watch.checked.wait()
    running.cancel()
    assert (watch.applied, watch.checks) == ([b"text", b"text"], [(True, True)])


async def test_the_watch_reports_what_it_finds_survives_faults_and_ends_with_its_block(
    paths: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(file_watch, "POLL_INTERVAL_SECONDS", 0.01)

    async def reported(name: str) -> None:
        async with asyncio.timeout(10):
            while name not in [record.getMessage() for record in caplog.records]:  # noqa: ASYNC110 - no event to await
                await asyncio.sleep(0.01)

    reader = Reader(*paths)
    async with reload_on_change(SettingWatch("setting", paths, reader)):
        assert reader.loaded == [3]
        paths[0].write_text("none")
        await reported("file-invalid")
        reader.fault = RuntimeError("a fault of Assay")
        paths[0].write_text("4")
        await reported("file-watch-failed")
        reader.fault = None
        paths[0].write_text("5")
        await reported("file-reloaded")
    tried = reader.tried
    paths[0].write_text("6")
    await asyncio.sleep(0.05)
    assert (reader.loaded, reader.tried) == ([3, 7], tried)


async def test_files_that_cannot_be_used_at_first_are_an_error(paths: tuple[Path, Path]) -> None:
    paths[0].unlink()
    with pytest.raises(ConfigurationError):
        async with reload_on_change(SettingWatch("setting", paths, Reader(*paths))):
            pass
    async with reload_on_change(None):
        pass
