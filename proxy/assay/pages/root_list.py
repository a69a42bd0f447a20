"""The list of all projects by view and format, spooled to disk, without names that policy denies or another index owns.

Refreshed at most once at a time, in the background, on demand, and for all views that were ever asked for their list:
an index is asked once for all of them. PyPI's list has 40 MB, so it is never in memory whole: parsed, filtered and
written chunk by chunk, off the loop.
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
"""For the lists of all indexes; a slow one ends earlier, by its `timeouts.read`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRootList:
    """A list that is being sent."""

    file: BinaryIO
    size: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """All formats of one list."""

    policy_digest: str
    made_at: datetime
    spooled: Mapping[PageFormat, SpooledFile]
    count: int
    """Names that it lists."""


class RootListCache:
    """The list of each view, in the edition of the moment."""

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
        """The lists of all requested views, by view."""

    @asynccontextmanager
    async def open_current(self, view: str, page_format: PageFormat) -> AsyncIterator[OpenRootList]:
        """A view's list in one format.

        Raises:
            NotReadyError: the first edition is still being made.
            AssayError: it cannot be made.
        """
        async with AsyncExitStack() as stack:
            spooled = (await self._get_snapshot(view)).spooled[page_format]
            try:
                file = await stack.enter_async_context(spooled.open_reader())
            except StorageError:
                # Removed while it was being opened: a newer edition is in force.
                spooled = (await self._get_snapshot(view)).spooled[page_format]
                file = await stack.enter_async_context(spooled.open_reader())
            yield OpenRootList(file=file, size=spooled.size, etag=spooled.etag)

    async def close(self) -> None:
        """End a refresh that is running."""
        await self._refresher.close()

    async def wait_until_idle(self) -> None:
        """Wait until no refresh is running."""
        await self._refresher.wait_until_idle()

    async def _get_snapshot(self, view: str) -> _Snapshot:
        self._requested_views[view] = None
        while True:
            edition = (self._refresher.value or {}).get(view)
            obeyed = edition is not None and edition.policy_digest == self._policies[view]().digest
            if edition is not None and obeyed:
                if abs(self._clock() - edition.made_at) >= self._freshness:
                    # Old names only: what each page lists is decided when it is requested.
                    self._refresher.trigger()
                return edition
            try:
                made = await self._refresher.refresh(timeout_seconds=self._patience.total_seconds())
            except StillRunningError:
                raise NotReadyError("the list of projects is being fetched; ask again") from None
            if view in made and made[view].policy_digest == self._policies[view]().digest:
                return made[view]
            # That refresh began before this view was asked for its list, or before its policy changed.

    async def _fetch(self, _request: FetchRequest[Mapping[str, _Snapshot]]) -> Fetched[Mapping[str, _Snapshot]]:
        """Write the lists of all requested views from one request to each index."""
        policies = {view: self._policies[view]() for view in self._requested_views}
        async with AsyncExitStack() as stack:
            writers = {}
            for view, policy in policies.items():
                sheets = {form: await stack.enter_async_context(self._spool.open_writer()) for form in PageFormat}
                for form, sheet in sheets.items():
                    await sheet.append(render_root_head(form))
                writers[view] = _ListWriter(policy, sheets)
            found = [await self._write_index(index, list(writers.values())) for index in self._indexes]
            if not any(found):
                raise UpstreamGoneError("no index of this proxy has a list of projects")
            unused = await stack.enter_async_context(AsyncExitStack())
            made = {view: await self._finish_snapshot(view, writer, unused) for view, writer in writers.items()}
            unused.pop_all()
        return Fetched(value=made)

    async def _remove_replaced(self, before: Mapping[str, _Snapshot] | None, made: Mapping[str, _Snapshot]) -> None:
        """Remove the lists that were in force before from the spool."""
        for spooled in (each for edition in (before or {}).values() for each in edition.spooled.values()):
            await spooled.remove()
        telemetry.event("root-list-made", projects=max(edition.count for edition in made.values()))

    async def _finish_snapshot(self, view: str, writer: _ListWriter, cleanup: AsyncExitStack) -> _Snapshot:
        """All formats, finished; removed with `cleanup`, unless all views' become the lists in force."""
        spooled = {}
        for form, sheet in writer.sheets.items():
            await sheet.append(render_root_tail(form))
            spooled[form] = await sheet.finish(f"root-{form.name}-{view}")
            cleanup.push_async_callback(spooled[form].remove)
        return _Snapshot(policy_digest=writer.policy.digest, made_at=self._clock(), spooled=spooled, count=writer.count)

    async def _write_index(self, index: IndexSettings, writers: Sequence[_ListWriter]) -> bool:
        async with self._upstream.get_index(index).open_root_list(Validators()) as answer:
            if not isinstance(answer, BodyStream):
                telemetry.warning("root-list-absent", index=index.name)
                return False
            parser = RootListParser(answer.content_type)
            size = 0
            async for chunk in answer.chunks:
                size += len(chunk)
                if size > index.limits.page:
                    raise InvalidResponseError(
                        f"the list of projects of {index.name} is over {index.limits.page} bytes"
                    )
                await self._write_names(await asyncio.to_thread(self._select_owned, parser.feed, chunk, index), writers)
            await self._write_names(
                await asyncio.to_thread(self._select_owned, lambda _: parser.close(), b"", index), writers
            )
            return True

    def _select_owned(
        self, parse_names: Callable[[bytes], list[str]], chunk: bytes, index: IndexSettings
    ) -> list[tuple[str, NormalizedName]]:
        """Names as the index writes them, and normalised; those that it owns."""
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
    """Names that a policy does not deny, to all sheets of its view, separated where the format wants it."""

    def __init__(self, policy: Policy, spool_writers: Mapping[PageFormat, SpoolWriter]) -> None:
        self.policy = policy
        self.sheets = spool_writers
        self.count = 0

    async def write(self, projects: list[tuple[str, NormalizedName]]) -> None:
        names = await asyncio.to_thread(self._select_allowed, projects)
        if not names:
            return
        for form, sheet in self.sheets.items():
            await sheet.append(await asyncio.to_thread(_render_lines, form, names, is_first=self.count == 0))
        self.count += len(names)

    def _select_allowed(self, projects: list[tuple[str, NormalizedName]]) -> list[str]:
        return [name for name, project in projects if not is_denied(self.policy, project)]


def _render_lines(page_format: PageFormat, names: list[str], *, is_first: bool) -> bytes:
    return b"".join(
        render_root_line(name, page_format, is_first=is_first and position == 0) for position, name in enumerate(names)
    )
