"""Responses of one view: the only place where routes use the view's gate.

A view is a policy with its own URL path. The gate decides on pages and files by that policy. This module serves and
refuses files on the routes of the view, and writes the metrics, log events and audit entries about them.

`web.app` has authenticated the user and checked the permission to use the view. ``/healthz``, ``/readyz`` and
``/metrics`` belong to no view.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote

from aiohttp import web

from assay import telemetry
from assay.assembly import View
from assay.config import ServerSettings
from assay.files.cache import Cached
from assay.gate.gate import WithheldError
from assay.gate.hidden_versions import HiddenVersion, Hiding
from assay.gate.judged_page import JudgedPage
from assay.gate.known_attestations import find_attestations
from assay.gate.summaries import PageSummaries
from assay.pages.root_list import RootListCache as Roots
from assay.policy.reasons import escape_controls, reasons_to_json
from assay.policy.verdict import Approved, Withheld
from assay.ports import Refusals, RefusedRequest, Usage
from assay.provenance.known_bundles import write_bundle_list
from assay.telemetry import metrics
from assay.views import DEFAULT_VIEW, ViewSettings
from assay.web.audit import AuditRecorder
from assay.web.errors import build_unknown_route_response
from assay.web.exchange import Exchange, Outcome, Recorded, Rest, complete_rest
from assay.web.files import respond_from_memory, send_cached, send_in_progress
from assay.web.osv.responder import OsvResponder
from assay.web.pages import find_page_response, render_page_response, serve_root_list
from assay.web.response import BufferedResponse
from assay.web.routing.routes import (
    CanonicalRedirect,
    DistributionFile,
    DistributionMetadata,
    Favicon,
    FileAttestations,
    FileProvenance,
    HomePage,
    OsvBatch,
    OsvQuery,
    OsvRecord,
    OverviewPage,
    PolicyPage,
    ProjectPage,
    RefusalsPage,
    Route,
    Search,
    SimpleProject,
    SimpleRoot,
)
from assay.web.ui.activity.responder import ActivityResponder
from assay.web.ui.favicon import FAVICON, FAVICON_HEADERS
from assay.web.ui.pages import UiResponder

_OCTET_STREAM = "application/octet-stream"
_INTEGRITY_MEDIA_TYPE = "application/vnd.pypi.integrity.v1+json"
_URL_CHARACTERS: Final = "%!$&'()*+,;=:@~"
"""Characters of a path segment that a redirect repeats unchanged, also those of percent-encoding."""
_get_hidden_counter = lru_cache(maxsize=256)(metrics.HIDDEN_PAGES.labels)
_get_file_counter = lru_cache(maxsize=2)(metrics.FILE_REQUESTS.labels)


class _Approval(NamedTuple):
    """Approval of a file by the policy of a view."""

    verdict: Approved
    policy_digest: str
    """Digest of the policy that approved the file, for the audit trail."""


class ViewResponder:
    """Responder for the requests to one view.

    Args:
        view: the view and its gate, which decides.
        root_lists: cache of the lists of projects.
        settings: server settings, which contain the proxy's own address, the allowed hosts and the trusted proxies.
        clock: returns the current time in UTC.
        ui: responder for the HTML pages.
        activity: responder for the pages about used projects and refusals.
        recorder: writer of audit entries.
        usage: record of the projects and versions that clients use, which all views share.
        summaries: writer of the summaries of judged pages, which all views share.
        refusals: record of refused requests, which all views share.
    """

    def __init__(
        self,
        *,
        view: View,
        root_lists: Roots,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        ui: UiResponder,
        activity: ActivityResponder,
        recorder: AuditRecorder,
        usage: Usage,
        summaries: PageSummaries,
        refusals: Refusals,
    ) -> None:
        self._view = view
        self._gate = view.gate
        self._root_lists = root_lists
        self._settings = settings
        self._clock = clock
        self._ui = ui
        self._activity = activity
        self._recorder = recorder
        self._usage = usage
        self._summaries = summaries
        self._osv = OsvResponder(gate=view.gate, clock=clock)
        self._refusals = refusals
        self.log_name = None if view.settings.name == DEFAULT_VIEW else view.settings.name
        """Name of the view for the log and the audit trail; None for the view ``default``, which they do not name."""

    @property
    def settings(self) -> ViewSettings:
        """Settings of the view: name, path and users."""
        return self._view.settings

    def begin(self, exchange: Exchange) -> Outcome:
        """Return the response if it is available without waiting, else the remaining work, which the caller awaits.

        The remaining work contains everything that this method has found already, so nothing is looked up twice. It
        raises `WithheldError` if the file is withheld, and another `AssayError` if the resource is not available.
        """
        outcome: Outcome
        match exchange.resolved.route:
            case SimpleProject() as route:
                outcome = self._begin_page(exchange, route)
            case DistributionFile(location=location, is_tombstone=True):
                outcome = partial(self._redirect_to_file, exchange, location)
            case DistributionFile(location=location):
                outcome = self._begin_file(exchange, location)
            case DistributionMetadata(location=location):
                outcome = self._begin_metadata(exchange, location)
            case route:
                outcome = self._begin_other(exchange, route)
        return partial(self._complete, exchange, outcome) if isinstance(outcome, partial) else outcome

    async def _complete(self, exchange: Exchange, rest: Rest, request: web.BaseRequest) -> web.StreamResponse:
        """Await the remaining work of a response. If the file is withheld, count, log and record the refusal.

        Raises:
            WithheldError: the file is withheld.
            AssayError: the requested resource is not available.
        """
        try:
            return await rest(request)
        except WithheldError as error:
            await self._record_refusal(exchange, error.withheld)
            raise

    def _begin_other(self, exchange: Exchange, route: Route) -> Outcome:
        match route:
            case FileProvenance() | FileAttestations():
                return partial(self._serve_evidence, exchange, route)
            case SimpleRoot(format=format_param):
                return partial(serve_root_list, format_param, self._root_lists, self.settings.name)
            case HomePage() | ProjectPage() | PolicyPage():
                return partial(self._ui.respond, exchange, route)
            case OsvQuery():
                return partial(self._osv.respond_to_query)
            case OsvBatch():
                return partial(self._osv.respond_to_batch)
            case OsvRecord(id=advisory_id):
                return partial(self._osv.respond_with_record, advisory_id)
            case OverviewPage() | RefusalsPage() | Search():
                return partial(self._activity.respond, exchange, route)
            case CanonicalRedirect(to=to):
                headers = {"Location": to, "Cache-Control": "private, no-cache"}
                return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)
            case Favicon():
                return BufferedResponse(body=FAVICON, headers=FAVICON_HEADERS)
            case _:
                return build_unknown_route_response(
                    exchange.head.headers.get("Accept"), exchange.resolved.root, f"{self.settings.path}simple/"
                )

    def _begin_page(self, exchange: Exchange, route: SimpleProject) -> Outcome:
        judged = self._gate.peek_page(route.project)
        exchange.cache = "miss" if judged is None else "hit"
        response = None if judged is None else find_page_response(exchange.head.headers, route, judged)
        if response is None or judged is None:
            return partial(self._serve_page, exchange, route, judged)
        self._report_page(judged)
        return response

    async def _serve_page(
        self, exchange: Exchange, route: SimpleProject, judged: JudgedPage | None, _request: web.BaseRequest
    ) -> web.StreamResponse:
        if judged is None:
            judged = await self._gate.get_page(route.project)
        self._report_page(judged)
        if (response := find_page_response(exchange.head.headers, route, judged)) is not None:
            return response
        prefix, now = self.settings.prefix, self._clock()
        return await render_page_response(exchange, route, judged, self._settings, prefix=prefix, now=now)

    def _report_page(self, judged: JudgedPage) -> None:
        """Note the use of a project, and count a request for a page that hides versions.

        Hidden versions are logged and shown on the home page once per page.
        """
        if judged.listing.absence_reason is None:
            self._usage.note(judged.page.index.name, judged.page.project.name, view=self.settings.name)
            self._summaries.note(self.settings.name, judged)
        if (report := judged.hidden) is None:
            return
        for each in report.versions:
            code, rule = each.withheld.reasons[0].code.value, each.withheld.rule or ""
            _get_hidden_counter(self.settings.name, each.hiding.value, rule, code).inc()
        if report.logged_at is None:
            report.logged_at = self._clock()
            for each in report.versions:
                self._log_hidden(judged.page.project.name, each)

    def _log_hidden(self, project: str, hidden: HiddenVersion) -> None:
        first, version = hidden.withheld.reasons[0], str(hidden.version)
        is_newest = hidden.hiding is Hiding.NEWEST
        telemetry.event(
            "hidden",
            project=project,
            **({"newest": version} if is_newest else {"sdist_only": version}),
            rule=hidden.withheld.rule,
            reason=first.code.value,
            message=escape_controls(first.message),
        )

    def _begin_file(self, exchange: Exchange, location: str) -> Outcome:
        approval = self._peek_approval(location)
        content = None if approval is None else self._gate.peek_content(approval.verdict)
        if approval is None or content is None:
            return partial(self._serve_file, exchange, location, approval)
        return self._give_from_memory(exchange, approval, content)

    async def _redirect_to_file(
        self, exchange: Exchange, location: str, _request: web.BaseRequest
    ) -> web.StreamResponse:
        """Return a redirect from the URL of a tombstone to that of the file, which is approved now.

        The redirect is not cached. If clients could cache the file under the URL of the tombstone, they would install
        their copy without a request if the file is withheld again.
        """
        await self._require_approval(location)
        name = exchange.head.path.partition("?")[0].rpartition("/")[2]
        headers = {"Location": f"./{quote(name, safe=_URL_CHARACTERS)}", "Cache-Control": "no-store"}
        return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)

    async def _serve_file(
        self, exchange: Exchange, location: str, approval: _Approval | None, request: web.BaseRequest
    ) -> web.StreamResponse:
        if approval is None:
            approval = await self._require_approval(location)
            if (body := self._gate.peek_content(approval.verdict)) is not None:
                return await complete_rest(self._give_from_memory(exchange, approval, body), request)
        _log_policy_exception(approval.verdict)
        judged = self._gate.peek_page(approval.verdict.project)  # during the wait, the cache may evict it
        async with self._gate.open_content(approval.verdict) as content:
            is_hit = isinstance(content, Cached) or content.download.stored is not None
            _get_file_counter("hit" if is_hit else "miss").inc()
            try:
                await self._recorder.record_served(exchange, approval.verdict, approval.policy_digest)
                self._note_file(approval.verdict, judged)
                del judged  # a slow client need not keep the page in memory
                if isinstance(content, Cached):
                    return await send_cached(request, content)
                return await send_in_progress(request, content)
            except BaseException as error:
                self._recorder.record_unfinished(exchange, f"{type(error).__name__}: {error}")
                raise

    def _give_from_memory(self, exchange: Exchange, approval: _Approval, content: bytes) -> Outcome:
        _log_policy_exception(approval.verdict)
        _get_file_counter("hit").inc()
        self._note_file(approval.verdict, self._gate.peek_page(approval.verdict.project))
        head, digest = exchange.head, approval.verdict.sha256
        return self._give(exchange, approval, respond_from_memory(head.headers, digest, content, method=head.method))

    def _note_file(self, approved: Approved, judged: JudgedPage | None) -> None:
        """Note the use of the version of a file, and of the judged page that approved it, if that is in memory."""
        if (distribution := approved.file.distribution) is not None:
            index = self._gate.resources.pages.require_owner(distribution.project).name
            self._usage.note(index, distribution.project, view=self.settings.name, version=distribution.version)
            if judged is not None:
                self._summaries.note(self.settings.name, judged)

    def _begin_metadata(self, exchange: Exchange, location: str) -> Outcome:
        approval = self._peek_approval(location)
        document = None if approval is None else self._gate.peek_metadata(approval.verdict)
        if approval is None or document is None:
            return partial(self._serve_metadata, exchange, location, approval)
        return self._give(exchange, approval, _build_document_response(document, _OCTET_STREAM))

    async def _serve_metadata(
        self, exchange: Exchange, location: str, approval: _Approval | None, request: web.BaseRequest
    ) -> web.StreamResponse:
        if approval is None:
            approval = await self._require_approval(location)
        document = await self._gate.get_metadata(approval.verdict)
        response = _build_document_response(document, _OCTET_STREAM)
        return await complete_rest(self._give(exchange, approval, response), request)

    async def _serve_evidence(
        self, exchange: Exchange, route: FileProvenance | FileAttestations, _request: web.BaseRequest
    ) -> web.StreamResponse:
        content_type = "application/json"
        if isinstance(route, FileAttestations):
            approved, bundles = await find_attestations(self._gate, route.sha256, route.project)
            document = write_bundle_list(bundles)
        else:
            approved, document = await self._gate.get_provenance(route.project, route.version, route.filename)
            if content_type not in exchange.head.headers.get("Accept", ""):
                content_type = _INTEGRITY_MEDIA_TYPE
        await self._recorder.record_served(exchange, approved, self._gate.policy.digest)
        return _build_document_response(document, content_type)

    def _peek_approval(self, location: str) -> _Approval | None:
        """Return the approval of a file if the judged page that lists it is in memory and current, else None."""
        verdict = self._gate.peek_verdict(location)
        return _Approval(verdict, self._gate.policy.digest) if isinstance(verdict, Approved) else None

    async def _require_approval(self, location: str) -> _Approval:
        verdict = await self._gate.get_verdict(location)
        if isinstance(verdict, Withheld):
            raise WithheldError(verdict)
        # Nothing was awaited since the verdict, so the current policy is the one that made it.
        return _Approval(verdict, self._gate.policy.digest)

    def _give(self, exchange: Exchange, approval: _Approval, response: web.StreamResponse) -> Outcome:
        """Return `response` for an approved file; with an audit trail, one that waits until its entry is written."""
        entry = self._recorder.begin_served(exchange, approval.verdict, approval.policy_digest)
        return response if entry is None else Recorded(response, entry)

    def render_withheld(self, withheld: Withheld, request_id: str | None, root: str) -> bytes:
        """Return the HTML page for a refused request (see `UiResponder.render_withheld`)."""
        return self._ui.render_withheld(withheld, request_id, root)

    async def _record_refusal(self, exchange: Exchange, withheld: Withheld) -> None:
        self._ui.count_refusal()
        self._note_refusal(exchange, withheld)
        first, route = withheld.reasons[0], exchange.route.label
        metrics.REFUSALS.labels(self.settings.name, route, withheld.rule or "", first.code.value).inc()
        telemetry.warning(
            "file-refused",
            filename=withheld.file.filename,
            sha256=withheld.file.sha256,
            rule=withheld.rule,
            reasons=[reason.code.value for reason in withheld.reasons],
            message=escape_controls(first.message),
        )
        await self._recorder.record_refused(exchange, withheld, self._gate.policy.digest)

    def _note_refusal(self, exchange: Exchange, withheld: Withheld) -> None:
        file = withheld.file
        self._refusals.note(
            RefusedRequest(
                time=self._clock(),
                view=self.settings.name,
                route=exchange.route.label,
                project=None if file.distribution is None else file.distribution.project,
                filename=file.filename,
                sha256=file.sha256,
                rule=withheld.rule,
                codes=tuple(reason.code.value for reason in withheld.reasons),
                message=reasons_to_json(withheld)[0]["message"],
                user=exchange.user_name,
            )
        )


def _log_policy_exception(approved: Approved) -> None:
    """Log the use of a file that the policy approved only because of a pin, a waiver or audit mode."""
    if approved.despite or approved.evidence is None:
        telemetry.event(
            "file-exempted",
            filename=approved.file.filename,
            sha256=approved.file.sha256,
            rule=approved.rule,
            despite=[reason.code.value for reason in approved.despite],
            notes=[escape_controls(note) for note in approved.notes],
        )


def _build_document_response(body: bytes, content_type: str) -> BufferedResponse:
    # Clients must revalidate each time: provenance may change (PEP 740), and METADATA must disappear with its file.
    headers = {"Content-Type": content_type, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return BufferedResponse(body=body, headers=headers)
