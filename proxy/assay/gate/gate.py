"""Gate of one view: the only way from a request to a page or a file.

A view is a policy with its own URL path. Every route asks the view's gate, so all routes give a file the same verdict
at the same moment. Gates of different views share pages, evidence, files and the ledger, but not verdicts. A gate
speaks no HTTP and renders nothing itself.

To refresh a project, the gate fetches the page, judges it, fetches evidence, judges again and updates the ledger. It
runs one refresh of a project at a time. A refresh continues even if the request that started it ends.

Locks (`Flights`) let only one view at a time work on a project. A project has one lock for its page and another for its
evidence, so a view that needs no evidence does not wait for a view that fetches some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from assay import telemetry
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.errors import (
    AssayError,
    EvidencePendingError,
    EvidenceUnavailableError,
    FileNotListedError,
    NotReadyError,
    ProjectNotFoundError,
    ProvenanceNotFoundError,
    SerialRollbackError,
)
from assay.evidence import Evidence, Unstated
from assay.files.cache import FileContent
from assay.files.service import FileService
from assay.gate.judged_page import JudgedPage, JudgedPageCache
from assay.gate.ledger_grace import require_no_new_approvals
from assay.gate.page_advisories import PageAdvisories
from assay.gate.page_judge import PageJudge
from assay.pages.service import PageService
from assay.policy.language.model import Policy, Showing
from assay.policy.language.times import format_instant
from assay.policy.verdict import Approved, Undecided, Verdict, Withheld
from assay.ports import Advisories, Flights, IndexPage, Ledger, Notice, NoticeTopic, ProjectHistory
from assay.provenance.documents import FileKey
from assay.provenance.service import ProvenanceService
from assay.simple.fields import parse_version
from assay.simple.model import File, NormalizedName
from assay.simple.parse import basename


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """Time limits of a gate."""

    page_timeout: timedelta = timedelta(seconds=10)
    """Maximum wait of a request while a page is being fetched or judged. The request fails after this time."""
    evidence_timeout: timedelta = timedelta(seconds=5)
    """Maximum wait of a refresh for the first tries to fetch provenance. After this time the page is served, and it
    lists the files whose provenance is missing as undecided."""


class WithheldError(AssayError):
    """Error for a request for a withheld file. It carries the verdict, which contains the reasons."""

    def __init__(self, withheld: Withheld) -> None:
        super().__init__(f"{withheld.file.filename} is withheld")
        self.withheld = withheld


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResources:
    """Services that the gates of all views share: pages, provenance, files and advisories."""

    pages: PageService
    provenance: ProvenanceService
    files: FileService
    advisories: Advisories


class Gate:
    """Access of one view to pages, files, METADATA and provenance.

    The verdict on a file decides about access to its bytes, its METADATA and its provenance.

    Args:
        view: name of the view.
        policy: policy of the view.
        withheld: listing of withheld versions on pages; None: as the policy says.
        resources: services that all views share.
        ledger: ledger that all views share.
        judged_pages: cache of judged pages that all views share.
        flights: locks that all views share, so that only one view at a time fetches a project.
        clock: returns the current time in UTC.
        settings: time limits.
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
        withheld: Showing | None = None,
        settings: GateSettings | None = None,
    ) -> None:
        self.view = view
        self.policy = policy
        """Policy in force. A policy reload replaces this object, and the next request uses the new policy."""
        self.resources = resources
        self._pages = resources.pages
        self._provenance = resources.provenance
        self._files = resources.files
        self._advisories = PageAdvisories(resources.advisories)
        self._page_judge = PageJudge(
            view=view,
            provenance=resources.provenance,
            wheels=resources.files.wheels,
            failed_metadata=resources.files.failed_metadata,
            advisories=self._advisories,
            ledger=ledger,
            flights=flights,
            clock=clock,
            evidence_timeout=(settings or GateSettings()).evidence_timeout,
            withheld=withheld,
        )
        self._ledger = ledger
        self._flights = flights
        self._clock = clock
        self._settings = settings or GateSettings()
        self._judged_pages = judged_pages
        self._refreshes = SingleFlight[NormalizedName, JudgedPage]("page", report=_log_failed_refresh)

    @property
    def showing(self) -> Showing:
        """Listing of withheld versions on the pages of this view."""
        return self._page_judge.choose_showing(self.policy)

    async def get_page(self, name: NormalizedName) -> JudgedPage:
        """Return the judged page of a project.

        Raises:
            ProjectNotFoundError: the catch-all index has no such project, or no index covers the name.
            NotReadyError: the page was not ready within the time limit; its refresh continues.
            AssayError: the page cannot be fetched or judged now.
        """
        return await self._get_page(name, self._settings.page_timeout.total_seconds())

    def peek_page(self, name: NormalizedName) -> JudgedPage | None:
        """Return the judged page of a project if it is in memory and current, else None. Start no refresh."""
        judged = self._judged_pages.get((self.view, name))
        is_usable = (
            judged is not None
            and self._advisories.is_ready
            and self._is_current(judged)
            and self._pages.is_current(judged.page.index)
        )
        return judged if is_usable else None

    async def _get_page(self, name: NormalizedName, timeout_seconds: float | None) -> JudgedPage:
        await self._pages.refresh_hosted(name)
        while True:
            self._advisories.require_ready()
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
                if self._pages.is_requested(name):
                    raise NotReadyError(f"the index has not sent the page of {name} yet; try again") from error
                raise NotReadyError(f"the page of {name} is still being verified; try again") from error
            # A refresh that began before a policy reload may end after it. Only the new policy may answer this request.
            # The same applies to new advisories, and to uploads to a hosted index.
            version = self._advisories.get_version(judged.page.index, name)
            if (
                judged.policy_digest == self.policy.digest
                and judged.dependencies["advisories"] == version
                and self._pages.is_latest(judged.page)
            ):
                return judged

    async def get_verdict(self, location: str) -> Approved | Withheld:
        """Return the verdict on the file at a location (``host/path``, percent-decoded once).

        Raises:
            FileNotListedError: no page lists the location, and no listed file was at this location before.
            EvidencePendingError: the file's provenance was not fetched within `page_timeout`; the first try continues.
            EvidenceUnavailableError: the last try to fetch the file's provenance failed.
            AssayError: a page that may list the location cannot be fetched or judged now.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.page_timeout.total_seconds()
        while True:
            judged, verdict = await self._find_verdict(location)
            is_pending = isinstance(verdict, Undecided) and verdict.file.location not in judged.failures
            if not (is_pending and await self._provenance.wait_for_news(judged.page, deadline - loop.time())):
                return require_decision(judged, verdict)

    def peek_verdict(self, location: str) -> Approved | Withheld | None:
        """Return the verdict on the file at a location if it can be found in memory, else None. Start no refresh.

        The filename may belong to several projects, whose pages are searched in order. If a page is not in memory or
        not current before the location is found, return None.
        """
        for name in self._pages.find_candidate_projects(location):
            judged = self.peek_page(name)
            if judged is None or (verdict := judged.by_location.get(location)) is not None:
                return None if judged is None or isinstance(verdict, Undecided) else verdict
        return None

    async def preview(self, page: IndexPage, evidence: Mapping[FileKey, Evidence]) -> tuple[Verdict, ...]:
        """Return the verdicts on a page of a hosted index as it would be after an upload; record nothing.

        Args:
            page: the page with the uploaded file.
            evidence: evidence about the uploaded file.

        Raises:
            AssayError: required evidence about other files cannot be obtained now.
        """
        return await self._page_judge.preview(self.policy, page, evidence)

    def peek_listing_page(self, withheld: Withheld) -> JudgedPage | None:
        """Return the judged page that has this verdict if it is in memory, else None. Start no refresh.

        The page may be stale, because a verdict may come from a stale page.
        """
        file = withheld.file
        own = () if file.distribution is None else (file.distribution.project,)
        for name in dict.fromkeys((*own, *self._pages.find_candidate_projects(file.location))):
            judged = self._judged_pages.peek((self.view, name))
            if judged is not None and judged.by_location.get(file.location) == withheld:
                return judged
        return None

    def peek_content(self, approved: Approved) -> bytes | None:
        """Return the bytes of a file if they are in memory, else None.

        Also return None if the file is a wheel whose METADATA has not been read yet.

        Args:
            approved: the current approval of the file, which is not checked again.
        """
        return self._files.peek(self._pages.require_owner(approved.project), approved)

    def open_content(self, approved: Approved) -> AbstractAsyncContextManager[FileContent]:
        """Return a context manager that opens the bytes of an approved file and closes them at its end."""
        # No timeout: the client has the response head by then and waits for the tail, so it could not retry anyway.
        ensure_approved = partial(self._require_approved_now, approved, None)
        return self._files.open(self._pages.require_owner(approved.project), approved, ensure_approved)

    def open_held_content(self, approved: Approved) -> AbstractAsyncContextManager[FileContent | None]:
        """Return a context manager as `open_content` does, but start no download: the content is then None."""
        ensure_approved = partial(self._require_approved_now, approved, None)
        return self._files.open_held(self._pages.require_owner(approved.project), approved, ensure_approved)

    async def _require_approved_now(self, approved: Approved, timeout_seconds: float | None) -> Approved:
        """Return the current approval of a file that was approved before a wait.

        Args:
            approved: the earlier approval.
            timeout_seconds: maximum seconds to wait for the judged page; None for no limit.

        Raises:
            WithheldError: the file is withheld now.
            FileNotListedError: the page no longer lists the file, or lists it with another digest.
        """
        judged = await self._get_page(approved.project, timeout_seconds)
        verdict = judged.by_location.get(approved.file.location)
        if verdict is None or verdict.file.sha256 != approved.file.sha256:
            raise FileNotListedError(f"{approved.file.filename} is no longer listed")
        decided = require_decision(judged, verdict)
        if isinstance(decided, Withheld):
            raise WithheldError(decided)
        return decided

    async def get_metadata(self, approved: Approved) -> bytes:
        """Return the METADATA of an approved file (PEP 658). Its digest is the one on the page.

        Raises:
            FileNotListedError: the page offers no METADATA for the file.
            DigestMismatchError: the index's METADATA does not have the digest on the page; a security event is logged.
            WithheldError: the METADATA in the wheel differs from the index's METADATA, so the policy withholds the file
                now.
            UpstreamError: the METADATA cannot be fetched.
        """
        index = self._pages.require_owner(approved.project)
        ensure_approved = partial(self._require_approved_now, approved, None)
        document = await self._files.get_metadata(index, approved, self.policy, ensure_approved)
        await self._require_approved_now(approved, self._settings.page_timeout.total_seconds())
        return document

    def peek_metadata(self, approved: Approved) -> bytes | None:
        """Return the METADATA of a file if it is in memory, else None.

        Args:
            approved: the current approval of the file, which is not checked again.
        """
        index = self._pages.require_owner(approved.project)
        return self._files.peek_metadata(index, approved, self.policy)

    async def get_provenance(self, name: NormalizedName, version: str, filename: str) -> tuple[Approved, bytes]:
        """Return the approval of a file and its provenance document (PEP 740).

        The bytes of the document are those of the index, unchanged.

        Raises:
            WithheldError: the file is withheld, so its provenance is withheld too.
            ProvenanceNotFoundError: the page lists no such file, or the file has no provenance.
        """
        judged = await self.get_page(name)
        verdicts = [
            verdict
            for verdict in judged.by_location.values()
            if verdict.file.filename == filename and _has_version(verdict.file, version)
        ]
        for verdict in verdicts:
            if isinstance(decided := require_decision(judged, verdict), Withheld):
                raise WithheldError(decided)
        for approved in (each for each in verdicts if isinstance(each, Approved)):
            document = await self._provenance.get_document(judged.page.index, name, approved.file)
            if document is not None:
                seconds = self._settings.page_timeout.total_seconds()
                return await self._require_approved_now(approved, seconds), document
        approvals = (each for each in verdicts if isinstance(each, Approved))
        why = next((f": {each.evidence.problem}" for each in approvals if isinstance(each.evidence, Unstated)), "")
        raise ProvenanceNotFoundError(f"No provenance available for {filename}{why}")

    async def get_history(self, judged: JudgedPage) -> ProjectHistory:
        """Return the ledger's history of the project of a judged page."""
        return await self._ledger.get_history(judged.page.index.name, judged.page.project.name)

    def has_pypi_projects(self, name: NormalizedName) -> bool:
        """Return whether advisories apply to a project: its index has PyPI's projects, or no index covers the name."""
        index = self._pages.indexes.find_owner(name)
        return index is None or index.has_pypi_projects

    def list_cached_pages(self) -> tuple[JudgedPage, ...]:
        """Return the judged pages of this view that are in memory, for statistics. Some of them may be outdated."""
        cached = self._judged_pages.snapshot().items()
        return tuple(judged for (view, _), judged in cached if view == self.view and not judged.is_expired)

    async def close(self) -> None:
        """Cancel the running refreshes."""
        await self._refreshes.close()

    def _is_current(self, judged_page: JudgedPage, *, stale_allowance: timedelta = timedelta(0)) -> bool:
        now, page = self._clock(), judged_page.page
        lifetime = page.index.freshness.page
        if stale_allowance:
            lifetime += stale_allowance
        return (
            abs(now - page.confirmed_at) < lifetime and self._pages.is_latest(page) and self._is_valid(judged_page, now)
        )

    def _is_valid(self, judged_page: JudgedPage, now: datetime, ledger_version: int | None = None) -> bool:
        """Return True if judging the page again now would give the same verdicts.

        If `ledger_version` is None, changes of the ledger are not considered. They are detected elsewhere: each renewal
        of the page reads the ledger, and `handle_notice` discards the page if another writer changes the ledger.
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
        # The index may have replaced provenance documents since the page was last renewed.
        self._provenance.start_revalidation(judged.page, [verdict.file for verdict in judged.verdicts])
        cooling = [each.file for each in judged.listing.withheld if not each.enforced and each.changes_at is not None]
        if cooling:
            # Fetched now, so that it is recorded before the day on which time alone approves the file.
            history = await self._ledger.get_history(judged.page.index.name, name)
            self._provenance.start_prefetch(judged.page, cooling, history)
        return judged

    async def _judge_current_page(self, name: NormalizedName) -> JudgedPage:
        index = self._pages.require_owner(name)
        async with self._flights.flight(f"page:{index.name}:{name}", partial(self._pages.is_fresh, index, name)):
            history = await self._ledger.get_history(index.name, name)
            try:
                page = await self._pages.get_current(index, name, history=history)
            except ProjectNotFoundError:
                self._judged_pages.pop((self.view, name))
                raise
            except SerialRollbackError:
                await self._page_judge.note_rollback(index, name, history)
                raise
            if page.is_rolled_back:
                await self._page_judge.note_rollback(index, name, history)
        if page.is_absent:
            self._judged_pages.pop((self.view, name))
        known = await self._update_advisories(self._judged_pages.peek((self.view, name)))
        if (
            known is not None
            and not known.has_failed_evidence
            and known.page.content_digest == page.content_digest
            and (history.rollback_since is None or page.is_rolled_back)  # else the ledger must learn that it has ended
            and known.page.confirmed_at <= self._clock()  # else it was judged when the clock was ahead
            and not history.is_before_forgotten_serial(known.page.confirmed_at)  # else its serial was not recorded
            and self._is_valid(known, self._clock(), history.version)
        ):
            return replace(known, page=page)
        judged = await self._page_judge.judge(self.policy, page)
        require_no_new_approvals(judged, known)
        return judged

    async def _update_advisories(self, judged: JudgedPage | None) -> JudgedPage | None:
        """Return the judged page as one of the snapshot in force, if the snapshot has the same advisories about it.

        A feed changes often, and most changes concern other projects. Without this, each change would have all pages
        judged again that have any advisory.
        """
        if judged is None:
            return None
        index, name = judged.page.index, judged.page.project.name
        if judged.dependencies["advisories"] == self._advisories.get_version(index, name):
            return judged
        found = await self._advisories.find(index, name)
        if found.digest != judged.advisories_digest:
            return judged
        return replace(judged, dependencies={**judged.dependencies, "advisories": found.version})

    def handle_notice(self, notice: Notice) -> None:
        """Let the judged page of the project that `notice` names expire. The next request has the page judged again.

        A running refresh may have read the old facts, so its result expires too. Facts about wheels have a separate
        version, which makes pages outdated. `EVERYTHING` concerns all pages.
        """
        if notice.topic is NoticeTopic.WHEELS:
            return
        if notice.project is not None:
            names = {notice.project}
        else:
            cached = (name for view, name in self._judged_pages.snapshot() if view == self.view)
            names = {*cached, *self._refreshes.list_keys()}
        for name in names:
            discard = partial(self._discard_page, name, notice.version)
            discard()
            if (refresh := self._refreshes.get(name)) is not None:
                refresh.add_done_callback(discard)

    def _discard_page(self, name: NormalizedName, ledger_version: int | None, *_: object) -> None:
        """Let the judged page expire, unless it was judged by this version of the ledger's facts."""
        judged = self._judged_pages.peek((self.view, name))
        if judged is not None and (ledger_version is None or judged.dependencies["ledger"] != ledger_version):
            self._judged_pages.put((self.view, name), judged.expire())

    async def _find_verdict(self, location: str) -> tuple[JudgedPage, Verdict]:
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
        if (found := await self._find_moved(location)) is not None:
            return found
        if failure is not None:
            raise failure
        raise FileNotListedError(f"no page of this proxy lists {location}")

    async def _find_moved(self, location: str) -> tuple[JudgedPage, Verdict] | None:
        """Return the verdict on a file that an earlier page listed at a location; None if there is no such file.

        The current page must list the same filename and digest at another address.

        Raises:
            AssayError: the current page cannot be fetched or judged now.
        """
        filename = basename(location)
        for name, digest in await self._pages.find_moved(location):
            with suppress(ProjectNotFoundError):
                judged = await self.get_page(name)
                same = [
                    verdict
                    for verdict in judged.by_location.values()
                    if verdict.file.filename == filename and verdict.file.sha256 == digest
                ]
                if same:
                    # One of several entries of the file is listed; the others are withheld as duplicates.
                    return judged, next((each for each in same if not isinstance(each, Withheld)), same[0])
        return None


def _log_failed_refresh(name: NormalizedName, error: BaseException) -> None:
    if not isinstance(error, AssayError):
        telemetry.failure("page-failed", error, project=name)


def require_decision(judged: JudgedPage, verdict: Verdict) -> Approved | Withheld:
    """Return the verdict if it is `Approved` or `Withheld`.

    Raises:
        EvidencePendingError: the verdict is `Undecided`, and the first try to fetch the file's provenance is running.
        EvidenceUnavailableError: the verdict is `Undecided`, and the last try to fetch the file's provenance failed.
    """
    if not isinstance(verdict, Undecided):
        return verdict
    name, failure = verdict.file.filename, judged.failures.get(verdict.file.location)
    if failure is None:
        raise EvidencePendingError(f"the provenance of {name} is being fetched; try again")
    raise EvidenceUnavailableError(
        f"evidence-unavailable: the file's provenance cannot be fetched (next try {format_instant(failure.retry_at)}):"
        f" {failure.problem}"
    )


def _has_version(file: File, version: str) -> bool:
    return file.distribution is not None and parse_version(version) == file.distribution.version
