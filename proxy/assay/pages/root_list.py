"""The list of all projects by view and format, spooled to disk, without names that policy denies or another index owns.

Owns the refreshing: at most one at a time, in the background, on demand, and for all views that were ever asked for
their list: an index is asked once for all of them. PyPI's list has 40 MB, so it is never in memory whole: parsed,
filtered and written chunk by chunk, off the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO

from packaging.utils import NormalizedName, canonicalize_name

from assay import telemetry
from assay.errors import AssayError, InvalidResponseError, NotReadyError, StorageError, UpstreamGoneError
from assay.indexes import Indexes, IndexSettings
from assay.policy.judge import is_denied
from assay.policy.language.model import Policy
from assay.ports import Validators
from assay.render import render_root_head, render_root_line, render_root_tail
from assay.simple.negotiate import PageFormat
from assay.simple.root_list import RootListParser
from assay.store.spool import Spool, SpooledFile, SpoolWriter
from assay.upstream.bulk_receiver import BodyStream
from assay.upstream.client import UpstreamClient


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


class RootListCache:
    """The list of each view, in the edition of the moment."""

    def __init__(
        self,
        *,
        upstream: UpstreamClient,
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
        self._snapshots: dict[str, _Snapshot] = {}
        self._requested_views: dict[str, None] = {}
        self._refresh_task: asyncio.Task[dict[str, _Snapshot]] | None = None

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
                file = await stack.enter_async_context(self._spool.open_reader(spooled))
            except StorageError:
                # Removed while it was being opened: a newer edition is in force.
                spooled = (await self._get_snapshot(view)).spooled[page_format]
                file = await stack.enter_async_context(self._spool.open_reader(spooled))
            yield OpenRootList(file=file, size=spooled.size, etag=spooled.etag)

    async def close(self) -> None:
        """End a refresh that is under way."""
        if self._refresh_task is not None:
            self._refresh_task.cancel()
            await asyncio.gather(self._refresh_task, return_exceptions=True)

    async def _get_snapshot(self, view: str) -> _Snapshot:
        self._requested_views[view] = None
        while True:
            policy, now, edition = self._policies[view](), self._clock(), self._snapshots.get(view)
            obeyed = edition is not None and edition.policy_digest == policy.digest
            if edition is not None and obeyed and abs(now - edition.made_at) < self._freshness:
                return edition
            if self._refresh_task is None:
                policies = {each: self._policies[each]() for each in self._requested_views}
                self._refresh_task = asyncio.create_task(self._refresh(policies), name="root list")
                self._refresh_task.add_done_callback(self._refreshed)
            if edition is not None and obeyed:
                # Old names only: what each page lists is decided when it is asked for.
                return edition
            refreshing = self._refresh_task
            done, _ = await asyncio.wait({refreshing}, timeout=self._patience.total_seconds())
            if not done:
                raise NotReadyError("the list of projects is being fetched; ask again")
            made = refreshing.result().get(view)
            if made is not None and made.policy_digest == self._policies[view]().digest:
                return made
            # That one was begun before this view was asked for its list, or before its policy changed.

    def _refreshed(self, task: asyncio.Task[dict[str, _Snapshot]]) -> None:
        self._refresh_task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, AssayError):
                telemetry.warning("root-list-failed", error=str(error))
            else:
                telemetry.failure("root-list-failed", error)

    async def _refresh(self, policies: Mapping[str, Policy]) -> dict[str, _Snapshot]:
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
            old = [self._snapshots[view] for view in made if view in self._snapshots]
            self._snapshots |= made
            unused.pop_all()
            for spooled in (each for edition in old for each in edition.spooled.values()):
                await self._spool.remove(spooled)
        telemetry.event("root-list-made", projects=max(writer.count for writer in writers.values()))
        return made

    async def _finish_snapshot(self, view: str, writer: _ListWriter, cleanup: AsyncExitStack) -> _Snapshot:
        """All formats, finished; removed with `cleanup`, unless all views' become the lists in force."""
        spooled = {}
        for form, sheet in writer.sheets.items():
            await sheet.append(render_root_tail(form))
            spooled[form] = await self._spool.finish(sheet, f"root-{form.name}-{view}")
            cleanup.push_async_callback(self._spool.remove, spooled[form])
        return _Snapshot(policy_digest=writer.policy.digest, made_at=self._clock(), spooled=spooled)

    async def _write_index(self, index: IndexSettings, writers: Sequence[_ListWriter]) -> bool:
        async with self._upstream.open_root_list(index, Validators()) as answer:
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
