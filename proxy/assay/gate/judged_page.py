"""Judged page: an index's page, a verdict on each of its files, and all inputs of the verdicts.

This module decides if a judged page is still valid, and it caches the rendered forms of the page. A rendered page is
cached only here, together with everything on which it depends: the page's content, the policy, the trust roots, the
ledger, the origin and the clock (docs/architecture.md, "Promises", 6).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeAlias

from assay.caching.lru import Lru
from assay.gate.hidden_versions import HiddenReport
from assay.policy.verdict import MISLISTED_CODES, Approved, Verdict, Withheld
from assay.ports import IndexPage
from assay.provenance.failures import DocumentFailure
from assay.render import PageLinks, PageListing, render_project
from assay.simple.coding import encode_content
from assay.simple.model import NormalizedName
from assay.simple.negotiate import PageFormat

MAX_CACHED_FILES = 30_000
"""Maximum number of files of all cached judged pages together. A file takes about 3 kB, which includes its part of the
rendered forms."""
_MAX_RENDERINGS = 18
"""Maximum number of rendered forms cached for one page: two formats in three content codings, for three origins."""
_MAX_UNEXPECTED_ORIGINS = 1
"""Maximum number of origins for which a page is rendered although the configuration does not name their port. Without
a limit, a client could have the page rendered anew for each port that it invents."""
_MAX_PREPARED = 32
"""Maximum number of prepared responses cached with one page. A few suffice, because all clients of one kind (pip, uv)
send the same request headers."""
_MAX_STALE_WHILE_REVALIDATE = timedelta(minutes=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_OFFLOAD_MIN_FILES = 200
"""A page with at least this many files is rendered and compressed in a thread, a smaller page in the event loop."""


Dependencies: TypeAlias = Mapping[str, str | int]
"""Digest or version of each input of the verdicts except the page and the clock. The keys are ``policy``, ``roots``,
``evidence``, ``wheels``, ``metadata``, ``advisories`` and ``ledger``."""
VariantKey: TypeAlias = tuple[str | None, ...]
"""Values of a request that select the variant of a page (RFC 9110, 12.5.5): ``format``, ``Accept``, ``Accept-Encoding``
and ``Host``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """Body of a page's response, and the strong ETag of the body."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPage:
    """Rendered page with the header fields of its responses. All requests for one variant of a page get the same."""

    rendered: RenderedPage
    headers: Mapping[str, str]
    """Header fields of a 200 response."""
    not_modified_headers: Mapping[str, str]
    """Header fields of a 304 response (RFC 9110, 15.4.5)."""


@dataclass(slots=True)
class PageMarks:
    """Work that is done once for a judged page."""

    is_summarized: bool = False
    """True if the summary of the page is in the usage record, or the page waits for its summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPage:
    """Verdicts on the files of one page at one instant, under one policy and one set of trust roots."""

    page: IndexPage
    dependencies: Dependencies
    """Digest or version of each input of the verdicts except the page and the clock, at the time of the judgement."""
    has_failed_evidence: bool
    """True if a file is undecided, or if a file's evidence is forged. If the index promises a provenance document but
    does not have it, the evidence counts as forged. If this attribute is True, each renewal judges the page again, with
    newly fetched evidence. So a document that was damaged in transit, or was missing for an hour, does not withhold its
    file permanently."""
    listing: PageListing
    by_location: Mapping[str, Verdict]
    """Verdicts by the location (``host/path``) of the file."""
    valid_until: datetime | None
    """Instant at which the page must be judged again: time changes a verdict then, or a failed document may be fetched
    again. None if there is no such instant."""
    hidden: HiddenReport | None = None
    """Versions that installers may pass over in silence; None if there are none. All copies of a judged page share the
    report, so that it is logged once."""
    is_confirmed: bool = True
    """False if the database of the ledger was away, so that other replicas may have added facts (`gate.ledger_grace`).
    """
    advisories_digest: str = ""
    """Digest of the advisories about the project. If a new snapshot has the same ones, the verdicts stay valid."""
    failures: Mapping[str, DocumentFailure] = field(default_factory=dict)
    """Failures to fetch provenance, by the location of the undecided file. An undecided file without a failure here is
    still being decided."""
    sources: tuple[str, ...] = ()
    """Names of the evidence sources that were asked about files of the page, with the subjects of the questions."""
    marks: PageMarks = field(default_factory=PageMarks, repr=False, compare=False)
    """Work that is done once for the page. All copies of a judged page share the marks."""
    _renderings: Lru[tuple[bool, str | None, str], RenderedPage] = field(
        default_factory=partial(Lru, max_items=_MAX_RENDERINGS), repr=False, compare=False
    )
    _unexpected_origins: set[str] = field(default_factory=set, repr=False, compare=False)
    prepared: Lru[VariantKey, PreparedPage] = field(
        default_factory=partial(Lru, max_items=_MAX_PREPARED), repr=False, compare=False
    )
    """Prepared responses by variant, for reuse."""

    @property
    def policy_digest(self) -> str:
        """Digest of the policy that made the verdicts."""
        return str(self.dependencies["policy"])

    @property
    def verdicts(self) -> tuple[Approved | Withheld, ...]:
        """All verdicts on the page except `Undecided`, in no particular order."""
        return (*self.listing.approved, *self.listing.withheld)

    @property
    def first_failure(self) -> DocumentFailure | None:
        """Failure to fetch the provenance of some undecided file; None if there is no such failure."""
        return next(iter(self.failures.values()), None)

    @property
    def stale_while_revalidate(self) -> timedelta:
        """Time for which the page is still served after its freshness lifetime, while a renewal runs in the background.

        Thanks to this time, clients that request a page more than once a minute never wait for the index.

        If the page is marked as stale because the index failed, the time is zero. Requests then wait for a renewal. So
        they get a page without the mark soon after the index has recovered.
        """
        return (
            timedelta(0)
            if self.page.is_stale
            else min(_MAX_STALE_WHILE_REVALIDATE, self.page.index.freshness.page / 10)
        )

    def is_valid(self, dependencies: Dependencies, now: datetime) -> bool:
        """Return True if judging the page again now would give the same verdicts.

        Args:
            dependencies: the current digests or versions of the inputs.
            now: the current time in UTC.
        """
        return self.dependencies == dependencies and (self.valid_until is None or now < self.valid_until)

    def expire(self) -> JudgedPage:
        """Return the page as one that must be judged again. It is kept because it shows what was approved last."""
        return replace(self, valid_until=_LONG_AGO)

    @property
    def is_expired(self) -> bool:
        """True if the page must be judged again at any time (`expire`)."""
        return self.valid_until == _LONG_AGO

    async def render(
        self, page_format: PageFormat, origin: str | None, coding: str, *, is_expected: bool = True
    ) -> RenderedPage:
        """Return the page in `page_format`, compressed by `coding`.

        Args:
            page_format: format of the page. The two HTML formats have the same bytes.
            origin: origin that provenance URLs begin with; None: the page has no provenance URLs.
            coding: content coding.
            is_expected: False if a client may have invented the origin. The page is then rendered for the first such
                origin, and has no provenance URLs for further ones.
        """
        if not is_expected and origin is not None and origin not in self._unexpected_origins:
            if len(self._unexpected_origins) < _MAX_UNEXPECTED_ORIGINS:
                self._unexpected_origins.add(origin)
            else:
                origin = None
        key = (page_format is PageFormat.JSON, origin, coding)
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
            render_project(
                self.listing,
                page_format,
                PageLinks(
                    files_prefix="../../files/", integrity_base=origin, attestations_prefix="../../attestations/"
                ),
            ),
            coding,
        )
        return RenderedPage(body=body, etag=f'"{hashlib.sha256(body).hexdigest()}"')


JudgedPageCache: TypeAlias = Lru[tuple[str, NormalizedName], JudgedPage]
"""Cache of the judged pages of all views. The key is a view and a project."""


def create_judged_page_cache(max_files: int = MAX_CACHED_FILES) -> JudgedPageCache:
    """Return an empty cache for judged pages. Together, the cached pages have at most `max_files` files."""
    return JudgedPageCache(max_weight=max_files, weigh=lambda judged: 1 + len(judged.page.project.files))


def index_by_location(verdicts: tuple[Verdict, ...]) -> dict[str, Verdict]:
    """Return the verdicts by the location of their file. Requests are matched on the location.

    A page may have several entries for one location. An entry is faulty if it is withheld with a code in
    `MISLISTED_CODES`, for example because its URL contains a user name. For each location, the verdict on
    the first valid entry is returned, so that a faulty entry cannot hide a valid one. If all entries are faulty, the
    first verdict is returned.
    """
    found: dict[str, Verdict] = {}
    for verdict in verdicts:
        known = found.setdefault(verdict.file.location, verdict)
        if known is not verdict and _is_mislisted(known) and not _is_mislisted(verdict):
            found[verdict.file.location] = verdict
    return found


def _is_mislisted(verdict: Verdict) -> bool:
    return isinstance(verdict, Withheld) and any(reason.code in MISLISTED_CODES for reason in verdict.reasons)
