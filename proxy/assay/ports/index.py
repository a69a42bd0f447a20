"""An index as the packages above `upstream` see it. Pure: protocols and values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assay.indexes import IndexSettings
from assay.simple.model import NormalizedName, Project

ProjectKey = tuple[str, NormalizedName]
"""(index, project)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What makes a request conditional (RFC 9110, 13.1)."""

    etag: str | None = None
    last_modified: str | None = None

    def to_headers(self) -> dict[str, str]:
        """As request headers."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPage:
    """A project as its index lists it, and how far that can be relied on."""

    index: IndexSettings
    project: Project
    content_digest: str
    """Digest of the index's bytes and of the address they came from: a page of the same version is the same page."""
    confirmed_at: datetime
    """When the index last confirmed it."""
    validators: Validators
    is_stale: bool = False
    """The index is down and this is older than it should be."""
    is_absent: bool = False
    """The index owns the name and has no such project: empty, and nobody else is asked."""
