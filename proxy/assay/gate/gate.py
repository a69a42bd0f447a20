"""The one door: every route asks here, and gets the same verdict for the same file at the same moment.

Owns one view's flow page → judge → evidence → judge → ledger and its flights (one for each project, which belong to the
proxy and not to a request). What it is given besides its policy is shared with the gates of other views, and no verdict
is: each view lists and serves by its own. It speaks no HTTP and renders nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from packaging.version import InvalidVersion, Version

from assay import telemetry
from assay.caching.keyed_lock import Turns
from assay.errors import AssayError, FileNotListedError, NotYetError, ProjectNotFoundError, ProvenanceNotFoundError
from assay.files.cache import Content, FileContents, Stored, another_reader, project_of
from assay.files.index_metadata import Metadata
from assay.files.wheel_metadata import Opener, Wheels, is_wheel
from assay.gate.judged_page import Judged
from assay.gate.judged_page_cache import Memory
from assay.gate.page_judge import Court
from assay.indexes import Indexes, IndexSettings
from assay.pages.cache import Pages
from assay.policy.judge import metadata_from_wheel
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, Withheld
from assay.ports import Ledger, Page, Validators
from assay.provenance.resolver import Proofs
from assay.provenance.revalidation import Revalidation
from assay.simple.model import File, NormalizedName, Project


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How long a request waits for a page that is being worked out."""

    patience: timedelta = timedelta(seconds=10)


class WithheldError(AssayError):
    """A file that policy withholds was asked for; carries the verdict with its reasons."""

    def __init__(self, withheld: Withheld) -> None:
        super().__init__(f"{withheld.file.filename} is withheld")
        self.withheld = withheld


class Gate:
    """Pages, files, metadata and provenance, each through the same verdict."""

    def __init__(
        self,
        *,
        view: str,
        indexes: Indexes,
        policy: Policy,
        pages: Pages,
        proofs: Proofs,
        contents: FileContents,
        metadata: Metadata,
        wheels: Wheels,
        revalidation: Revalidation,
        ledger: Ledger,
        memory: Memory,
        turns: Turns,
        clock: Callable[[], datetime],
        settings: GateSettings | None = None,
    ) -> None:
        self.view = view
        """The name of the view whose gate it is."""
        self.policy = policy
        """Replaced as a whole on reload; the next request obeys it."""
        self.revalidation = revalidation
        self._indexes = indexes
        self._pages = pages
        self._proofs = proofs
        self._contents = contents
        self._metadata = metadata
        self._wheels = wheels
        self._court = Court(view=view, proofs=proofs, ledger=ledger, wheels=wheels, turns=turns, clock=clock)
        self._ledger = ledger
        self._clock = clock
        self._settings = settings or GateSettings()
        self._memory = memory
        self._flights: dict[NormalizedName, asyncio.Task[Judged]] = {}
        revalidation.listen(self._reconsider)

    async def page(self, name: NormalizedName) -> Judged:
        """The judged page of a project.

        Raises:
            ProjectNotFoundError: the catch-all index has no such project, or no index covers the name.
            NotYetError: it is still being worked out; the work goes on.
            AssayError: it cannot be had now.
        """
        return await self._page(name, self._settings.patience.total_seconds())

    def at_hand(self, name: NormalizedName) -> Judged | None:
        """What `page` gives, if that is in memory and holds; else None: nothing is begun."""
        judged = self._memory.get(self.view, name)
        if judged is None or not self._is_current(judged):
            return None
        self._memory.used(self.view, name)
        return judged

    async def _page(self, name: NormalizedName, patience: float | None) -> Judged:
        while True:
            if (judged := self.at_hand(name)) is not None:
                return judged
            judged = self._memory.get(self.view, name)
            if name not in self._flights:
                self._flights[name] = flight = asyncio.create_task(self._fly(name), name=f"page {name}")
                flight.add_done_callback(lambda done: self._landed(name, done))
            if judged is not None and self._is_current(judged, overdue=judged.grace):
                return judged
            flight = self._flights[name]
            done, _ = await asyncio.wait({flight}, timeout=patience)
            if not done:
                raise NotYetError(f"the page of {name} is being worked out: its files are being verified; ask again")
            judged = flight.result()
            # A flight that began before a reload may end after it: whoever asks now is answered by the new policy.
            if judged.policy == self.policy.digest:
                return judged

    async def file(self, location: str) -> Approved | Withheld:
        """The verdict on the file at a location (``host/path``, decoded once).

        Raises:
            FileNotListedError: no page lists it.
            AssayError: the page that would list it cannot be had now.
        """
        return (await self._find(location))[1]

    def file_at_hand(self, location: str) -> Approved | Withheld | None:
        """What `file` gives, if that can be said without waiting; else None: nothing is begun."""
        for name in self._indexes.could_list(location):
            judged = self.at_hand(name)
            if judged is None or (verdict := judged.by_location.get(location)) is not None:
                return None if judged is None else verdict
        return None

    def held(self, approved: Approved) -> bytes | None:
        """The bytes of a file approved just now, if they are in memory and nothing about them is left to be seen."""
        body = self._contents.held(approved)
        if body is None:
            return None
        name = project_of(approved)
        return body if self._wheels.has_seen(self._owner(name), name, approved.file) else None

    @asynccontextmanager
    async def content(self, approved: Approved) -> AsyncIterator[Content]:
        """The bytes of an approved file."""
        name = project_of(approved)
        index = self._owner(name)

        async def still_approved(opener: Opener) -> None:
            await self._wheels.look(index, name, approved.file, opener)
            # However long it takes: the client has its head and waits for the tail, there is nothing to be asked again.
            await self._confirm(approved, None)

        async with self._contents.of(approved, index, still_approved) as content:
            yield content

    async def _confirm(self, approved: Approved, patience: float | None) -> None:
        """That a file is approved now too, after whatever was waited for."""
        verdict = (await self._page(project_of(approved), patience)).by_location.get(approved.file.location)
        if isinstance(verdict, Withheld):
            raise WithheldError(verdict)
        if verdict is None or verdict.file.sha256 != approved.file.sha256:
            raise FileNotListedError(f"{approved.file.filename} is not listed any more")

    async def metadata(self, approved: Approved) -> bytes:
        """The METADATA beside an approved file, with the digest that the page gives.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            WithheldError: the file's own METADATA turns out to be another.
            UpstreamError: it cannot be had.
        """
        document = await self._metadata_of(approved)
        await self._confirm(approved, self._settings.patience.total_seconds())
        return document

    def metadata_at_hand(self, approved: Approved) -> bytes | None:
        """What `metadata` gives for a file approved just now, if it is in memory; else None."""
        name = project_of(approved)
        file, core = approved.file, approved.file.core_metadata
        known, own = self._wheels.own_at_hand(self._owner(name), name, file)
        if not known or core is None or (own is None and is_wheel(file) and metadata_from_wheel(self.policy, name)):
            return None
        digest = own or core.sha256
        return None if digest is None else self._metadata.held(digest)

    async def _metadata_of(self, approved: Approved) -> bytes:
        name = project_of(approved)
        index, file = self._owner(name), approved.file
        own = await self._wheels.own(index, name, file)
        from_wheel = is_wheel(file) and metadata_from_wheel(self.policy, name)
        if file.core_metadata is None or (own is None and not from_wheel):
            return await self._metadata.of(approved, index)
        if own is None or (kept := await self._metadata.kept(own)) is None:
            return await self._own_metadata(approved)
        return kept

    async def _own_metadata(self, approved: Approved) -> bytes:
        """The METADATA in the wheel, which is got whole for it if it is not here."""
        async with self.content(approved) as content:
            if isinstance(content, Stored):
                return await self._wheels.read(approved.file, partial(another_reader, content.blob))
            await content.download.finished()
            await content.still_approved()
            return await self._wheels.read(approved.file, content.download.reader)

    async def provenance(self, name: NormalizedName, version: str, filename: str) -> bytes:
        """An approved file's provenance document, its bytes unchanged.

        Raises:
            WithheldError: the file is withheld, and so is what speaks for it.
            ProvenanceNotFoundError: no such file, or no provenance for it.
        """
        judged = await self.page(name)
        verdicts = [
            verdict
            for verdict in judged.by_location.values()
            if verdict.file.filename == filename and _is_version(verdict.file, version)
        ]
        for verdict in verdicts:
            if isinstance(verdict, Withheld):
                raise WithheldError(verdict)
        for approved in (each for each in verdicts if isinstance(each, Approved)):
            document = await self._proofs.document(judged.page.index, name, approved.file)
            if document is not None:
                await self._confirm(approved, self._settings.patience.total_seconds())
                return document
        raise ProvenanceNotFoundError(f"No provenance available for {filename}")

    def in_memory(self) -> tuple[Judged, ...]:
        """The judged pages that are remembered, for counts; some may be due to be judged anew."""
        return self._memory.of(self.view)

    async def close(self) -> None:
        """End what is in the air."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _is_current(self, judged: Judged, *, overdue: timedelta = timedelta(0)) -> bool:
        now = self._clock()
        fresh = abs(now - judged.page.checked) < judged.page.index.freshness.page + overdue
        news = self._wheels.news(judged.page.index, judged.page.project.name)
        return (
            fresh
            and judged.news == news
            and judged.holds(policy=self.policy.digest, roots=self._proofs.roots_digest, now=now)
        )

    def _owner(self, name: NormalizedName) -> IndexSettings:
        index = self._indexes.owner(name)
        if index is None:
            raise ProjectNotFoundError(f"no index of this proxy covers the name {name}")
        return index

    def _landed(self, name: NormalizedName, flight: asyncio.Task[Judged]) -> None:
        del self._flights[name]
        if not flight.cancelled() and (error := flight.exception()) is not None and not isinstance(error, AssayError):
            telemetry.failure("page-failed", error, project=name)

    async def _fly(self, name: NormalizedName) -> Judged:
        judged = await self._renewed(name)
        self._memory.keep(self.view, name, judged)
        self._revalidate(judged)
        return judged

    async def _renewed(self, name: NormalizedName) -> Judged:
        index = self._owner(name)
        newest = (await self._ledger.history(index.name, name)).serial
        page = await self._pages.current(index, name, newest_serial=newest)
        if page is None:
            self._memory.forget(self.view, name)
            if self._indexes.is_catch_all(index):
                raise ProjectNotFoundError(f"{index.name} has no project {name}")
            page = self._reserved(index, name)
        known = self._memory.get(self.view, name)
        if (
            known is not None
            and not known.doubtful
            and known.page.version == page.version
            and known.holds(policy=self.policy.digest, roots=self._proofs.roots_digest, now=self._clock())
            and known.news == self._wheels.news(index, name)
        ):
            return replace(known, page=page)
        # Read once more: another view may have judged this project, and taught the ledger, while the page was awaited.
        return await self._court.judge(self.policy, page, await self._ledger.history(index.name, name))

    def _revalidate(self, judged: Judged) -> None:
        """Ask again, in the background, for provenance that may have been replaced since the page was last renewed."""
        page = judged.page
        if not page.stale:
            files = [each.file for each in judged.verdicts if each.file.provenance and each.file.sha256]
            self.revalidation.begin(page.index, page.project.name, files)

    def _reconsider(self, name: NormalizedName) -> None:
        """Judge a project anew at the next request, also where a flight that knows nothing yet is about to land."""
        self._memory.forget(self.view, name)
        if (flight := self._flights.get(name)) is not None:
            flight.add_done_callback(lambda _: self._memory.forget(self.view, name))

    def _reserved(self, index: IndexSettings, name: NormalizedName) -> Page:
        """An empty page for a name that its index reserves and does not have: a 404 would send uv elsewhere."""
        project = Project(name=name, files=(), api_version=(1, 4))
        return Page(
            index=index, project=project, version="", checked=self._clock(), validators=Validators(), reserved=True
        )

    async def _find(self, location: str) -> tuple[Judged, Approved | Withheld]:
        failure: AssayError | None = None
        for name in self._indexes.could_list(location):
            try:
                judged = await self.page(name)
            except ProjectNotFoundError:
                continue
            except AssayError as error:
                failure = error
                continue
            if (verdict := judged.by_location.get(location)) is not None:
                return judged, verdict
        if failure is not None:
            raise failure
        raise FileNotListedError(f"no page of this proxy lists {location}")


def _is_version(file: File, version: str) -> bool:
    with suppress(InvalidVersion):
        return file.distribution is not None and Version(version) == file.distribution.version
    return False
