"""Settings of the `[storage]` table."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from platformdirs import user_cache_path
from pydantic import AfterValidator, Field, model_validator

from assay.settings import Settings, make_key_error
from assay.store.shared.settings import SharedSettings
from assay.units import Duration, Size

__all__ = ["DatabaseLogin", "SharedSettings", "StorageSettings"]

_MEBIBYTE = 2**20
_MIN_VERIFY_INTERVAL = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLogin:
    """Role of the operator for the shared database, which a command uses instead of the role of the service."""

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    """Password; None: that of the URL, if it has one."""


def _check_verify_interval(interval: timedelta) -> timedelta:
    """Return the interval.

    Raises:
        ValueError: the interval is shorter than an hour and not 0.
    """
    if interval and interval < _MIN_VERIFY_INTERVAL:
        raise ValueError('at least "1 hour", or "0 days" to switch it off')
    return interval


class StorageSettings(Settings):
    """Directory and sizes of the storage."""

    directory: Path = Field(default_factory=lambda: user_cache_path("assay", appauthor=False))
    """Storage directory. Only one running proxy may use it. The proxy creates it with mode 0700. If omitted: ``assay``
    in the user's cache directory (``~/.cache`` on Linux)."""
    hosted: Path | None = None
    """Directory of the files of hosted indexes. They are state and are never evicted: back the directory up. Only one
    running proxy may use it. It is required for an index of the kind ``hosted``, except with `shared`, where these
    files are in the shared storage."""
    blobs: Annotated[Size, Field(ge=_MEBIBYTE)] = 50 * 2**30
    """Maximum size of all cached distributions. The least recently used file is evicted first."""
    records: Annotated[Size, Field(ge=_MEBIBYTE)] = 2 * 2**30
    """Maximum size of cached pages, evidence and other facts. The least recently stored record is evicted first. The
    limit does not include the ledger, which is state and not cache, and is never evicted."""
    verify_every: Annotated[Duration, AfterValidator(_check_verify_interval)] = timedelta(days=7)
    """Interval of the background verification: at least an hour, or ``"0 days"`` for no such verification. In each
    interval, every cached distribution is read once and compared with its digest. This finds bytes that the disk has
    changed. In any case, each distribution is hashed at its first use after a start, and again after its file was
    written to."""
    shared: SharedSettings | None = None
    """Storage that several replicas share. None: this directory has everything, for one proxy."""

    @model_validator(mode="after")
    def _check_hosted(self) -> Self:
        if self.shared is not None and self.hosted is not None:
            expected = "no value with [storage.shared], where hosted files are in the shared storage"
            raise make_key_error("hosted", expected=expected, found=str(self.hosted))
        return self
