"""All feeds of advisories of a proxy: the snapshot in force, hits on hold, and what operators must know.

- The snapshot in force consists of the last good snapshots of all feeds. It is replaced as a whole.
- If one refresh would newly withhold served versions of too many projects, its hits are put on hold for this feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from assay import telemetry
from assay.advisories.in_force import AdvisoriesInForce
from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot, Hit
from assay.advisory_feeds.feed import Accepted, AdvisoryFeed
from assay.advisory_feeds.hits import HitReview, review_hits
from assay.advisory_feeds.reader import ReaderLimits
from assay.advisory_feeds.served import ListServed
from assay.advisory_feeds.settings import AdvisoryFeedSettings
from assay.advisory_feeds.source import FeedSource, LocalSource, RemoteSource
from assay.advisory_feeds.state import DIRECTORY_NAME
from assay.errors import AssayError, ConfigurationError
from assay.indexes import LimitsSettings
from assay.ports import DocumentStreams
from assay.units import format_duration

SERVED_PERIOD: Final = timedelta(days=30)
"""Time for which a project counts as used after a client got a file of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """State of a feed for metrics, `/readyz` and commands."""

    name: str
    records: int
    malware: int
    missing: int
    """Number of malware records that the feed no longer has and that stay in force."""
    skipped: int
    age: timedelta | None
    """Time since the feed was last known to be current; None before the first snapshot."""
    on_hold: int
    is_refused: bool
    """True if a refused snapshot waits for a person's acceptance."""
    is_outdated: bool
    """True if no snapshot exists, or if its age is above `max-age`."""
    problem: str | None
    """Sentence for the operator; None if the feed is in order."""


class AdvisoryFeeds:
    """Feeds of a proxy.

    Args:
        settings: the `[[advisories]]` tables.
        storage_directory: the storage directory, in which the feeds have a directory.
        upstream: the outbound client.
        limits: timeouts of requests.
        in_force: holder of the snapshot in force.
        list_served: returns the projects of which files were served.
        clock: returns the current time, UTC.
        reader_limits: limits of the reader; None for the default.
    """

    def __init__(
        self,
        settings: Sequence[AdvisoryFeedSettings],
        *,
        storage_directory: Path,
        upstream: DocumentStreams,
        limits: LimitsSettings,
        in_force: AdvisoriesInForce,
        list_served: ListServed,
        clock: Callable[[], datetime],
        reader_limits: ReaderLimits | None = None,
    ) -> None:
        self._directory = storage_directory / DIRECTORY_NAME
        self._in_force = in_force
        self._list_served = list_served
        self._clock = clock
        self._is_started = False
        self.feeds = tuple(
            AdvisoryFeed(
                each,
                source=_create_source(each, upstream, limits),
                directory=self._directory / each.name,
                clock=clock,
                review=self._review,
                on_change=self._put_in_force,
                limits=reader_limits,
            )
            for each in settings
        )

    @property
    def snapshot(self) -> AdvisorySnapshot:
        """Snapshot in force."""
        return self._in_force.current()

    @property
    def directory(self) -> Path:
        """Directory of all feeds."""
        return self._directory

    async def load(self, *, read_only: bool = False) -> None:
        """Put the last good snapshots in force, which a former process has stored.

        Args:
            read_only: True if another process may use the directories. They are not changed then.

        Raises:
            StorageError: a directory cannot be used.
        """
        for feed in self.feeds:
            await feed.load(read_only=read_only)
        if self.feeds:
            self._put_in_force()

    def start(self) -> None:
        """Start the refreshes of all feeds. Call this once, after `load`."""
        self._is_started = True
        for feed in self.feeds:
            feed.start()

    async def close(self) -> None:
        """Stop the refreshes. Idempotent."""
        for feed in self.feeds:
            await feed.close()

    def get_feed(self, name: str) -> AdvisoryFeed:
        """Return the feed with this name.

        Raises:
            ConfigurationError: there is no such feed.
        """
        for feed in self.feeds:
            if feed.name == name:
                return feed
        known = ", ".join(feed.name for feed in self.feeds) or "no feed"
        raise ConfigurationError(f"expected the name of a feed ({known}), found {name!r}")

    async def refresh(self) -> Mapping[str, str]:
        """Refresh all feeds now. Return the error of each feed that failed, by its name."""
        refreshes = [feed.refresh() if self._is_started else feed.refresh_once() for feed in self.feeds]
        results = await asyncio.gather(*refreshes, return_exceptions=True)
        unexpected = [each for each in results if isinstance(each, BaseException) and not isinstance(each, AssayError)]
        if unexpected:
            raise unexpected[0]
        return {
            feed.name: str(result)
            for feed, result in zip(self.feeds, results, strict=True)
            if isinstance(result, AssayError)
        }

    async def accept(self, name: str, digest: str | None, hits: Collection[Hit], reason: str) -> Accepted:
        """Accept a refused snapshot and hits on hold of one feed, and log it.

        Args:
            name: name of the feed.
            digest: digest of the refused snapshot; None: only hits are accepted.
            hits: the hits.
            reason: reason that the person gave.

        Raises:
            ConfigurationError: there is no such feed.
            StorageError: the state cannot be written.
        """
        accepted = await self.get_feed(name).accept(digest, hits)
        telemetry.warning(
            "advisories-accepted",
            feed=name,
            snapshot=None if accepted.snapshot is None else accepted.snapshot.digest,
            hits=len(accepted.hits),
            reason=reason,
        )
        return accepted

    def list_statuses(self) -> list[FeedStatus]:
        """Return the state of each feed."""
        return [_get_status(feed) for feed in self.feeds]

    def _put_in_force(self) -> None:
        """Combine the snapshots of all feeds and put them in force."""
        known = [feed.snapshot for feed in self.feeds if feed.snapshot is not None]
        self._in_force.put(AdvisorySnapshot(known), not_ready=self._explain_not_ready())

    def _explain_not_ready(self) -> str | None:
        for feed in self.feeds:
            if feed.settings.required and feed.snapshot is None:
                return explain_required(feed.name, feed.state.error)
        return None

    async def _review(self, name: str, snapshot: FeedSnapshot) -> HitReview:
        """Return the hits of a feed's new snapshot that a person must accept, and those in force."""
        feed = self.get_feed(name)
        served = await self._list_served(self._clock() - SERVED_PERIOD)
        previous = feed.state.in_force if feed.snapshot is None else feed.snapshot
        limit = feed.settings.max_new_hits
        return await asyncio.to_thread(review_hits, self._in_force.current(), previous, snapshot, served, limit)


def explain_required(name: str, error: str | None) -> str:
    """Return the reason why nothing is served before the first snapshot of a required feed."""
    detail = "" if error is None else f"; the last refresh failed: {error}"
    return f"the required feed of advisories {name} has no snapshot yet{detail}"


def _create_source(settings: AdvisoryFeedSettings, upstream: DocumentStreams, limits: LimitsSettings) -> FeedSource:
    index = settings.make_index(limits)
    if index is None:
        return LocalSource(Path(settings.url), settings.max_size)
    return RemoteSource(upstream, index, settings.url, settings.max_size)


def _get_status(feed: AdvisoryFeed) -> FeedStatus:
    snapshot = feed.snapshot
    return FeedStatus(
        name=feed.name,
        records=0 if snapshot is None else len(snapshot.ids),
        malware=0 if snapshot is None else snapshot.malware_count,
        missing=0 if snapshot is None else len(snapshot.missing_ids),
        skipped=0 if snapshot is None else snapshot.skipped_count,
        age=feed.age,
        on_hold=len(feed.state.on_hold),
        is_refused=feed.state.refused is not None,
        is_outdated=feed.is_stale,
        problem=_explain_problem(feed),
    )


def _explain_problem(feed: AdvisoryFeed) -> str | None:
    """Return the first problem of a feed that an operator must solve, as a sentence."""
    state = feed.state
    if state.refused is not None:
        return (
            f"a snapshot was refused: {state.refused.reason}; examine it and run: assay advisories accept {feed.name}"
        )
    if state.on_hold:
        return (
            f"{len(state.on_hold)} malware hits are on hold, because one refresh named more than"
            f" {feed.settings.max_new_hits} used projects; examine them and run: assay advisories accept {feed.name}"
        )
    detail = "" if state.error is None else f"; the last refresh failed: {state.error}"
    if feed.age is None:
        return f"no snapshot has been loaded yet{detail}"
    if feed.is_stale:
        return f"the snapshot is {format_duration(_round(feed.age))} old{detail}"
    return None


def _round(age: timedelta) -> timedelta:
    return timedelta(minutes=max(1, int(age.total_seconds() // 60)))
