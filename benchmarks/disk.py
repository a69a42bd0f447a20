"""Directory on a disk, for measurements that must not take place in memory. Linux only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_CANDIDATES = (Path("/var/tmp"), Path())  # noqa: S108 - used only as the parent of a new directory
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def find_disk(candidates: Sequence[Path] = _CANDIDATES, mounts: Path = Path("/proc/self/mounts")) -> Path | None:
    """Return the first existing directory whose file system is not in memory; None if all are in memory.

    `mounts` has the format of proc(5): device, mount point and type of each file system, separated by spaces. A space
    in a mount point is written as ``\\040``.
    """
    lines = [line.split() for line in mounts.read_text().splitlines()]
    types = {point.replace("\\040", " "): kind for _, point, kind, *_ in lines}  # a later mount hides an earlier one
    for candidate in candidates:
        if candidate.is_dir():
            path = candidate.resolve()
            mounted = next((str(each) for each in (path, *path.parents) if str(each) in types), None)
            if mounted is not None and types[mounted] not in _IN_MEMORY:
                return path
    return None
