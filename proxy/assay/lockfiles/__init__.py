"""Readers of lockfiles: which files a lockfile allows an installer to use. Pure: they judge and fetch nothing.

A lockfile is untrusted input. For any content, `read_lockfile` returns a `Lockfile` or raises `ConfigurationError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from assay.errors import ConfigurationError
from assay.lockfiles.model import (
    EMPTY,
    MAX_LOCKFILE_CHARACTERS,
    IncludedFile,
    IncludeReader,
    Lockfile,
    PinnedFile,
    ReadResult,
)
from assay.lockfiles.pylock import read_pylock
from assay.lockfiles.requirements import FILENAME_PATTERN, read_requirements
from assay.lockfiles.tools import read_pdm, read_pipfile, read_poetry, read_uv

__all__ = ["IncludeReader", "IncludedFile", "Lockfile", "PinnedFile", "read_lockfile"]

LockfileReader = Callable[[str, str], ReadResult]
_READERS: Final[tuple[tuple[str, str, LockfileReader], ...]] = (
    ("uv.lock", r"uv\.lock", read_uv),
    ("poetry.lock", r"poetry\.lock", read_poetry),
    ("pdm.lock", r"pdm(\.[^.]+)*\.lock", read_pdm),
    ("Pipfile.lock", r"Pipfile\.lock", read_pipfile),
    ("pylock.toml", r"pylock(\.[^.]+)?\.toml", read_pylock),  # PEP 751, "File Name"
    ("requirements.txt", FILENAME_PATTERN, read_requirements),
)


def read_lockfile(text: str, source: str, read_included: IncludeReader | None = None) -> Lockfile:
    """Parse the text of a lockfile.

    Args:
        text: content of the lockfile; untrusted.
        source: path of the lockfile. Its filename decides the format.
        read_included: reads a file that a requirements file includes. None: such files are not read, and the lines that
            include them are in `Lockfile.unpinned`.

    Raises:
        ConfigurationError: the filename is not that of a known format, the text does not have the format, or an
            included file is unusable.
    """
    basename = source.replace("\\", "/").rpartition("/")[2]
    for kind, pattern, reader in _READERS:
        if re.fullmatch(pattern, basename):
            if len(text) > MAX_LOCKFILE_CHARACTERS:
                raise ConfigurationError(f"{source}: longer than {MAX_LOCKFILE_CHARACTERS} characters")
            if reader is read_requirements:
                return _build_lockfile(kind, read_requirements(text, source, read_included))
            return _build_lockfile(kind, reader(text, source))
    names = ", ".join(kind for kind, _, _ in _READERS)
    raise ConfigurationError(f"{source}: expected the name of a lockfile ({names}), found {basename!r}")


def _build_lockfile(kind: str, found: ReadResult) -> Lockfile:
    """Return the lockfile without duplicates. Report files without a SHA-256, and a lockfile without entries."""
    once = {(each.project, each.version, each.filename, each.sha256): each for each in found.files}
    unpinned = [
        *found.unpinned,
        *(
            f"{each.filename}: has no SHA-256, so any file with this name matches"
            for each in once.values()
            if each.sha256 is None
        ),
    ]
    if not once and not unpinned:
        unpinned = [EMPTY]
    return Lockfile(
        kind=kind, files=tuple(once.values()), unpinned=tuple(dict.fromkeys(unpinned)), included=found.included
    )
