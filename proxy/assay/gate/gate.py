"""The gate of one view: every route asks it, and gets the same verdict for the same file at the same moment.

Owns the view's flow page → judge → evidence → judge → ledger, and its refreshes: one at a time for each project, which
belongs to the proxy and not to a request. Pages, evidence, files and the ledger are shared with the gates of other
views; verdicts are not: each view lists and serves by its own. It speaks no HTTP and renders nothing itself.

Views that need one project at the same time take turns by `Flights`: one for its page, one for its evidence, so that a
view that needs no evidence does not wait for one that does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from packaging.version import InvalidVersion, Version

from assay import telemetry
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.errors import AssayError, FileNotListedError, NotReadyError, ProjectNotFoundError, ProvenanceNotFoundError
from assay.files.cache import FileContent
from assay.files.service import FileService
from assay.gate.judged_page import JudgedPage, JudgedPageCache
from assay.gate.page_judge import PageJudge
from assay.pages.service import PageService
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, Withheld
from assay.ports import Flights, Ledger, Notice
from assay.provenance.service import ProvenanceService
from assay.simple.model import File, NormalizedName


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How long a request waits for a page that is being worked out."""

    page_timeout: timedelta = timedelta(seconds=10)


class WithheldError(AssayError):
    """A file that policy withholds was asked for; carries the verdict with its reasons."""

    def __init__(self, withheld: Withheld) -> None:
        super().__init__(f"{withheld.file.filename} is withheld")
        self.withheld = withheld


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResources:
    """What is fetched, proven and kept for the gates of all views."""

    pages: PageService
    provenance: ProvenanceService
    files: FileService


class Gate:
    """Pages, files, metadata and provenance, each through the same verdict.

    Args:
        view: the name of the view that it decides for.
        policy: decides.
        resources: shared by all views.
        ledger: shared by all views.
        judged_pages: of all views.
        flights: shared by all views, so that a project is fetched for all of them once.
        clock: UTC.
        settings: how long a request waits.
    """

    def __init__(
        self,
        *,
        view: str,
        policy: Policy,
        resources: GateResources,
        ledger: Ledger,
        judged_pages: JudgedPageCache,
        flights: Flights,
        clock: Callable[[], datetime],
        settings: GateSettings | None = None,
    ) -> None:
        self.view = view
        self.policy = policy
        """Replaced as a whole on reload; the next request obeys it."""
        self.resources = resources
        self._pages = resources.pages
        self._provenance = resources.provenance
        self._files = resources.files
        self._page_judge = PageJudge(
            view=view,
            provenance=resources.provenance,
            wheels=resources.files.wheels,
            ledger=ledger,
            flights=flights,
            clock=clock,
        )
        self._ledger = ledger
        self._flights = flights
        self._clock = clock
        self._settings = settings or GateSettings()
        self._judged_pages = judged_pages
        self._refreshes = SingleFlight[NormalizedName, JudgedPage]("page", report=_log_failed_refresh)

    async def get_page(self, name: NormalizedName) -> JudgedPage:
        """Return the judged page of a project.

        Raises:
            ProjectNotFoundError: the catch-all index has no such project, or no index covers the name.
            NotReadyError: it is still being worked out; the work goes on.
            AssayError: it cannot be had now.
        """
        return await self._get_page(name, self._settings.page_timeout.total_seconds())

    def peek_page(self, name: NormalizedName) -> JudgedPage | None:
        """Return what `get_page` returns if it is in memory and current; else None. Start nothing."""
        judged = self._judged_pages.get((self.view, name))
        return judged if judged is not None and self._is_current(judged) else None

    async def _get_page(self, name: NormalizedName, timeout_seconds: float | None) -> JudgedPage:
        while True:
            if (judged := self.peek_page(name)) is not None:
                return judged
            judged = self._judged_pages.get((self.view, name))
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
            # A refresh that began before a reload may end after it; this request is answered by the new policy.
            if judged.policy_digest == self.policy.digest:
                return judged

    async def get_verdict(self, location: str) -> Approved | Withheld:
        """Return the verdict on the file at a location (``host/path``, decoded once).

        Raises:
            FileNotListedError: no page lists it.
            AssayError: the page that would list it cannot be had now.
        """
        return (await self._find_verdict(location))[1]

    def peek_verdict(self, location: str) -> Approved | Withheld | None:
        """Return what `get_verdict` returns if its pages are in memory and current; else None. Start nothing."""
        for name in self._pages.find_candidate_projects(location):
            judged = self.peek_page(name)
            if judged is None or (verdict := judged.by_location.get(location)) is not None:
                return None if judged is None else verdict
        return None

    def peek_content(self, approved: Approved) -> bytes | None:
        """Return the bytes of a file approved just now if they are in memory and need no inspection; else None."""
        return self._files.peek(self._pages.require_owner(approved.project), approved)

    def open_content(self, approved: Approved) -> AbstractAsyncContextManager[FileContent]:
        """Open the bytes of an approved file until the context ends."""
        # However long it takes: the client has its head and waits for the tail, there is nothing to be asked again.
        ensure_approved = partial(self._require_approved_now, approved, None)
        return self._files.open(self._pages.require_owner(approved.project), approved, ensure_approved)

    async def _require_approved_now(self, approved: Approved, timeout_seconds: float | None) -> Approved:
        """Return the verdict of now on a file that was approved before whatever was waited for.

        Raises:
            WithheldError: the file is withheld now.
            FileNotListedError: no page lists it any more.
        """
        judged = await self._get_page(approved.project, timeout_seconds)
        verdict = judged.by_location.get(approved.file.location)
        if isinstance(verdict, Withheld):
            raise WithheldError(verdict)
        if verdict is None or verdict.file.sha256 != approved.file.sha256:
            raise FileNotListedError(f"{approved.file.filename} is not listed any more")
        return verdict

    async def get_metadata(self, approved: Approved) -> bytes:
        """Return the METADATA beside an approved file, with the digest that the page gives.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            WithheldError: the file's own METADATA turns out to be another.
            UpstreamError: it cannot be had.
        """
        index = self._pages.require_owner(approved.project)
        ensure_approved = partial(self._require_approved_now, approved, None)
        document = await self._files.get_metadata(index, approved, self.policy, ensure_approved)
        await self._require_approved_now(approved, self._settings.page_timeout.total_seconds())
        return document

    def peek_metadata(self, approved: Approved) -> bytes | None:
        """Return what `get_metadata` returns for a file approved just now if it is in memory; else None."""
        index = self._pages.require_owner(approved.project)
        return self._files.peek_metadata(index, approved, self.policy)

    async def get_provenance(self, name: NormalizedName, version: str, filename: str) -> tuple[Approved, bytes]:
        """Return the approval of a file and its provenance document, the bytes unchanged.

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
                seconds = self._settings.page_timeout.total_seconds()
                return await self._require_approved_now(approved, seconds), document
        raise ProvenanceNotFoundError(f"No provenance available for {filename}")

    def list_cached_pages(self) -> tuple[JudgedPage, ...]:
        """Return the judged pages that are in memory, for counts; some may be due to be judged anew."""
        return tuple(judged for (view, _), judged in self._judged_pages.snapshot().items() if view == self.view)

    async def close(self) -> None:
        """End the refreshes that are running."""
        await self._refreshes.close()

    def _is_current(self, judged_page: JudgedPage, *, stale_allowance: timedelta = timedelta(0)) -> bool:
        now, page = self._clock(), judged_page.page
        return abs(now - page.confirmed_at) < page.index.freshness.page + stale_allowance and self._is_valid(
            judged_page, now
        )

    def _is_valid(self, judged_page: JudgedPage, now: datetime, ledger_version: int | None = None) -> bool:
        """Return whether this page's verdicts would be the same now: the only place that compares.

        Without `ledger_version` the ledger is not compared: it is read when a page is renewed, and what another writer
        adds to it in between comes as a notice.
        """
        page = judged_page.page
        version = judged_page.dependencies["ledger"] if ledger_version is None else ledger_version
        dependencies = self._page_judge.get_dependencies(
            self.policy, page.index, page.project.name, ledger_version=version
        )
        return judged_page.is_valid(dependencies, now)

    async def _refresh(self, name: NormalizedName) -> JudgedPage:
        judged = await self._judge_current_page(name)
        self._judged_pages.put((self.view, name), judged)
        # Provenance may have been replaced since the page was last renewed.
        self._provenance.start_revalidation(judged.page, [verdict.file for verdict in judged.verdicts])
        return judged

    async def _judge_current_page(self, name: NormalizedName) -> JudgedPage:
        index = self._pages.require_owner(name)
        async with self._flights.flight(f"page:{index.name}:{name}", partial(self._pages.is_fresh, index, name)):
            history = await self._ledger.get_history(index.name, name)
            try:
                page = await self._pages.get_current(index, name, newest_serial=history.serial)
            except ProjectNotFoundError:
                self._judged_pages.pop((self.view, name))
                raise
        if page.is_absent:
            self._judged_pages.pop((self.view, name))
        known = self._judged_pages.peek((self.view, name))
        if (
            known is not None
            and not known.has_failed_evidence
            and known.page.content_digest == page.content_digest
            and self._is_valid(known, self._clock(), history.version)
        ):
            return replace(known, page=page)
        return await self._page_judge.judge(self.policy, page)

    def handle_notice(self, notice: Notice) -> None:
        """Judge a project again at the next request; a refresh that runs now may not know what has changed."""
        self._judged_pages.pop((self.view, notice.project))
        if (refresh := self._refreshes.get(notice.project)) is not None:
            refresh.add_done_callback(lambda _: self._judged_pages.pop((self.view, notice.project)))

    async def _find_verdict(self, location: str) -> tuple[JudgedPage, Approved | Withheld]:
        failure: AssayError | None = None
        for name in self._pages.find_candidate_projects(location):
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
