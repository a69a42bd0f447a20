"""What a lockfile pins, read from its text: which files an installer may take. Pure; judges nothing, fetches nothing.

A lockfile is somebody else's document: whatever it holds, reading it ends in a `Lockfile` or a `ConfigurationError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from assay.errors import ConfigurationError
from assay.lockfiles.model import Lockfile, PinnedFile
from assay.lockfiles.pylock import read_pylock
from assay.lockfiles.requirements import read_requirements
from assay.lockfiles.tools import read_pdm, read_pipfile, read_poetry, read_uv

__all__ = ["Lockfile", "PinnedFile", "read_lockfile"]

LockfileReader = Callable[[str, str], tuple[Iterable[PinnedFile], Iterable[str]]]
MAX_LOCKFILE_CHARACTERS: Final = 64 * 2**20
"""Characters. The largest that projects have are some 10 MB."""

_READERS: Final[tuple[tuple[str, str, LockfileReader], ...]] = (
    ("uv.lock", r"uv\.lock", read_uv),
    ("poetry.lock", r"poetry\.lock", read_poetry),
    ("pdm.lock", r"pdm(\.[^.]+)*\.lock", read_pdm),
    ("Pipfile.lock", r"Pipfile\.lock", read_pipfile),
    ("pylock.toml", r"pylock(\.[^.]+)?\.toml", read_pylock),  # PEP 751, "File Name"
    ("requirements.txt", r".+\.(txt|in)", read_requirements),
)


def read_lockfile(text: str, source: str) -> Lockfile:
    """What `text` pins; `source` is its path, whose last part says which kind it is.

    Raises:
        ConfigurationError: no kind that is known, or not what its name says.
    """
    basename = source.replace("\\", "/").rpartition("/")[2]
    for kind, pattern, reader in _READERS:
        if re.fullmatch(pattern, basename):
            if len(text) > MAX_LOCKFILE_CHARACTERS:
                raise ConfigurationError(f"{source}: larger than any lockfile")
            files, loose = reader(text, source)
            once = {(each.project, each.version, each.filename, each.sha256): each for each in files}
            return Lockfile(kind=kind, files=tuple(once.values()), unpinned=tuple(dict.fromkeys(loose)))
    names = ", ".join(kind for kind, _, _ in _READERS)
    raise ConfigurationError(f"{source}: expected the name of a lockfile ({names}), found {basename!r}")
