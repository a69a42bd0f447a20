"""The `[storage]` table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from platformdirs import user_cache_path
from pydantic import Field

from assay.settings import Settings
from assay.units import Size

_MEBIBYTE = 2**20


class StorageSettings(Settings):
    """Where things are kept, and how much of them."""

    directory: Path = Field(default_factory=lambda: user_cache_path("assay", appauthor=False))
    """Belongs to one running proxy, which makes it with mode 0700. Left out: ``assay`` in the user's cache directory
    (``~/.cache`` on Linux)."""
    blobs: Annotated[Size, Field(ge=_MEBIBYTE)] = 50 * 2**30
    """Bytes of distributions, oldest-used first out."""
    records: Annotated[Size, Field(ge=_MEBIBYTE)] = 2 * 2**30
    """Bytes of pages, evidence and other remembered facts, least recently stored first out. The ledger is beside it,
    and unbounded: it is state, not cache."""
