"""One view's answers: the only place where routes meet its gate.

Owns what is served and refused on the view's routes, and that both are counted, logged and recorded under its name. Who
may ask, and of which view, was decided before; `/healthz`, `/readyz` and `/metrics` are the proxy's and not a view's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from assay import telemetry
from assay.assembly import View
from assay.config import ServerSettings
from assay.files.cache import Cached, get_approved_digest
from assay.gate.gate import WithheldError
from assay.pages.root_list import RootListCache as Roots
from assay.policy.reasons import escape_controls
from assay.policy.verdict import Approved, Withheld
from assay.telemetry import metrics
from assay.views import DEFAULT_VIEW, ViewSettings
from assay.web.audit import AuditRecorder
from assay.web.files import respond_from_memory, send_cached, send_in_progress
from assay.web.pages import peek_project_page, serve_project_page, serve_root_list
from assay.web.response import BufferedResponse
from assay.web.routes import (
    CanonicalRedirect,
    DistributionFile,
    DistributionMetadata,
    FileProvenance,
    HomePage,
    PolicyPage,
    ProjectPage,
    Route,
    SearchRedirect,
    SimpleProject,
    SimpleRoot,
    get_route_label,
)
from assay.web.ui.pages import UiResponder

_OCTET_STREAM = "application/octet-stream"
_INTEGRITY_MEDIA_TYPE = "application/vnd.pypi.integrity.v1+json"


class ViewResponder:
    """Answers requests for one view.

    Args:
        view: what decides.
        root_lists: the lists of projects.
        settings: who the proxy is to its clients, and whom it believes.
        clock: UTC.
        ui: the pages for people.
        recorder: where served and refused files are recorded.
    """

    def __init__(
        self,
        *,
        view: View,
        root_lists: Roots,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        ui: UiResponder,
        recorder: AuditRecorder,
    ) -> None:
        self._view = view
        self._gate = view.gate
        self._root_lists = root_lists
        self._settings = settings
        self._clock = clock
        self._ui = ui
        self._recorder = recorder
        self.log_name = None if view.settings.name == DEFAULT_VIEW else view.settings.name
        """For log and trail, which don't name the view at ``/``."""

    @property
    def settings(self) -> ViewSettings:
        """Name, path, and who may use it."""
        return self._view.settings

    def try_from_cache(self, headers: Mapping[str, str], route: Route) -> BufferedResponse | None:
        """The answer to GET, if all of it is in memory: most of what a proxy is asked for, and nothing of it waits."""
        match route:
            case SimpleProject():
                return peek_project_page(headers, route, self._gate)
            case DistributionFile(location=location):
                return self._peek_file(headers, location)
            case DistributionMetadata(location=location):
                approved = self._peek_approved(location)
                metadata = None if approved is None else self._gate.peek_metadata(approved)
                return None if metadata is None else _build_document_response(metadata, _OCTET_STREAM)
            case _:
                return None

    def _peek_approved(self, location: str) -> Approved | None:
        """An approved file whose serving is recorded nowhere but in the request log."""
        verdict = self._gate.peek_verdict(location) if self._recorder.trail is None else None
        return verdict if isinstance(verdict, Approved) else None

    def _peek_file(self, headers: Mapping[str, str], location: str) -> BufferedResponse | None:
        verdict = self._peek_approved(location)
        if verdict is None or _is_policy_exception(verdict) or (body := self._gate.peek_content(verdict)) is None:
            return None
        answer = respond_from_memory(headers, get_approved_digest(verdict), body)
        if not isinstance(answer, BufferedResponse):
            return None
        metrics.FILE_REQUESTS.labels("hit").inc()
        return answer

    async def respond(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """The answer.

        Raises:
            WithheldError: the file is withheld; it has been counted, logged and recorded.
            AssayError: it cannot be had.
        """
        try:
            return await self._dispatch(request, route)
        except WithheldError as error:
            await self._record_refusal(request, get_route_label(route), error.withheld)
            raise

    async def _dispatch(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        match route:
            case SimpleProject():
                prefix, now = self.settings.prefix, self._clock()
                return await serve_project_page(request, route, self._gate, self._settings, prefix=prefix, now=now)
            case DistributionFile(location=location):
                return await self._serve_file(request, location)
            case DistributionMetadata(location=location):
                approved = await self._require_approved(location)
                policy = self._gate.policy.digest  # that of the verdict: nothing was awaited since
                metadata = await self._gate.get_metadata(approved)
                await self._recorder.record_served(request, "metadata", approved, policy)
                return _build_document_response(metadata, _OCTET_STREAM)
            case FileProvenance():
                return await self._serve_provenance(request, route)
            case SimpleRoot(format=format_param):
                return await serve_root_list(request, format_param, self._root_lists, self.settings.name)
            case HomePage() | ProjectPage() | PolicyPage() | SearchRedirect():
                return await self._ui.respond(request, route)
            case CanonicalRedirect(to=to):
                headers = {"Location": to, "Cache-Control": "private, no-cache"}
                return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)
            case _:
                return web.Response(
                    status=HTTPStatus.NOT_FOUND,
                    text=f"Nothing is here. The index is at {self.settings.path}simple/.\n",
                    headers={"Cache-Control": "no-store"},
                )

    async def _require_approved(self, location: str) -> Approved:
        verdict = await self._gate.get_verdict(location)
        if isinstance(verdict, Withheld):
            raise WithheldError(verdict)
        return verdict

    async def _serve_file(self, request: web.BaseRequest, location: str) -> web.StreamResponse:
        approved = await self._require_approved(location)
        policy = self._gate.policy.digest  # as above
        _log_policy_exception(approved)
        if (body := self._gate.peek_content(approved)) is not None:
            metrics.FILE_REQUESTS.labels("hit").inc()
            await self._recorder.record_served(request, "file", approved, policy)
            return respond_from_memory(request.headers, get_approved_digest(approved), body, method=request.method)
        async with self._gate.open_content(approved) as content:
            metrics.FILE_REQUESTS.labels("hit" if isinstance(content, Cached) else "miss").inc()
            try:
                await self._recorder.record_served(request, "file", approved, policy)
                if isinstance(content, Cached):
                    return await send_cached(request, content)
                return await send_in_progress(request, content)
            except BaseException as error:
                self._recorder.record_unfinished(f"{type(error).__name__}: {error}")
                raise

    async def _serve_provenance(self, request: web.BaseRequest, route: FileProvenance) -> web.StreamResponse:
        approved, document = await self._gate.get_provenance(route.project, route.version, route.filename)
        policy = self._gate.policy.digest  # as above
        await self._recorder.record_served(request, "provenance", approved, policy)
        plain = "application/json" in request.headers.get("Accept", "")
        return _build_document_response(document, "application/json" if plain else _INTEGRITY_MEDIA_TYPE)

    async def _record_refusal(self, request: web.BaseRequest, route: str, withheld: Withheld) -> None:
        self._ui.record_refusal(withheld)
        first = withheld.reasons[0]
        metrics.REFUSALS.labels(self.settings.name, route, withheld.rule or "", first.code.value).inc()
        telemetry.warning(
            "file-refused",
            filename=withheld.file.filename,
            sha256=withheld.file.sha256,
            rule=withheld.rule,
            reasons=[reason.code.value for reason in withheld.reasons],
            message=escape_controls(first.message),
        )
        await self._recorder.record_refused(request, route, withheld, self._gate.policy.digest)


def _log_policy_exception(approved: Approved) -> None:
    """Say that a pin, a waiver or audit mode let a file through, at each use."""
    if _is_policy_exception(approved):
        telemetry.event(
            "file-excepted",
            filename=approved.file.filename,
            sha256=approved.file.sha256,
            rule=approved.rule,
            despite=[reason.code.value for reason in approved.despite],
            notes=[escape_controls(note) for note in approved.notes],
        )


def _is_policy_exception(approved: Approved) -> bool:
    return bool(approved.despite) or approved.evidence is None


def _build_document_response(body: bytes, content_type: str) -> BufferedResponse:
    # Provenance may change (PEP 740), and METADATA must vanish with its file: revalidated each time.
    headers = {"Content-Type": content_type, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return BufferedResponse(body=body, headers=headers)
