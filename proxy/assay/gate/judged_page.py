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

from assay.policy.verdict import Approved, Withheld
from assay.ports import IndexPage
from assay.render import PageLinks, PageListing, render_project
from assay.simple.coding import encode_content
from assay.simple.negotiate import PageFormat

_MAX_RENDERINGS = 8
"""Rendered forms kept of one page: a client that invents origins evicts its own."""
_MAX_STALE_WHILE_REVALIDATE = timedelta(minutes=1)
_OFFLOAD_MIN_FILES = 200
"""Files of a page from which on rendering and compressing leave the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """Bytes to send, and the strong validator that belongs to exactly these."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPage:
    """The verdicts on one page at one instant, under one policy and one set of trust roots."""

    page: IndexPage
    policy_digest: str
    """Digest of the policy."""
    roots_digest: str
    """Digest of the trust roots."""
    facts_version: int
    """What was known of the project's wheels (`WheelMetadata.get_facts_version`)."""
    has_failed_evidence: bool
    """Some evidence is forged, or missing though promised: looked for again whenever the page is renewed, since what
    was spoilt on its way, or missing for an hour, must not condemn a file for ever."""
    listing: PageListing
    by_location: Mapping[str, Approved | Withheld]
    valid_until: datetime | None
    """The next instant at which the clock alone changes a verdict."""
    _renderings: dict[tuple[PageFormat, str | None, str], RenderedPage] = field(
        default_factory=dict, repr=False, compare=False
    )
    response_cache: dict[object, object] = field(default_factory=dict, repr=False, compare=False)
    """What an upper layer has made of this page and wants to find again for as long as it lives."""

    @property
    def verdicts(self) -> tuple[Approved | Withheld, ...]:
        """All of them, in no order that means anything."""
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

    def is_valid(self, *, policy_digest: str, roots_digest: str, now: datetime) -> bool:
        """Whether the verdicts would come out the same now, on the same page."""
        return (
            self.policy_digest == policy_digest
            and self.roots_digest == roots_digest
            and (self.valid_until is None or now < self.valid_until)
        )

    async def render(self, page_format: PageFormat, origin: str | None, coding: str) -> RenderedPage:
        """The page as `page_format` in `coding`, provenance addresses under `origin` (no origin: none); kept."""
        key = (page_format, origin, coding)
        if key not in self._renderings:
            if len(self.page.project.files) < _OFFLOAD_MIN_FILES:
                made = self._render_uncached(page_format, origin, coding)
            else:
                made = await asyncio.to_thread(self._render_uncached, page_format, origin, coding)
            if len(self._renderings) >= _MAX_RENDERINGS:
                self._renderings.clear()
            self._renderings[key] = made
        return self._renderings[key]

    def _render_uncached(self, page_format: PageFormat, origin: str | None, coding: str) -> RenderedPage:
        body = encode_content(
            render_project(self.listing, page_format, PageLinks(files_prefix="../../files/", integrity_base=origin)),
            coding,
        )
        return RenderedPage(body=body, etag=f'"{hashlib.sha256(body).hexdigest()}"')


def index_by_location(verdicts: tuple[Approved | Withheld, ...]) -> dict[str, Approved | Withheld]:
    """Verdicts by what a request is matched on.

    Entries that share it have one filename: with different digests all are withheld, with one digest the first is
    listed and the others are its duplicates, so the first speaks for all.
    """
    found: dict[str, Approved | Withheld] = {}
    for verdict in verdicts:
        found.setdefault(verdict.file.location, verdict)
    return found
