"""What a lockfile pins, as values: files by name or digest, and what of it Assay cannot speak for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from assay.simple.model import NormalizedName, Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """One file that a lockfile lets an installer take; at least one of `filename` and `sha256` is known."""

    project: NormalizedName
    version: Version | None
    filename: str | None
    """None in the formats that have digests only (requirements.txt, Pipfile.lock)."""
    sha256: Sha256 | None
    """None where the lockfile has no SHA-256: then the name alone is pinned, and says so."""
    identities: tuple[Mapping[str, Any], ...] = ()
    """``attestation-identities`` (PEP 751): publishers whose attestations whoever locked has seen."""

    @property
    def label(self) -> str:
        """The file as a person finds it in the lockfile."""
        return self.filename or f"{self.project} {self.version or ''} sha256:{(self.sha256 or '')[:12]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockfile:
    """All that one lockfile says."""

    kind: str
    """``requirements.txt``, ``pylock.toml``, ``uv.lock``, ``poetry.lock``, ``pdm.lock`` or ``Pipfile.lock``."""
    files: tuple[PinnedFile, ...]
    unpinned: tuple[str, ...]
    """Entries that pin no file of an index, each in words: version ranges, missing hashes, repositories, paths."""
