"""Cache of the lists of all projects, on disk. Each view (a policy with its own URL path) has one list in each format.

A list omits the names that the view's policy denies. The configuration assigns each name to one index. If another index
lists the name too, its entry is ignored.

If a list is missing or too old, a request for it starts a refresh in the background. Only one refresh runs at a time.
The refresh sends one request to each index. It makes the list of every view for which a client has requested a list
since the start of the proxy. PyPI's list has 40 MB, so it is never in memory as a whole. Threads parse, filter and
write it in chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Final

from packaging.utils import NormalizedName, canonicalize_name

from assay import telemetry
from assay.caching.refresher import Fetched, FetchRequest, Refresher, RefreshSchedule
from assay.caching.single_flight import StillRunningError
from assay.errors import AssayError, InvalidResponseError, NotReadyError, StorageError, UpstreamGoneError
from assay.indexes import Indexes, IndexSettings
from assay.policy.judge import is_denied
from assay.policy.language.model import Policy
from assay.ports import BodyStream, Spool, SpooledFile, SpoolWriter, Upstream, Validators
from assay.render import render_root_head, render_root_line, render_root_tail
from assay.simple.negotiate import PageFormat
from assay.simple.root_list import RootListParser

_REFRESH_TIMEOUT: Final = timedelta(hours=1)
"""Timeout for one refresh, which fetches the lists of all indexes. If an index stalls, its request and the refresh fail
earlier, after `timeouts.read`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRootList:
    """List of projects, open for sending. `size` is in bytes."""

    file: BinaryIO
    size: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """One view's list of projects in all formats."""

    policy_digest: str
    made_at: datetime
    spooled: Mapping[PageFormat, SpooledFile]
    count: int
    """Number of listed names."""


class RootListCache:
    """Cache of the current list of projects of each view.

    Args:
        upstream: the connections to the indexes.
        indexes: all indexes. Each name belongs to one of them.
        spool: storage of the finished lists.
        policies: for the name of each view, a function that returns the active policy of the view.
        freshness: age at which a list is refreshed.
        clock: returns the current time in UTC.
        timeout: maximum time for which a request waits if its view has no list yet.
    """

    def __init__(
        self,
        *,
        upstream: Upstream,
        indexes: Indexes,
        spool: Spool,
        policies: Mapping[str, Callable[[], Policy]],
        freshness: timedelta,
        clock: Callable[[], datetime],
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._upstream = upstream
        self._indexes = indexes
        self._spool = spool
        self._policies = policies
        self._freshness = freshness
        self._clock = clock
        self._patience = timeout
        self._requested_views: dict[str, None] = {}
        self._refresher = Refresher[Mapping[str, _Snapshot]](
            "list of projects",
            self._fetch,
            schedule=RefreshSchedule(
                every=freshness,
                timeout=_REFRESH_TIMEOUT,
                max_bytes=sum(index.limits.page for index in indexes),
            ),
            clock=clock,
            on_refreshed=self._remove_replaced,
            on_failure=_log_failure,
        )
        """The lists of all requested views, by the view's name."""

    @asynccontextmanager
    async def open_current(self, view: str, page_format: PageFormat) -> AsyncIterator[OpenRootList]:
        """Open a view's list of projects in one format.

        Raises:
            NotReadyError: no list for the current policy exists yet. A refresh continues in the background and makes
                the list.
            AssayError: the list cannot be made.
        """
        async with AsyncExitStack() as stack:
            spooled = (await self._get_snapshot(view)).spooled[page_format]
            try:
                file = await stack.enter_async_context(spooled.open_reader())
            except StorageError:
                # A refresh replaced and removed the list before it was opened.
                spooled = (await self._get_snapshot(view)).spooled[page_format]
                file = await stack.enter_async_context(spooled.open_reader())
            yield OpenRootList(file=file, size=spooled.size, etag=spooled.etag)

    async def close(self) -> None:
        """Cancel a running refresh."""
        await self._refresher.close()

    async def wait_until_idle(self) -> None:
        """Wait until no refresh is running."""
        await self._refresher.wait_until_idle()

    async def _get_snapshot(self, view: str) -> _Snapshot:
        self._requested_views[view] = None
        while True:
            snapshot = (self._refresher.value or {}).get(view)
            is_valid = snapshot is not None and snapshot.policy_digest == self._policies[view]().digest
            if snapshot is not None and is_valid:
                if abs(self._clock() - snapshot.made_at) >= self._freshness:
                    # An old list is harmless: the verdicts on a project's files are made when its page is requested.
                    self._refresher.trigger()
                return snapshot
            try:
                snapshots = await self._refresher.refresh(timeout_seconds=self._patience.total_seconds())
            except StillRunningError:
                raise NotReadyError("the list of projects is still being fetched; try again in a few seconds") from None
            if view in snapshots and snapshots[view].policy_digest == self._policies[view]().digest:
                return snapshots[view]
            # That refresh began before this view's list was requested, or before its policy changed.

    async def _fetch(self, _request: FetchRequest[Mapping[str, _Snapshot]]) -> Fetched[Mapping[str, _Snapshot]]:
        """Make the lists of all requested views, with one request to each index."""
        policies = {view: self._policies[view]() for view in self._requested_views}
        async with AsyncExitStack() as stack:
            writers = {}
            for view, policy in policies.items():
                spool_writers = {
                    form: await stack.enter_async_context(self._spool.open_writer()) for form in PageFormat
                }
                for form, spool_writer in spool_writers.items():
                    await spool_writer.append(render_root_head(form))
                writers[view] = _ListWriter(policy, spool_writers)
            have_list = [await self._write_index(index, list(writers.values())) for index in self._indexes]
            if not any(have_list):
                raise UpstreamGoneError("no index of this proxy has a list of projects")
            unused = await stack.enter_async_context(AsyncExitStack())
            snapshots = {view: await self._finish_snapshot(view, writer, unused) for view, writer in writers.items()}
            unused.pop_all()
        return Fetched(value=snapshots)

    async def _remove_replaced(self, before: Mapping[str, _Snapshot] | None, after: Mapping[str, _Snapshot]) -> None:
        """Remove the replaced lists from the spool."""
        for spooled in (each for snapshot in (before or {}).values() for each in snapshot.spooled.values()):
            await spooled.remove()
        telemetry.event("root-list-refreshed", projects=max(snapshot.count for snapshot in after.values()))

    async def _finish_snapshot(self, view: str, writer: _ListWriter, cleanup: AsyncExitStack) -> _Snapshot:
        """Finish a view's list in all formats.

        The method adds callbacks to `cleanup` that remove the finished files. If a later view fails, the caller lets
        `cleanup` run. If all views succeed, the caller discards the callbacks, and the files stay.
        """
        spooled = {}
        for form, spool_writer in writer.spool_writers.items():
            await spool_writer.append(render_root_tail(form))
            spooled[form] = await spool_writer.finish(f"root-{form.name}-{view}")
            cleanup.push_async_callback(spooled[form].remove)
        return _Snapshot(policy_digest=writer.policy.digest, made_at=self._clock(), spooled=spooled, count=writer.count)

    async def _write_index(self, index: IndexSettings, writers: Sequence[_ListWriter]) -> bool:
        async with self._upstream.get_index(index).open_root_list(Validators()) as answer:
            if not isinstance(answer, BodyStream):
                telemetry.warning("root-list-missing", index=index.name)
                return False
            parser = RootListParser(answer.content_type)
            size = 0
            async for chunk in answer.chunks:
                size += len(chunk)
                if size > index.limits.page:
                    raise InvalidResponseError(
                        f"the list of projects of {index.name} exceeds the limit of {index.limits.page} bytes"
                    )
                await self._write_names(await asyncio.to_thread(self._select_owned, parser.feed, chunk, index), writers)
            await self._write_names(
                await asyncio.to_thread(self._select_owned, lambda _: parser.close(), b"", index), writers
            )
            return True

    def _select_owned(
        self, parse_names: Callable[[bytes], list[str]], chunk: bytes, index: IndexSettings
    ) -> list[tuple[str, NormalizedName]]:
        """Parse a chunk; return the names that `index` owns.

        Each item is the name as the index spells it, and the normalized name.
        """
        named = ((name, canonicalize_name(name)) for name in parse_names(chunk))
        return [(name, project) for name, project in named if self._indexes.find_owner(project) is index]

    @staticmethod
    async def _write_names(names: list[tuple[str, NormalizedName]], writers: Sequence[_ListWriter]) -> None:
        for writer in writers:
            await writer.write(names)


def _log_failure(error: BaseException) -> None:
    if isinstance(error, AssayError):
        telemetry.warning("root-list-failed", error=str(error))
    else:
        telemetry.failure("root-list-failed", error)


class _ListWriter:
    """Writer of one view's list in all formats. It omits the names that the view's policy denies."""

    def __init__(self, policy: Policy, spool_writers: Mapping[PageFormat, SpoolWriter]) -> None:
        self.policy = policy
        self.spool_writers = spool_writers
        self.count = 0

    async def write(self, projects: list[tuple[str, NormalizedName]]) -> None:
        names = await asyncio.to_thread(self._select_allowed, projects)
        if not names:
            return
        for form, spool_writer in self.spool_writers.items():
            await spool_writer.append(await asyncio.to_thread(_render_lines, form, names, is_first=self.count == 0))
        self.count += len(names)

    def _select_allowed(self, projects: list[tuple[str, NormalizedName]]) -> list[str]:
        return [name for name, project in projects if not is_denied(self.policy, project)]


def _render_lines(page_format: PageFormat, names: list[str], *, is_first: bool) -> bytes:
    return b"".join(
        render_root_line(name, page_format, is_first=is_first and position == 0) for position, name in enumerate(names)
    )
