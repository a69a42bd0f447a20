"""Chunks are written completely and in order, even if the system writes only a few bytes at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.store.blob_directory import write_all


@given(pieces=st.lists(st.binary(max_size=40), max_size=1200), most=st.integers(1, 60))
def test_all_pieces_arrive_in_order_however_little_is_taken_at_once(
    pieces: list[bytes], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "file"
    writev = os.writev

    def reluctant(descriptor: int, offered: Sequence[memoryview]) -> int:
        assert len(offered) <= 1024
        return writev(descriptor, [b"".join(offered)[:most]])

    with pytest.MonkeyPatch.context() as patched, path.open("wb") as file:
        patched.setattr("assay.store.blob_directory.os.writev", reluctant)
        write_all(file.fileno(), [memoryview(piece) for piece in pieces])
    assert path.read_bytes() == b"".join(pieces)


def test_a_disk_that_refuses_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("assay.store.blob_directory.os.writev", full)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="No space"):
        write_all(file.fileno(), [memoryview(b"abc")])
