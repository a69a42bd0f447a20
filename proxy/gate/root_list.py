"""A view's list of all projects: spooled to disk by format, without names that policy denies or another index owns.

Owns the refreshing: at most one at a time, in the background, on demand. PyPI's list has 40 MB, so it is never in
memory whole: parsed, filtered and written chunk by chunk, off the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO

from packaging.utils import canonicalize_name

from proxy import telemetry
from proxy.errors import AssayError, NotYetError, UpstreamGoneError, UpstreamNonsenseError
from proxy.indexes import Indexes, IndexSettings
from proxy.policy.judge import is_denied
from proxy.policy.model import Policy
from proxy.render import render_root_head, render_root_line, render_root_tail
from proxy.simple.negotiate import Format
from proxy.simple.root import RootParser
from proxy.store.spool import Sheet, Spool, Spooled
from proxy.upstream import Contents, Upstream, Validators


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
    """The list, in the edition of the moment."""

    def __init__(
        self,
        *,
        view: str,
        upstream: Upstream,
        indexes: Indexes,
        spool: Spool,
        policy: Callable[[], Policy],
        freshness: timedelta,
        clock: Callable[[], datetime],
        patience: timedelta = timedelta(seconds=10),
    ) -> None:
        self._view = view
        self._upstream = upstream
        self._indexes = indexes
        self._spool = spool
        self._policy = policy
        self._freshness = freshness
        self._clock = clock
        self._patience = patience
        self._edition: _Edition | None = None
        self._refreshing: asyncio.Task[_Edition] | None = None

    @asynccontextmanager
    async def current(self, form: Format) -> AsyncIterator[Open]:
        """The list in one format.

        Raises:
            NotYetError: the first edition is still being made.
            AssayError: it cannot be made.
        """
        edition = await self._usable()
        async with self._spool.reading(edition.spooled[form]) as file:
            yield Open(file=file, size=edition.spooled[form].size, etag=edition.spooled[form].etag)

    async def close(self) -> None:
        """End a refresh that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    async def _usable(self) -> _Edition:
        policy, now, edition = self._policy(), self._clock(), self._edition
        obeyed = edition is not None and edition.policy == policy.digest
        if edition is not None and obeyed and abs(now - edition.made) < self._freshness:
            return edition
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(policy), name="root list")
            self._refreshing.add_done_callback(self._refreshed)
        if edition is not None and obeyed:
            # Old names only: what each page lists is decided when it is asked for.
            return edition
        refreshing = self._refreshing
        done, _ = await asyncio.wait({refreshing}, timeout=self._patience.total_seconds())
        if not done:
            raise NotYetError("the list of projects is being fetched; ask again")
        return refreshing.result()

    def _refreshed(self, task: asyncio.Task[_Edition]) -> None:
        self._refreshing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, AssayError):
                telemetry.warning("root-list-failed", error=str(error))
            else:
                telemetry.failure("root-list-failed", error)

    async def _refresh(self, policy: Policy) -> _Edition:
        async with AsyncExitStack() as stack:
            sheets = {form: await stack.enter_async_context(self._spool.sheet()) for form in Format}
            for form, sheet in sheets.items():
                await sheet.append(render_root_head(form))
            writer = _Writer(sheets)
            found = [await self._write_index(index, policy, writer) for index in self._indexes]
            if not any(found):
                raise UpstreamGoneError("no index of this proxy has a list of projects")
            for form, sheet in sheets.items():
                await sheet.append(render_root_tail(form))
            spooled = {
                form: await self._spool.finish(sheet, f"root-{form.name}-{self._view}")
                for form, sheet in sheets.items()
            }
        self._edition = _Edition(policy=policy.digest, made=self._clock(), spooled=spooled)
        telemetry.event("root-list-made", projects=writer.count)
        return self._edition

    async def _write_index(self, index: IndexSettings, policy: Policy, writer: _Writer) -> bool:
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
                await writer.write(await asyncio.to_thread(self._listed, parser.feed, chunk, index, policy))
            await writer.write(await asyncio.to_thread(self._listed, lambda _: parser.close(), b"", index, policy))
            return True

    def _listed(
        self, names_in: Callable[[bytes], list[str]], chunk: bytes, index: IndexSettings, policy: Policy
    ) -> list[str]:
        return [name for name in names_in(chunk) if self._is_listed(name, index, policy)]

    def _is_listed(self, name: str, index: IndexSettings, policy: Policy) -> bool:
        project = canonicalize_name(name)
        return self._indexes.owner(project) is index and not is_denied(policy, project)


class _Writer:
    """Names to all sheets, separated where the format wants it."""

    def __init__(self, sheets: Mapping[Format, Sheet]) -> None:
        self._sheets = sheets
        self.count = 0

    async def write(self, names: list[str]) -> None:
        if not names:
            return
        for form, sheet in self._sheets.items():
            await sheet.append(await asyncio.to_thread(_lines, form, names, first=self.count == 0))
        self.count += len(names)


def _lines(form: Format, names: list[str], *, first: bool) -> bytes:
    return b"".join(render_root_line(name, form, first=first and position == 0) for position, name in enumerate(names))
