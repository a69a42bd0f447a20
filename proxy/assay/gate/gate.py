"""The one door: every route asks here, and gets the same verdict for the same file at the same moment.

Owns one view's flow page → judge → evidence → judge → ledger and its flights (one for each project, which belong to the
proxy and not to a request). What it is given besides its policy is shared with the gates of other views, and no verdict
is: each view lists and serves by its own. It speaks no HTTP and renders nothing itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from packaging.version import InvalidVersion, Version

from assay import telemetry
from assay.caching.keyed_lock import KeyedLock
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.errors import AssayError, FileNotListedError, NotReadyError, ProjectNotFoundError, ProvenanceNotFoundError
from assay.files.cache import Cached, FileCache, FileContent, get_approved_project, reopen_blob
from assay.files.index_metadata import IndexMetadata
from assay.files.wheel_metadata import ReaderOpener, WheelMetadata, is_wheel
from assay.gate.judged_page import JudgedPage
from assay.gate.judged_page_cache import JudgedPageCache
from assay.gate.page_judge import PageJudge
from assay.indexes import Indexes, IndexSettings
from assay.pages.cache import PageCache
from assay.policy.judge import requires_wheel_metadata
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, Withheld
from assay.ports import IndexPage, Ledger, Validators
from assay.provenance.resolver import ProvenanceResolver
from assay.provenance.revalidation import ProvenanceRevalidator
from assay.simple.model import File, NormalizedName, Project


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How long a request waits for a page that is being worked out."""

    page_timeout: timedelta = timedelta(seconds=10)


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
        pages: PageCache,
        provenance_resolver: ProvenanceResolver,
        files: FileCache,
        index_metadata: IndexMetadata,
        wheel_metadata: WheelMetadata,
        revalidator: ProvenanceRevalidator,
        ledger: Ledger,
        judged_pages: JudgedPageCache,
        project_locks: KeyedLock,
        clock: Callable[[], datetime],
        settings: GateSettings | None = None,
    ) -> None:
        self.view = view
        """The name of the view whose gate it is."""
        self.policy = policy
        """Replaced as a whole on reload; the next request obeys it."""
        self.revalidator = revalidator
        self._indexes = indexes
        self._pages = pages
        self._provenance = provenance_resolver
        self._files = files
        self._metadata = index_metadata
        self._wheels = wheel_metadata
        self._page_judge = PageJudge(
            view=view,
            provenance_resolver=provenance_resolver,
            ledger=ledger,
            wheel_metadata=wheel_metadata,
            project_locks=project_locks,
            clock=clock,
        )
        self._ledger = ledger
        self._clock = clock
        self._settings = settings or GateSettings()
        self._judged_pages = judged_pages
        self._refreshes = SingleFlight[NormalizedName, JudgedPage]("page", report=_log_failed_refresh)
        revalidator.add_listener(self._invalidate)

    async def get_page(self, name: NormalizedName) -> JudgedPage:
        """The judged page of a project.

        Raises:
            ProjectNotFoundError: the catch-all index has no such project, or no index covers the name.
            NotReadyError: it is still being worked out; the work goes on.
            AssayError: it cannot be had now.
        """
        return await self._get_page(name, self._settings.page_timeout.total_seconds())

    def peek_page(self, name: NormalizedName) -> JudgedPage | None:
        """What `get_page` gives, if that is in memory and holds; else None: nothing is begun."""
        judged = self._judged_pages.get(self.view, name)
        if judged is None or not self._is_current(judged):
            return None
        self._judged_pages.touch(self.view, name)
        return judged

    async def _get_page(self, name: NormalizedName, timeout_seconds: float | None) -> JudgedPage:
        while True:
            if (judged := self.peek_page(name)) is not None:
                return judged
            judged = self._judged_pages.get(self.view, name)
            refresh = partial(self._refresh, name)
            if judged is not None and self._is_current(judged, stale_allowance=judged.stale_while_revalidate):
                self._refreshes.start(name, refresh)
                return judged
            try:
                judged = await self._refreshes.join(name, refresh, timeout_seconds=timeout_seconds)
            except StillRunningError as error:
                raise NotReadyError(
                    f"the page of {name} is being worked out: its files are being verified; ask again"
                ) from error
            # A flight that began before a reload may end after it: whoever asks now is answered by the new policy.
            if judged.policy_digest == self.policy.digest:
                return judged

    async def get_verdict(self, location: str) -> Approved | Withheld:
        """The verdict on the file at a location (``host/path``, decoded once).

        Raises:
            FileNotListedError: no page lists it.
            AssayError: the page that would list it cannot be had now.
        """
        return (await self._find_verdict(location))[1]

    def peek_verdict(self, location: str) -> Approved | Withheld | None:
        """What `get_verdict` gives, if that can be said without waiting; else None: nothing is begun."""
        for name in self._indexes.find_candidate_projects(location):
            judged = self.peek_page(name)
            if judged is None or (verdict := judged.by_location.get(location)) is not None:
                return None if judged is None else verdict
        return None

    def peek_content(self, approved: Approved) -> bytes | None:
        """The bytes of a file approved just now, if they are in memory and nothing about them is left to be seen."""
        body = self._files.peek(approved)
        if body is None:
            return None
        name = get_approved_project(approved)
        return body if self._wheels.has_inspected(self._require_owner(name), name, approved.file) else None

    @asynccontextmanager
    async def open_content(self, approved: Approved) -> AsyncIterator[FileContent]:
        """The bytes of an approved file."""
        name = get_approved_project(approved)
        index = self._require_owner(name)

        async def still_approved(opener: ReaderOpener) -> None:
            await self._wheels.inspect(index, name, approved.file, opener)
            # However long it takes: the client has its head and waits for the tail, there is nothing to be asked again.
            await self._require_approved_now(approved, None)

        async with self._files.open(approved, index, still_approved) as content:
            yield content

    async def _require_approved_now(self, approved: Approved, timeout_seconds: float | None) -> None:
        """That a file is approved now too, after whatever was waited for."""
        verdict = (await self._get_page(get_approved_project(approved), timeout_seconds)).by_location.get(
            approved.file.location
        )
        if isinstance(verdict, Withheld):
            raise WithheldError(verdict)
        if verdict is None or verdict.file.sha256 != approved.file.sha256:
            raise FileNotListedError(f"{approved.file.filename} is not listed any more")

    async def get_metadata(self, approved: Approved) -> bytes:
        """The METADATA beside an approved file, with the digest that the page gives.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            WithheldError: the file's own METADATA turns out to be another.
            UpstreamError: it cannot be had.
        """
        document = await self._load_metadata(approved)
        await self._require_approved_now(approved, self._settings.page_timeout.total_seconds())
        return document

    def peek_metadata(self, approved: Approved) -> bytes | None:
        """What `get_metadata` gives for a file approved just now, if it is in memory; else None."""
        name = get_approved_project(approved)
        file, core = approved.file, approved.file.core_metadata
        known, own = self._wheels.peek_own_digest(self._require_owner(name), name, file)
        if not known or core is None or (own is None and is_wheel(file) and requires_wheel_metadata(self.policy, name)):
            return None
        digest = own or core.sha256
        return None if digest is None else self._metadata.peek(digest)

    async def _load_metadata(self, approved: Approved) -> bytes:
        name = get_approved_project(approved)
        index, file = self._require_owner(name), approved.file
        own = await self._wheels.get_own_digest(index, name, file)
        from_wheel = is_wheel(file) and requires_wheel_metadata(self.policy, name)
        if file.core_metadata is None or (own is None and not from_wheel):
            return await self._metadata.get_document(approved, index)
        if own is None or (kept := await self._metadata.find_stored(own)) is None:
            return await self._read_wheel_metadata(approved)
        return kept

    async def _read_wheel_metadata(self, approved: Approved) -> bytes:
        """The METADATA in the wheel, which is got whole for it if it is not here."""
        async with self.open_content(approved) as content:
            if isinstance(content, Cached):
                return await self._wheels.read_metadata(approved.file, partial(reopen_blob, content.blob))
            await content.download.wait_until_verified()
            await content.still_approved()
            return await self._wheels.read_metadata(approved.file, content.download.open_reader)

    async def get_provenance(self, name: NormalizedName, version: str, filename: str) -> bytes:
        """An approved file's provenance document, its bytes unchanged.

        Raises:
            WithheldError: the file is withheld, and so is what speaks for it.
            ProvenanceNotFoundError: no such file, or no provenance for it.
        """
        judged = await self.get_page(name)
        verdicts = [
            verdict
            for verdict in judged.by_location.values()
            if verdict.file.filename == filename and _has_version(verdict.file, version)
        ]
        for verdict in verdicts:
            if isinstance(verdict, Withheld):
                raise WithheldError(verdict)
        for approved in (each for each in verdicts if isinstance(each, Approved)):
            document = await self._provenance.get_document(judged.page.index, name, approved.file)
            if document is not None:
                await self._require_approved_now(approved, self._settings.page_timeout.total_seconds())
                return document
        raise ProvenanceNotFoundError(f"No provenance available for {filename}")

    def list_cached_pages(self) -> tuple[JudgedPage, ...]:
        """The judged pages that are remembered, for counts; some may be due to be judged anew."""
        return self._judged_pages.list_pages(self.view)

    async def close(self) -> None:
        """End the refreshes that are running."""
        await self._refreshes.close()

    def _is_current(self, judged_page: JudgedPage, *, stale_allowance: timedelta = timedelta(0)) -> bool:
        now = self._clock()
        fresh = abs(now - judged_page.page.confirmed_at) < judged_page.page.index.freshness.page + stale_allowance
        news = self._wheels.get_facts_version(judged_page.page.index, judged_page.page.project.name)
        return (
            fresh
            and judged_page.facts_version == news
            and judged_page.is_valid(
                policy_digest=self.policy.digest, roots_digest=self._provenance.roots_digest, now=now
            )
        )

    def _require_owner(self, name: NormalizedName) -> IndexSettings:
        index = self._indexes.find_owner(name)
        if index is None:
            raise ProjectNotFoundError(f"no index of this proxy covers the name {name}")
        return index

    async def _refresh(self, name: NormalizedName) -> JudgedPage:
        judged = await self._judge_current_page(name)
        self._judged_pages.put(self.view, name, judged)
        self._start_revalidation(judged)
        return judged

    async def _judge_current_page(self, name: NormalizedName) -> JudgedPage:
        index = self._require_owner(name)
        newest = (await self._ledger.get_history(index.name, name)).serial
        page = await self._pages.get_current(index, name, newest_serial=newest)
        if page is None:
            self._judged_pages.invalidate(self.view, name)
            if self._indexes.is_catch_all(index):
                raise ProjectNotFoundError(f"{index.name} has no project {name}")
            page = self._make_absent_page(index, name)
        known = self._judged_pages.get(self.view, name)
        if (
            known is not None
            and not known.has_failed_evidence
            and known.page.content_digest == page.content_digest
            and known.is_valid(
                policy_digest=self.policy.digest, roots_digest=self._provenance.roots_digest, now=self._clock()
            )
            and known.facts_version == self._wheels.get_facts_version(index, name)
        ):
            return replace(known, page=page)
        # Read once more: another view may have judged this project, and taught the ledger, while the page was awaited.
        return await self._page_judge.judge(self.policy, page, await self._ledger.get_history(index.name, name))

    def _start_revalidation(self, judged_page: JudgedPage) -> None:
        """Fetch again, in the background, documents that may have been replaced since the page was last renewed."""
        page = judged_page.page
        if not page.is_stale:
            files = [each.file for each in judged_page.verdicts if each.file.sha256]
            self.revalidator.start(page.index, page.project.name, files)

    def _invalidate(self, name: NormalizedName) -> None:
        """Judge a project anew at the next request, also where a flight that knows nothing yet is about to land."""
        self._judged_pages.invalidate(self.view, name)
        if (flight := self._refreshes.get(name)) is not None:
            flight.add_done_callback(lambda _: self._judged_pages.invalidate(self.view, name))

    def _make_absent_page(self, index: IndexSettings, name: NormalizedName) -> IndexPage:
        """An empty page for a name that its index reserves and does not have: a 404 would send uv elsewhere."""
        project = Project(name=name, files=(), api_version=(1, 4))
        return IndexPage(
            index=index,
            project=project,
            content_digest="",
            confirmed_at=self._clock(),
            validators=Validators(),
            is_absent=True,
        )

    async def _find_verdict(self, location: str) -> tuple[JudgedPage, Approved | Withheld]:
        failure: AssayError | None = None
        for name in self._indexes.find_candidate_projects(location):
            try:
                judged = await self.get_page(name)
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


def _log_failed_refresh(name: NormalizedName, error: BaseException) -> None:
    if not isinstance(error, AssayError):
        telemetry.failure("page-failed", error, project=name)


def _has_version(file: File, version: str) -> bool:
    with suppress(InvalidVersion):
        return file.distribution is not None and Version(version) == file.distribution.version
    return False
