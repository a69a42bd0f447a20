"""Limits on archives, and the rules for the paths of their members. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from assay.errors import UploadRefusedError

CHUNK_BYTES: Final = 256 * 1024
"""Number of bytes that are read or decompressed at once."""
MAX_PATH_BYTES: Final = 1024
MAX_METADATA_BYTES: Final = 4 * 2**20
"""Maximum size of METADATA, PKG-INFO or WHEEL, in bytes."""
MAX_RECORD_BYTES: Final = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """Limits on the contents of an archive."""

    entries: int = 100_000
    """Maximum number of members."""
    ratio: int = 50
    """Maximum ratio of the expanded size to the size of the archive, beyond `free_bytes`."""
    free_bytes: int = 64 * 2**20
    """Expanded size in bytes to which the ratio does not apply."""
    path_bytes: int = 16 * 2**20
    """Maximum total length of the members' paths, in bytes."""

    def get_max_bytes(self, archive_bytes: int) -> int:
        """Return the maximum expanded size of an archive of `archive_bytes` bytes."""
        return self.free_bytes + self.ratio * archive_bytes


def refuse(message: str) -> UploadRefusedError:
    """Return the error for an archive that is refused."""
    return UploadRefusedError(f"invalid archive: {message}")


class MemberPaths:
    """Paths of the members seen so far. It counts them and refuses unsafe and repeated paths."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self.kinds: dict[str, str] = {}
        """Kind of each member by its path without a trailing slash: ``file``, ``directory`` or ``link``."""

    def add(self, path: str, kind: str) -> str:
        """Check and add a path; return it without a trailing slash.

        Raises:
            UploadRefusedError: the path is unsafe or repeated, or there are too many members.
        """
        bare = path.removesuffix("/") if kind == "directory" else path
        check_path(bare)
        self._bytes += len(bare)
        if len(self.kinds) >= self._limits.entries or self._bytes > self._limits.path_bytes:
            raise refuse(f"more than {self._limits.entries} members, or paths that are too long together")
        if bare in self.kinds:
            raise refuse(f"two members have the path {_quote(bare)}")
        self.kinds[bare] = kind
        return bare

    def check_parents(self) -> None:
        """Check that no member is below a file or a link, whatever the order of the members. Call it after the last.

        Raises:
            UploadRefusedError: a member is below a file or a link.
        """
        # NUL sorts before each character of a path, so the members below a path follow it directly.
        ordered = sorted(self.kinds, key=lambda path: path.replace("/", "\0"))
        for path, following in pairwise(ordered):
            if self.kinds[path] != "directory" and following.startswith(f"{path}/"):
                raise refuse(f"the member {_quote(following)} is below the {self.kinds[path]} {_quote(path)}")


def refuse_similar_path(path: str, members: Iterable[str]) -> None:
    """Check that no other member takes the place of a path on a file system that ignores case.

    Raises:
        UploadRefusedError: the path of another member differs only in case.
    """
    if other := next((each for each in members if each != path and each.lower() == path.lower()), None):
        raise refuse(f"the path of the member {_quote(other)} differs from {_quote(path)} only in case")


def check_path(path: str) -> None:
    """Check that a path stays inside the directory into which the archive is extracted, on every system.

    Raises:
        UploadRefusedError: the path is unsafe.
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError as error:
        raise refuse("a member whose path is not UTF-8") from error
    if not path or len(encoded) > MAX_PATH_BYTES or not path.isprintable():
        raise refuse(f"a member with an empty, too long or unprintable path: {_quote(path)}")
    if path.startswith("/") or "\\" in path or ":" in path.partition("/")[0]:
        raise refuse(f"a member with an absolute path or a backslash: {_quote(path)}")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise refuse(f"a member whose path leaves its directory or is not normalized: {_quote(path)}")


def _quote(text: str) -> str:
    return ascii(text if len(text) <= 80 else f"{text[:80]}...")  # noqa: PLR2004 - length of a quotation
