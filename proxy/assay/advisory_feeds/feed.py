"""One feed: its refreshes, the guard, and the files that survive a restart.

A refresh gets the content (`source`), lets a separate process read it (`reader_process`), and compares the result with
the snapshot in force (`advisories.guard`). A refused snapshot is kept until a person accepts it, or until a later
snapshot is good. If anything fails, the snapshot in force stays.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from assay import telemetry
from assay.advisories.archive import ArchiveError
from assay.advisories.guard import explain_refusal
from assay.advisories.snapshot import FeedSnapshot, Hit
from assay.advisory_feeds.hits import HitReview
from assay.advisory_feeds.reader import ReaderLimits, load_archive
from assay.advisory_feeds.settings import AdvisoryFeedSettings
from assay.advisory_feeds.source import FeedSource, Obtained
from assay.advisory_feeds.state import FeedFiles, FeedState, RefusedSnapshot
from assay.attestation.pool import processes
from assay.caching.refresher import NOT_MODIFIED, Fetched, FetchRequest, NotModified, Refresher, RefreshSchedule
from assay.errors import AssayError, InvalidResponseError, StorageError, UpstreamUnavailableError
from assay.ports import Validators
from assay.telemetry import metrics

_REFRESH_TIMEOUT: Final = timedelta(minutes=15)
_READER_TIMEOUT_SECONDS: Final = 600.0
_FIRST_RETRY: Final = timedelta(seconds=30)
_MAX_RESPONSE_BYTES: Final = 1 << 20
_NO_READER: Final = "the process that reads the feed gave no valid response"


class SnapshotRefusedError(InvalidResponseError):
    """Error for a snapshot that a person must accept."""


Review = Callable[[str, FeedSnapshot], Awaitable[HitReview]]
"""Function that returns the hits of a new snapshot that a person must accept, and those in force. Its arguments are the
name of the feed, and the snapshot with the hits that are already on hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Outcome of an acceptance."""

    snapshot: RefusedSnapshot | None
    """Refused snapshot that is now in force; None if none was accepted."""
    hits: frozenset[Hit]
    """Hits that are no longer on hold."""


class AdvisoryFeed:
    """Feed of advisories with its last good snapshot.

    Args:
        settings: settings of the feed.
        source: place from which the feed is read.
        directory: directory of the feed's files.
        clock: returns the current time, UTC.
        review: selects the hits that a person must accept.
        on_change: called in the event loop after the state or the snapshot in force has changed.
        limits: limits of the reader; None for the default.
    """

    def __init__(
        self,
        settings: AdvisoryFeedSettings,
        *,
        source: FeedSource,
        directory: Path,
        clock: Callable[[], datetime],
        review: Review,
        on_change: Callable[[], None],
        limits: ReaderLimits | None = None,
    ) -> None:
        self.settings = settings
        self._source = source
        self._files = FeedFiles(directory)
        self._clock = clock
        self._review = review
        self._on_change = on_change
        self._limits = limits
        self._state = FeedState()
        self._snapshot: FeedSnapshot | None = None
        self._refresher: Refresher[FeedSnapshot] | None = None
        self._changes = asyncio.Lock()
        """Held while the snapshot in force is replaced."""

    @property
    def name(self) -> str:
        """Name of the feed."""
        return self.settings.name

    @property
    def snapshot(self) -> FeedSnapshot | None:
        """Snapshot in force, with the hits on hold; None before the first one."""
        return None if self._snapshot is None else self._snapshot.put_on_hold(self._state.on_hold)

    @property
    def state(self) -> FeedState:
        """State of the feed."""
        return self._state

    @property
    def age(self) -> timedelta | None:
        """Time since the snapshot was last known to be current; None if no snapshot exists."""
        return None if self._state.obtained is None else max(self._clock() - self._state.obtained, timedelta())

    @property
    def is_stale(self) -> bool:
        """True if no snapshot exists, or if its age is above `max-age`."""
        return self.age is None or self.age > self.settings.max_age

    async def load(self, *, read_only: bool = False) -> None:
        """Load the snapshot that was last in force, with the state.

        Args:
            read_only: True if another process may use the directory. It is not changed then.

        Raises:
            StorageError: the directory of the feed cannot be used.
        """
        if not read_only:
            await asyncio.to_thread(self._files.prepare)
        self._state, self._snapshot = await asyncio.to_thread(self._load)

    def _load(self) -> tuple[FeedState, FeedSnapshot | None]:
        state = self._files.read_state()
        try:
            archive = load_archive(self._files.snapshot)
        except (ArchiveError, OSError) as error:
            telemetry.warning("advisory-snapshot-damaged", feed=self.name, error=str(error))
            archive = None
        snapshot = None if archive is None else FeedSnapshot(archive)
        if state.refused is not None and not self._files.refused.exists():
            state = replace(state, refused=None, validators=Validators())
        if snapshot is None or snapshot.digest != state.digest:
            # The hits stay on hold, and so does a refused snapshot, whose digest is compared when it is accepted.
            state = replace(
                state,
                validators=Validators(),
                digest=None if snapshot is None else snapshot.digest,
                obtained=None if snapshot is None else state.obtained or snapshot.newest_modified,
            )
        return state, snapshot

    def start(self) -> None:
        """Start the refreshes. Call this once, after `load`."""
        initial = None
        if self._snapshot is not None:
            initial = Fetched(value=self._snapshot, obtained=self._state.obtained)
        settings = self.settings
        self._refresher = Refresher(
            f"advisories {self.name}",
            self._fetch,
            schedule=RefreshSchedule(
                every=settings.refresh_every,
                timeout=_REFRESH_TIMEOUT,
                max_bytes=settings.max_size,
                jitter=0.1,
                first_retry=min(_FIRST_RETRY, settings.refresh_every),
                max_age=settings.max_age,
            ),
            clock=self._clock,
            initial=initial,
            on_failure=self._report_failure,
            on_stale=self._report_stale,
        )
        self._refresher.start()

    async def close(self) -> None:
        """Stop the refreshes. Idempotent."""
        if self._refresher is not None:
            await self._refresher.close()

    async def refresh(self) -> None:
        """Refresh now, or wait for the refresh that is running. Call this after `start`.

        Raises:
            AssayError: the refresh failed or the snapshot was refused. The snapshot in force stays.
        """
        if self._refresher is None:
            raise RuntimeError("AdvisoryFeed.start was not called")
        await self._refresher.refresh()

    async def refresh_once(self) -> None:
        """Refresh now without a schedule, for a command.

        Raises:
            AssayError: the refresh failed or the snapshot was refused. The snapshot in force stays.
        """
        try:
            await self._refresh()
        except AssayError as error:
            self._report_failure(error)
            raise

    async def accept(self, digest: str | None, hits: Collection[Hit]) -> Accepted:
        """Put a refused snapshot in force, and let hits withhold versions.

        Args:
            digest: digest of the refused snapshot; None: only the hits are accepted. Another snapshot that was refused
                in the meantime stays refused.
            hits: hits that are on hold.

        Raises:
            StorageError: the state cannot be written.
        """
        async with self._changes:
            accepted = self._state.on_hold & set(hits)
            if accepted:
                await self._change_state(
                    on_hold=self._state.on_hold - accepted, in_force=self._state.in_force | accepted
                )
            refused = self._state.refused
            if refused is None or digest != refused.digest:
                refused = None
            else:
                try:
                    snapshot = await asyncio.to_thread(self._load_refused, refused.digest)
                except StorageError:
                    # Without validators, the next refresh gets the snapshot again.
                    await self._change_state(validators=Validators())
                    raise
                await self._put_in_force(snapshot, self._files.refused, self._state.validators, self._clock())
        self._on_change()
        return Accepted(snapshot=refused, hits=accepted)

    def _load_refused(self, digest: str) -> FeedSnapshot:
        try:
            archive = load_archive(self._files.refused)
        except (ArchiveError, OSError) as error:
            raise StorageError(f"{self._files.refused}: the refused snapshot cannot be read; refresh again") from error
        if archive is None or archive.digest != digest:
            raise StorageError(f"{self._files.refused}: the refused snapshot is missing; refresh again")
        return FeedSnapshot(archive)

    async def _fetch(
        self, _request: FetchRequest[FeedSnapshot]
    ) -> Fetched[FeedSnapshot] | Literal[NotModified.NOT_MODIFIED]:
        await self._refresh()
        snapshot = self._snapshot
        # The refresher measures the age by `obtained`.
        return NOT_MODIFIED if snapshot is None else Fetched(value=snapshot, obtained=self._state.obtained)

    async def _refresh(self) -> None:
        try:
            validators = self._state.validators if self._snapshot or self._state.refused else Validators()
            obtained = await self._source.obtain(validators, self._files.download)
            async with self._changes:
                result = await self._process(obtained)
        except AssayError as error:
            await self._change_state(attempted=self._clock(), error=str(error))
            raise
        finally:
            with suppress(OSError):
                await asyncio.to_thread(self._files.remove_unfinished)
        metrics.ADVISORY_REFRESHES.labels(self.name, result).inc()
        self._on_change()

    async def _process(self, obtained: Obtained) -> str:
        """Put new content in force. Return ``changed``, or ``unchanged`` if there is no new content."""
        current_at = obtained.current_at or self._clock()
        if obtained.path is None:
            if (refused := self._state.refused) is not None:
                raise SnapshotRefusedError(refused.reason)
            await self._change_state(obtained=current_at, attempted=self._clock(), error=None)
            return "unchanged"
        facts = await self._read(obtained.path)
        candidate = await asyncio.to_thread(self._load_new)
        if facts["skipped"]:
            telemetry.warning(
                "advisory-records-skipped", feed=self.name, count=facts["skipped"], first=facts["problems"][:3]
            )
        before = self._snapshot
        if before is not None and (reason := explain_refusal(before, candidate)) is not None:
            await self._refuse(candidate, reason, obtained.validators)
        await self._put_in_force(candidate, self._files.new, obtained.validators, current_at)
        telemetry.event(
            "advisories-refreshed",
            feed=self.name,
            records=candidate.feed_count,
            malware=candidate.malware_count,
            missing=len(candidate.missing_ids),
            skipped=candidate.skipped_count,
            changed=before is None or before.digest != candidate.digest,
        )
        return "changed"

    def _load_new(self) -> FeedSnapshot:
        try:
            archive = load_archive(self._files.new)
        except (ArchiveError, OSError) as error:
            raise StorageError(f"{self._files.new}: {error}") from error
        if archive is None:
            raise StorageError(f"{self._files.new}: the archive is missing")
        return FeedSnapshot(archive)

    async def _refuse(self, candidate: FeedSnapshot, reason: str, validators: Validators) -> None:
        """Keep a snapshot until a person accepts it, and raise `SnapshotRefusedError`."""
        await asyncio.to_thread(self._files.new.replace, self._files.refused)
        refused = RefusedSnapshot(digest=candidate.digest, reason=reason, at=self._clock(), count=candidate.feed_count)
        await self._change_state(refused=refused, validators=validators)
        raise SnapshotRefusedError(reason)

    async def _put_in_force(
        self, snapshot: FeedSnapshot, path: Path, validators: Validators, obtained: datetime
    ) -> None:
        """Replace the snapshot in force by the archive at `path`.

        The state is written first. If the process ends between the two steps, the digest shows that the validators do
        not belong to the snapshot, and more hits are on hold than necessary.
        """
        on_hold = frozenset(hit for hit in self._state.on_hold if hit[0] in snapshot.ids)
        review = await self._review(self.name, snapshot.put_on_hold(on_hold))
        new = review.on_hold
        await self._change_state(
            digest=snapshot.digest,
            obtained=obtained,
            attempted=self._clock(),
            error=None,
            validators=validators,
            refused=None,
            on_hold=on_hold | new,
            in_force=review.in_force,
        )
        try:
            await asyncio.to_thread(path.replace, self._files.snapshot)
            await asyncio.to_thread(self._files.refused.unlink, missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self._files.snapshot}: {error.strerror}") from error
        self._snapshot = snapshot
        if new:
            telemetry.security(
                "advisory-hits-on-hold",
                feed=self.name,
                projects=len({project for _, project in new}),
                max_new_hits=self.settings.max_new_hits,
                first=[f"{advisory_id} {project}" for advisory_id, project in sorted(new)[:10]],
                remedy=f"assay advisories accept {self.name}",
            )

    async def _change_state(self, **changes: Any) -> None:  # noqa: ANN401 - fields of FeedState
        state = replace(self._state, **changes)
        await asyncio.to_thread(self._files.write_state, state)
        self._state = state

    async def _read(self, source: Path) -> dict[str, Any]:
        """Let a separate process write the archive `new` from `source`, and return its result.

        Raises:
            InvalidResponseError: the feed is unusable.
            UpstreamUnavailableError: the process cannot be started, or was ended.
        """
        request = {
            "source": str(source),
            "previous": str(self._files.snapshot) if self._snapshot is not None else None,
            "output": str(self._files.new),
            "now": self._clock().isoformat(),
            **({} if self._limits is None else {"limits": asdict(self._limits)}),
        }
        try:
            process = await processes.spawn_process("assay.advisory_feeds.reader_process")
        except OSError as error:
            raise UpstreamUnavailableError(
                f"the process that reads the feed cannot be started: {error.strerror}"
            ) from error
        try:
            async with asyncio.timeout(_READER_TIMEOUT_SECONDS):
                said, _ = await process.communicate(json.dumps(request).encode())
            answer: Any = json.loads(said) if len(said) <= _MAX_RESPONSE_BYTES else None
        except (TimeoutError, ValueError) as error:
            raise InvalidResponseError(_NO_READER) from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        match answer:
            case {"error": str(problem)}:
                raise InvalidResponseError(problem)
            case {"count": int(), "skipped": int(), "problems": list()}:
                return dict(answer)
            case _:
                raise InvalidResponseError(_NO_READER)

    def _report_failure(self, error: BaseException) -> None:
        """Log a failed refresh. A refused snapshot is a security event."""
        self._state = replace(self._state, error=str(error))
        if isinstance(error, SnapshotRefusedError):
            metrics.ADVISORY_REFRESHES.labels(self.name, "refused").inc()
            telemetry.security(
                "advisory-snapshot-refused",
                feed=self.name,
                reason=str(error),
                remedy=f"assay advisories accept {self.name}",
            )
        else:
            metrics.ADVISORY_REFRESHES.labels(self.name, "failed").inc()
            if isinstance(error, AssayError):
                telemetry.warning("advisory-refresh-failed", feed=self.name, error=str(error))
            else:
                telemetry.failure("advisory-refresh-failed", error, feed=self.name)
        self._on_change()

    def _report_stale(self, age: timedelta) -> None:
        telemetry.warning("advisories-outdated", feed=self.name, hours=int(age.total_seconds() // 3600))
