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
from assay.errors import AssayError, NotYetError, StorageError, UpstreamGoneError, UpstreamNonsenseError
from assay.indexes import Indexes, IndexSettings
from assay.policy.judge import is_denied
from assay.policy.language.model import Policy
from assay.ports import Validators
from assay.render import render_root_head, render_root_line, render_root_tail
from assay.simple.negotiate import Format
from assay.simple.root_list import RootParser
from assay.store.spool import Sheet, Spool, Spooled
from assay.upstream.bulk_receiver import Contents
from assay.upstream.client import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A list that is being sent."""

    file: BinaryIO
    size: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edition:
    """All formats of one list."""

    policy: str
    made: datetime
    spooled: Mapping[Format, Spooled]


class RootList:
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
        patience: timedelta = timedelta(seconds=10),
    ) -> None:
        self._upstream = upstream
        self._indexes = indexes
        self._spool = spool
        self._policies = policies
        self._freshness = freshness
        self._clock = clock
        self._patience = patience
        self._editions: dict[str, _Edition] = {}
        self._wanted: dict[str, None] = {}
        self._refreshing: asyncio.Task[dict[str, _Edition]] | None = None

    @asynccontextmanager
    async def current(self, view: str, form: Format) -> AsyncIterator[Open]:
        """A view's list in one format.

        Raises:
            NotYetError: the first edition is still being made.
            AssayError: it cannot be made.
        """
        async with AsyncExitStack() as stack:
            spooled = (await self._usable(view)).spooled[form]
            try:
                file = await stack.enter_async_context(self._spool.reading(spooled))
            except StorageError:
                # Removed while it was being opened: a newer edition is in force.
                spooled = (await self._usable(view)).spooled[form]
                file = await stack.enter_async_context(self._spool.reading(spooled))
            yield Open(file=file, size=spooled.size, etag=spooled.etag)

    async def close(self) -> None:
        """End a refresh that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    async def _usable(self, view: str) -> _Edition:
        self._wanted[view] = None
        while True:
            policy, now, edition = self._policies[view](), self._clock(), self._editions.get(view)
            obeyed = edition is not None and edition.policy == policy.digest
            if edition is not None and obeyed and abs(now - edition.made) < self._freshness:
                return edition
            if self._refreshing is None:
                policies = {each: self._policies[each]() for each in self._wanted}
                self._refreshing = asyncio.create_task(self._refresh(policies), name="root list")
                self._refreshing.add_done_callback(self._refreshed)
            if edition is not None and obeyed:
                # Old names only: what each page lists is decided when it is asked for.
                return edition
            refreshing = self._refreshing
            done, _ = await asyncio.wait({refreshing}, timeout=self._patience.total_seconds())
            if not done:
                raise NotYetError("the list of projects is being fetched; ask again")
            made = refreshing.result().get(view)
            if made is not None and made.policy == self._policies[view]().digest:
                return made
            # That one was begun before this view was asked for its list, or before its policy changed.

    def _refreshed(self, task: asyncio.Task[dict[str, _Edition]]) -> None:
        self._refreshing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, AssayError):
                telemetry.warning("root-list-failed", error=str(error))
            else:
                telemetry.failure("root-list-failed", error)

    async def _refresh(self, policies: Mapping[str, Policy]) -> dict[str, _Edition]:
        async with AsyncExitStack() as stack:
            writers = {}
            for view, policy in policies.items():
                sheets = {form: await stack.enter_async_context(self._spool.sheet()) for form in Format}
                for form, sheet in sheets.items():
                    await sheet.append(render_root_head(form))
                writers[view] = _Writer(policy, sheets)
            found = [await self._write_index(index, list(writers.values())) for index in self._indexes]
            if not any(found):
                raise UpstreamGoneError("no index of this proxy has a list of projects")
            unused = await stack.enter_async_context(AsyncExitStack())
            made = {view: await self._edition(view, writer, unused) for view, writer in writers.items()}
            old = [self._editions[view] for view in made if view in self._editions]
            self._editions |= made
            unused.pop_all()
            for spooled in (each for edition in old for each in edition.spooled.values()):
                await self._spool.remove(spooled)
        telemetry.event("root-list-made", projects=max(writer.count for writer in writers.values()))
        return made

    async def _edition(self, view: str, writer: _Writer, unused: AsyncExitStack) -> _Edition:
        """All formats, finished; removed with `unused`, unless all views' become the lists in force."""
        spooled = {}
        for form, sheet in writer.sheets.items():
            await sheet.append(render_root_tail(form))
            spooled[form] = await self._spool.finish(sheet, f"root-{form.name}-{view}")
            unused.push_async_callback(self._spool.remove, spooled[form])
        return _Edition(policy=writer.policy.digest, made=self._clock(), spooled=spooled)

    async def _write_index(self, index: IndexSettings, writers: Sequence[_Writer]) -> bool:
        async with self._upstream.root_list(index, Validators()) as answer:
            if not isinstance(answer, Contents):
                telemetry.warning("root-list-absent", index=index.name)
                return False
            parser = RootParser(answer.content_type)
            size = 0
            async for chunk in answer.chunks:
                size += len(chunk)
                if size > index.limits.page:
                    raise UpstreamNonsenseError(
                        f"the list of projects of {index.name} is over {index.limits.page} bytes"
                    )
                await self._write(await asyncio.to_thread(self._owned, parser.feed, chunk, index), writers)
            await self._write(await asyncio.to_thread(self._owned, lambda _: parser.close(), b"", index), writers)
            return True

    def _owned(
        self, names_in: Callable[[bytes], list[str]], chunk: bytes, index: IndexSettings
    ) -> list[tuple[str, NormalizedName]]:
        """Names as the index writes them, and normalised; those that it owns."""
        named = ((name, canonicalize_name(name)) for name in names_in(chunk))
        return [(name, project) for name, project in named if self._indexes.owner(project) is index]

    @staticmethod
    async def _write(names: list[tuple[str, NormalizedName]], writers: Sequence[_Writer]) -> None:
        for writer in writers:
            await writer.write(names)


class _Writer:
    """Names that a policy does not deny, to all sheets of its view, separated where the format wants it."""

    def __init__(self, policy: Policy, sheets: Mapping[Format, Sheet]) -> None:
        self.policy = policy
        self.sheets = sheets
        self.count = 0

    async def write(self, found: list[tuple[str, NormalizedName]]) -> None:
        names = await asyncio.to_thread(self._listed, found)
        if not names:
            return
        for form, sheet in self.sheets.items():
            await sheet.append(await asyncio.to_thread(_lines, form, names, first=self.count == 0))
        self.count += len(names)

    def _listed(self, found: list[tuple[str, NormalizedName]]) -> list[str]:
        return [name for name, project in found if not is_denied(self.policy, project)]


def _lines(form: Format, names: list[str], *, first: bool) -> bytes:
    return b"".join(render_root_line(name, form, first=first and position == 0) for position, name in enumerate(names))
