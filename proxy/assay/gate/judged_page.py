"""A page with a verdict on each of its files, and everything that the verdicts depend on.

Owns the question "does this still hold?" and the rendered forms of one judged page. A rendered page is kept only here,
with what it depends on (DESIGN, promise 6): the page's version, policy, trust roots, ledger, origin and the clock.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from assay.policy.verdict import Approved, Withheld
from assay.ports import Page
from assay.render import ApprovedPage, Links, render_project
from assay.simple.coding import encoded
from assay.simple.negotiate import Format

_MOST_FORMS = 8
"""Rendered forms kept of one page: a client that invents origins evicts its own."""
_LONGEST_GRACE = timedelta(minutes=1)
_OFF_LOOP = 200
"""Files of a page from which on rendering and compressing leave the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Bytes to send, and the strong validator that belongs to exactly these."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdicts on one page at one instant, under one policy and one set of trust roots."""

    page: Page
    policy: str
    """Digest of the policy."""
    roots: str
    """Digest of the trust roots."""
    news: int
    """What was known of the project's wheels (`Wheels.news`)."""
    doubtful: bool
    """Some evidence is forged, or missing though promised: looked for again whenever the page is renewed, since what
    was spoilt on its way, or missing for an hour, must not condemn a file for ever."""
    listed: ApprovedPage
    by_location: Mapping[str, Approved | Withheld]
    until: datetime | None
    """The next instant at which the clock alone changes a verdict."""
    _forms: dict[tuple[Format, str | None, str], Rendered] = field(default_factory=dict, repr=False, compare=False)
    kept: dict[object, object] = field(default_factory=dict, repr=False, compare=False)
    """What an upper layer has made of this page and wants to find again for as long as it lives."""

    @property
    def verdicts(self) -> tuple[Approved | Withheld, ...]:
        """All of them, in no order that means anything."""
        return (*self.listed.approved, *self.listed.withheld)

    @property
    def grace(self) -> timedelta:
        """How long past its freshness the page is served while one renewal runs in the background.

        A page that is asked for more than once a minute never waits for its index; for one that is not, a minute is no
        reason to be late. Nothing for a page that is stale already: what it says of itself must be said again.
        """
        return timedelta(0) if self.page.stale else min(_LONGEST_GRACE, self.page.index.freshness.page / 10)

    def holds(self, *, policy: str, roots: str, now: datetime) -> bool:
        """Whether the verdicts would come out the same now, on the same page."""
        return self.policy == policy and self.roots == roots and (self.until is None or now < self.until)

    async def rendered(self, form: Format, origin: str | None, coding: str) -> Rendered:
        """The page as `form` in `coding`, provenance addresses under `origin` (none where None); rendered once."""
        key = (form, origin, coding)
        if key not in self._forms:
            if len(self.page.project.files) < _OFF_LOOP:
                made = self._render(form, origin, coding)
            else:
                made = await asyncio.to_thread(self._render, form, origin, coding)
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            self._forms[key] = made
        return self._forms[key]

    def _render(self, form: Format, origin: str | None, coding: str) -> Rendered:
        body = encoded(render_project(self.listed, form, Links(files="../../files/", integrity=origin)), coding)
        return Rendered(body=body, etag=f'"{hashlib.sha256(body).hexdigest()}"')


def by_location(decided: tuple[Approved | Withheld, ...]) -> dict[str, Approved | Withheld]:
    """Verdicts by what a request is matched on.

    Entries that share it have one filename: with different digests all are withheld, with one digest the first is
    listed and the others are its duplicates, so the first speaks for all.
    """
    found: dict[str, Approved | Withheld] = {}
    for verdict in decided:
        found.setdefault(verdict.file.location, verdict)
    return found
