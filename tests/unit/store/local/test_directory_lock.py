"""Lock and layout of a storage directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.errors import ConfigurationError, StorageError, StorageInUseError
from assay.store.local.directory_lock import EMBEDDED_LAYOUT, SHARED_LAYOUT, lock_directory, write_layout


def test_a_new_directory_is_new_until_its_layout_is_written(tmp_path: Path) -> None:
    path = tmp_path / "storage"
    locked = lock_directory(path, SHARED_LAYOUT)
    assert locked.is_new
    write_layout(locked.directory, SHARED_LAYOUT)
    os.close(locked.lock)
    again = lock_directory(path, SHARED_LAYOUT)
    assert not again.is_new
    os.close(again.lock)


def test_a_second_lock_is_refused_and_a_closed_one_is_free(tmp_path: Path) -> None:
    locked = lock_directory(tmp_path / "storage", SHARED_LAYOUT)
    with pytest.raises(StorageInUseError, match=f"in use by process {os.getpid()}"):
        lock_directory(tmp_path / "storage", SHARED_LAYOUT)
    os.close(locked.lock)
    os.close(lock_directory(tmp_path / "storage", SHARED_LAYOUT).lock)


@pytest.mark.parametrize(
    ("found", "wanted", "sentence"),
    [
        (EMBEDDED_LAYOUT, SHARED_LAYOUT, "has an embedded ledger.*assay ledger export FILE.*assay ledger import FILE"),
        (SHARED_LAYOUT, EMBEDDED_LAYOUT, "is the local tier of a shared storage.*set another storage.directory"),
        ("2\n", EMBEDDED_LAYOUT, "expected layout '1', found '2'"),
    ],
)
def test_a_directory_of_another_layout_is_refused_and_stays_free(
    tmp_path: Path, found: str, wanted: str, sentence: str
) -> None:
    write_layout(tmp_path, found)
    with pytest.raises((ConfigurationError, StorageError), match=sentence):
        lock_directory(tmp_path, wanted)
    os.close(lock_directory(tmp_path, found).lock)


def test_a_directory_that_lost_its_layout_but_has_a_ledger_is_refused_for_a_shared_storage(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger.db").write_bytes(b"facts")
    with pytest.raises(ConfigurationError, match="has an embedded ledger"):
        lock_directory(tmp_path, SHARED_LAYOUT)
    locked = lock_directory(tmp_path, EMBEDDED_LAYOUT)
    assert locked.is_new
    os.close(locked.lock)
