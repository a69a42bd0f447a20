"""Tests of changes to a directory of bundles while it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assay.errors import UpstreamUnavailableError
from assay.provenance.sources.files import FilesSource
from assay.provenance.sources.settings import FilesSourceSettings

KEPT, REMOVED = "a" * 64, "b" * 64


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    directory = tmp_path / "reviews"
    directory.mkdir()
    for digest in (KEPT, REMOVED):
        (directory / f"{digest}.jsonl").write_text('{"a": 1}\n')
    return directory


async def read(reviews: Path) -> FilesSource:
    source = FilesSource(FilesSourceSettings(name="reviews", kind="files", path=reviews))
    await source.refresh()
    return source


def change_after_listing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Let the next `os.scandir` list its directory, and then make a change."""
    scandir = os.scandir

    @contextmanager
    def scan_and_change(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        monkeypatch.setattr(os, "scandir", scandir)
        with scandir(path) as entries:
            listed = list(entries)
        change()
        yield iter(listed)

    monkeypatch.setattr(os, "scandir", scan_and_change)


async def test_a_file_that_is_removed_after_its_directory_was_listed_is_absent(
    reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_after_listing(monkeypatch, (reviews / f"{REMOVED}.jsonl").unlink)
    source = await read(reviews)
    assert source.is_absent(REMOVED)
    assert await source.load(REMOVED) is None
    assert await source.load(KEPT) == b'[{"a": 1}]'
    assert source.version == (await read(reviews)).version


async def test_a_link_that_breaks_after_its_directory_was_listed_cannot_be_read(
    reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = reviews.parent / "target"
    target.write_text("{}")
    link = reviews / f"{'c' * 64}.jsonl"
    link.symlink_to(target)
    change_after_listing(monkeypatch, target.unlink)
    source = await read(reviews)
    assert not source.is_absent("c" * 64)
    with pytest.raises(UpstreamUnavailableError, match="No such file"):
        await source.load("c" * 64)


async def test_a_directory_that_moves_away_while_it_is_read_makes_no_file_absent(
    reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_after_listing(monkeypatch, lambda: reviews.rename(reviews.parent / "away"))
    source = await read(reviews)
    assert not source.is_absent(KEPT)
    with pytest.raises(UpstreamUnavailableError, match="No such file"):
        await source.load(KEPT)
