"""A page with a verdict on each of its files, and everything that the verdicts depend on.

Owns the question "does this still hold?" and the rendered forms of one judged page. A rendered page is kept only here,
with what it depends on (docs/architecture.md, "Promises", 6): the page's version, policy, trust roots, ledger, origin
and the clock.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

from assay.caching.lru import Lru
from assay.policy.verdict import Approved, Withheld
from assay.ports import IndexPage
from assay.render import PageLinks, PageListing, render_project
from assay.simple.coding import encode_content
from assay.simple.model import NormalizedName
from assay.simple.negotiate import PageFormat

_MAX_CACHED_FILES = 30_000
"""Of all judged pages together: with what is rendered of them about 3 kB each."""
_MAX_RENDERINGS = 8
"""Rendered forms kept of one page: a client that invents origins evicts its own."""
_MAX_PREPARED = 32
"""Prepared responses kept with a page: clients of one kind send the same request headers."""
_MAX_STALE_WHILE_REVALIDATE = timedelta(minutes=1)
_OFFLOAD_MIN_FILES = 200
"""Files of a page from which on rendering and compressing leave the event loop."""


Dependencies: TypeAlias = Mapping[str, str | int]
"""What verdicts depend on besides the page and the clock, by name: ``policy``, ``roots``, ``wheels``, ``ledger``."""
VariantKey: TypeAlias = tuple[str | None, ...]
"""Everything in a request that selects the variant of a page (RFC 9110, 12.5.5): format, two headers and the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """Bytes to send, and the strong validator that belongs to exactly these."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPage:
    """A rendered page with its header fields: the same for all requests for one variant."""

    rendered: RenderedPage
    headers: Mapping[str, str]
    """Of a response with the page."""
    not_modified_headers: Mapping[str, str]
    """Of a response to a client that has the page (RFC 9110, 15.4.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPage:
    """The verdicts on one page at one instant, under one policy and one set of trust roots."""

    page: IndexPage
    dependencies: Dependencies
    """What the verdicts depend on besides the page and the clock, as it was when they were made."""
    has_failed_evidence: bool
    """Some evidence is forged, or missing though promised: it is fetched again whenever the page is renewed, so that a
    document that was damaged in transit, or missing for an hour, does not withhold its file for ever."""
    listing: PageListing
    by_location: Mapping[str, Approved | Withheld]
    valid_until: datetime | None
    """The next instant at which the clock alone changes a verdict."""
    _renderings: Lru[tuple[PageFormat, str | None, str], RenderedPage] = field(
        default_factory=partial(Lru, max_items=_MAX_RENDERINGS), repr=False, compare=False
    )
    prepared: Lru[VariantKey, PreparedPage] = field(
        default_factory=partial(Lru, max_items=_MAX_PREPARED), repr=False, compare=False
    )
    """Responses that were sent, by variant, to send again."""

    @property
    def policy_digest(self) -> str:
        """Digest of the policy that the verdicts are by."""
        return str(self.dependencies["policy"])

    @property
    def verdicts(self) -> tuple[Approved | Withheld, ...]:
        """All verdicts, in no particular order."""
        return (*self.listing.approved, *self.listing.withheld)

    @property
    def stale_while_revalidate(self) -> timedelta:
        """How long past its freshness the page is served while one renewal runs in the background.

        A page that is asked for more than once a minute never waits for its index; for one that is not, a minute is no
        reason to be late. Nothing for a page that is stale already: what it says of itself must be said again.
        """
        return (
            timedelta(0)
            if self.page.is_stale
            else min(_MAX_STALE_WHILE_REVALIDATE, self.page.index.freshness.page / 10)
        )

    def is_valid(self, dependencies: Dependencies, now: datetime) -> bool:
        """Return whether the verdicts would be the same now, on the same page.

        Args:
            dependencies: as they are now.
            now: UTC.
        """
        return self.dependencies == dependencies and (self.valid_until is None or now < self.valid_until)

    async def render(self, page_format: PageFormat, origin: str | None, coding: str) -> RenderedPage:
        """Return the page as `page_format` in `coding`, provenance addresses under `origin` (no origin: none)."""
        key = (page_format, origin, coding)
        rendered = self._renderings.get(key)
        if rendered is None:
            if len(self.page.project.files) < _OFFLOAD_MIN_FILES:
                rendered = self._render_uncached(page_format, origin, coding)
            else:
                rendered = await asyncio.to_thread(self._render_uncached, page_format, origin, coding)
            self._renderings.put(key, rendered)
        return rendered

    def _render_uncached(self, page_format: PageFormat, origin: str | None, coding: str) -> RenderedPage:
        body = encode_content(
            render_project(self.listing, page_format, PageLinks(files_prefix="../../files/", integrity_base=origin)),
            coding,
        )
        return RenderedPage(body=body, etag=f'"{hashlib.sha256(body).hexdigest()}"')


JudgedPageCache: TypeAlias = Lru[tuple[str, NormalizedName], JudgedPage]
"""Judged pages by view and project, of all views together."""


def create_judged_page_cache(max_files: int = _MAX_CACHED_FILES) -> JudgedPageCache:
    """Return an empty cache that holds pages of `max_files` files together."""
    return JudgedPageCache(max_weight=max_files, weigh=lambda judged: 1 + len(judged.page.project.files))


def index_by_location(verdicts: tuple[Approved | Withheld, ...]) -> dict[str, Approved | Withheld]:
    """Return verdicts by what a request is matched on.

    Entries that share it have one filename: with different digests all are withheld, with one digest the first is
    listed and the others are its duplicates, so the first speaks for all.
    """
    found: dict[str, Approved | Withheld] = {}
    for verdict in verdicts:
        found.setdefault(verdict.file.location, verdict)
    return found
