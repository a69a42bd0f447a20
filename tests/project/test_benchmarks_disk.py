"""The search of the benchmarks for a directory on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.disk import find_disk


@pytest.mark.parametrize(("kind", "is_disk"), [("ext4", True), ("overlay", True), ("tmpfs", False), ("ramfs", False)])
def test_the_disk_is_the_first_directory_whose_file_system_is_not_in_memory(
    tmp_path: Path, kind: str, *, is_disk: bool
) -> None:
    first, second = tmp_path / "with space" / "inner", tmp_path / "second"
    first.mkdir(parents=True)
    second.mkdir()
    mounts = tmp_path / "mounts"
    point = str(first.parent).replace(" ", r"\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nsomething {point} {kind} rw,nosuid 0 0\ntmpfs {second} tmpfs rw 0 0\n")

    missing = tmp_path / "missing"
    assert find_disk([missing, first, tmp_path], mounts) == (first if is_disk else tmp_path)
    assert find_disk([missing, second], mounts) is None
