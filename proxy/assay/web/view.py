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
from assay.files.cache import Stored, digest_of
from assay.gate.gate import WithheldError
from assay.pages.root_list import RootList as Roots
from assay.policy.reasons import printable
from assay.policy.verdict import Approved, Withheld
from assay.telemetry import metrics
from assay.views import DEFAULT, ViewSettings
from assay.web.audit import Recorder
from assay.web.files import held, send_arriving, send_stored
from assay.web.pages import project_page, root_page, warm_page
from assay.web.response import Answer
from assay.web.routes import (
    DistributionFile,
    DistributionMetadata,
    FileProvenance,
    Home,
    Moved,
    PolicyStory,
    ProjectPage,
    ProjectStory,
    RootList,
    Route,
    Search,
    label_of,
)
from assay.web.ui.pages import People

_BYTES = "application/octet-stream"
_INTEGRITY = "application/vnd.pypi.integrity.v1+json"


class ViewAnswers:
    """Answers requests for one view.

    Args:
        view: what decides.
        roots: the lists of projects.
        settings: who the proxy is to its clients, and whom it believes.
        clock: UTC.
        people: the pages for people.
        recorder: where served and refused files are recorded.
    """

    def __init__(
        self,
        *,
        view: View,
        roots: Roots,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        people: People,
        recorder: Recorder,
    ) -> None:
        self._view = view
        self._gate = view.gate
        self._roots = roots
        self._settings = settings
        self._clock = clock
        self._people = people
        self._recorder = recorder
        self.named = None if view.settings.name == DEFAULT else view.settings.name
        """For log and trail, which don't name the view at ``/``."""

    @property
    def settings(self) -> ViewSettings:
        """Name, path, and who may use it."""
        return self._view.settings

    def at_once(self, headers: Mapping[str, str], route: Route) -> Answer | None:
        """The answer to GET, if all of it is in memory: most of what a proxy is asked for, and nothing of it waits."""
        match route:
            case ProjectPage():
                return warm_page(headers, route, self._gate)
            case DistributionFile(location=location):
                return self._held(headers, location)
            case DistributionMetadata(location=location):
                approved = self._at_hand(location)
                metadata = None if approved is None else self._gate.metadata_at_hand(approved)
                return None if metadata is None else _document(metadata, _BYTES)
            case _:
                return None

    def _at_hand(self, location: str) -> Approved | None:
        """An approved file whose serving is recorded nowhere but in the request log."""
        verdict = self._gate.file_at_hand(location) if self._recorder.trail is None else None
        return verdict if isinstance(verdict, Approved) else None

    def _held(self, headers: Mapping[str, str], location: str) -> Answer | None:
        verdict = self._at_hand(location)
        if verdict is None or _is_exception(verdict) or (body := self._gate.held(verdict)) is None:
            return None
        answer = held(headers, digest_of(verdict), body)
        if not isinstance(answer, Answer):
            return None
        metrics.FILES.labels("hit").inc()
        return answer

    async def answer(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """The answer.

        Raises:
            WithheldError: the file is withheld; it has been counted, logged and recorded.
            AssayError: it cannot be had.
        """
        try:
            return await self._answer(request, route)
        except WithheldError as error:
            await self._refuse(request, label_of(route), error.withheld)
            raise

    async def _answer(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        match route:
            case ProjectPage():
                prefix, now = self.settings.prefix, self._clock()
                return await project_page(request, route, self._gate, self._settings, prefix=prefix, now=now)
            case DistributionFile(location=location):
                return await self._file(request, location)
            case DistributionMetadata(location=location):
                approved = await self._approved(location)
                policy = self._gate.policy.digest  # that of the verdict: nothing was awaited since
                metadata = await self._gate.metadata(approved)
                await self._recorder.served(request, "metadata", approved, policy)
                return _document(metadata, _BYTES)
            case FileProvenance():
                return await self._provenance(request, route)
            case RootList(format=format_param):
                return await root_page(request, format_param, self._roots, self.settings.name)
            case Home() | ProjectStory() | PolicyStory() | Search():
                return await self._people.answer(request, route)
            case Moved(to=to):
                headers = {"Location": to, "Cache-Control": "private, no-cache"}
                return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)
            case _:
                return web.Response(
                    status=HTTPStatus.NOT_FOUND,
                    text=f"Nothing is here. The index is at {self.settings.path}simple/.\n",
                    headers={"Cache-Control": "no-store"},
                )

    async def _approved(self, location: str) -> Approved:
        verdict = await self._gate.file(location)
        if isinstance(verdict, Withheld):
            raise WithheldError(verdict)
        return verdict

    async def _file(self, request: web.BaseRequest, location: str) -> web.StreamResponse:
        approved = await self._approved(location)
        policy = self._gate.policy.digest  # as above
        _tell_exception(approved)
        if (body := self._gate.held(approved)) is not None:
            metrics.FILES.labels("hit").inc()
            await self._recorder.served(request, "file", approved, policy)
            return held(request.headers, digest_of(approved), body, method=request.method)
        async with self._gate.content(approved) as content:
            metrics.FILES.labels("hit" if isinstance(content, Stored) else "miss").inc()
            try:
                await self._recorder.served(request, "file", approved, policy)
                if isinstance(content, Stored):
                    return await send_stored(request, content)
                return await send_arriving(request, content)
            except BaseException as error:
                self._recorder.unfinished(f"{type(error).__name__}: {error}")
                raise

    async def _provenance(self, request: web.BaseRequest, route: FileProvenance) -> web.StreamResponse:
        document = await self._gate.provenance(route.project, route.version, route.filename)
        approved = (await self._gate.page(route.project)).listed.approved
        for verdict in approved:
            if verdict.file.filename == route.filename:
                await self._recorder.served(request, "provenance", verdict, self._gate.policy.digest)
        plain = "application/json" in request.headers.get("Accept", "")
        return _document(document, "application/json" if plain else _INTEGRITY)

    async def _refuse(self, request: web.BaseRequest, route: str, withheld: Withheld) -> None:
        self._people.refused(withheld)
        first = withheld.reasons[0]
        metrics.REFUSALS.labels(self.settings.name, route, withheld.rule or "", first.code.value).inc()
        telemetry.warning(
            "file-refused",
            filename=withheld.file.filename,
            sha256=withheld.file.sha256,
            rule=withheld.rule,
            reasons=[reason.code.value for reason in withheld.reasons],
            message=printable(first.message),
        )
        await self._recorder.refused(request, route, withheld, self._gate.policy.digest)


def _tell_exception(approved: Approved) -> None:
    """Say that a pin, a waiver or audit mode let a file through: "logged at each use" (POLICY.md)."""
    if _is_exception(approved):
        telemetry.event(
            "file-excepted",
            filename=approved.file.filename,
            sha256=approved.file.sha256,
            rule=approved.rule,
            despite=[reason.code.value for reason in approved.despite],
            notes=[printable(note) for note in approved.notes],
        )


def _is_exception(approved: Approved) -> bool:
    return bool(approved.despite) or approved.evidence is None


def _document(body: bytes, content_type: str) -> Answer:
    # Provenance may change (PEP 740), and METADATA must vanish with its file: revalidated each time.
    headers = {"Content-Type": content_type, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return Answer(body=body, headers=headers)
