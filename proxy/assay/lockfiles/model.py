"""Values of a parsed lockfile: its pinned files, and its entries that pin no file of an index. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from packaging.version import Version

from assay.simple.model import NormalizedName, Sha256

MAX_LOCKFILE_CHARACTERS: Final = 64 * 2**20
"""Maximum length in characters of a lockfile and of the files that it includes together. The largest lockfiles of real
projects have about 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """File that a lockfile allows an installer to use. At least one of `filename` and `sha256` is known."""

    project: NormalizedName
    version: Version | None
    filename: str | None
    """Filename. None in formats that have only digests (requirements.txt, Pipfile.lock)."""
    sha256: Sha256 | None
    """Digest. None if the lockfile has no SHA-256 of the file; only the filename is then pinned."""
    identities: tuple[Mapping[str, Any], ...] = ()
    """Publishers of the file that the locking tool has recorded: ``attestation-identities`` (PEP 751)."""

    @property
    def label(self) -> str:
        """Name of the file for messages: the filename, or else project, version and first digits of the digest."""
        return self.filename or f"{self.project} {self.version or ''} sha256:{(self.sha256 or '')[:12]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludedFile:
    """Requirements file that another one includes with ``-r`` or ``-c``."""

    source: str
    """Path of the file, in a form that is the same for each line that includes the file."""
    text: str


IncludeReader: TypeAlias = Callable[[str, str, str], IncludedFile]
"""Reader of an included file. Its arguments are the path in the line, the path of the including file, and the position
of the line for error messages. It raises ConfigurationError if the file cannot be read."""


class ReadResult(NamedTuple):
    """Result of the reader of a format."""

    files: Sequence[PinnedFile]
    unpinned: Sequence[str]
    included: tuple[IncludedFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockfile:
    """Content of one lockfile."""

    kind: str
    """Format: ``requirements.txt``, ``pylock.toml``, ``uv.lock``, ``poetry.lock``, ``pdm.lock`` or ``Pipfile.lock``."""
    files: tuple[PinnedFile, ...]
    unpinned: tuple[str, ...]
    """Descriptions of the entries that do not pin the bytes of a file of an index: version ranges, paths, repositories,
    entries without a SHA-256, and the description `EMPTY` if the lockfile has no entry at all."""
    included: tuple[IncludedFile, ...] = ()
    """Files that the lockfile includes, directly and indirectly."""


EMPTY: Final = "the lockfile names no file"
"""Description in `Lockfile.unpinned` of a lockfile without any entry."""
