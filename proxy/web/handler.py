"""One request in, one response out: the only place where routes meet the gate.

Owns the dispatch, the request's id, the request log and its counts, and the last resort for faults of our own. All
other modules either decide or send.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from proxy import telemetry
from proxy.config import ServerSettings
from proxy.errors import AssayError
from proxy.gate import Gate, Stored, WithheldError
from proxy.gate.root_list import RootList as Roots
from proxy.policy.reasons import printable
from proxy.policy.verdict import Approved, Withheld
from proxy.telemetry import metrics
from proxy.telemetry.audit import Trail
from proxy.web.access import USER, Access, named
from proxy.web.answers import problem_of, response_to
from proxy.web.health import Readiness
from proxy.web.metrics import Scrape
from proxy.web.origin import client_of
from proxy.web.people.answer import People
from proxy.web.routes import (
    Alive,
    DistributionFile,
    DistributionMetadata,
    FileProvenance,
    Home,
    Metrics,
    Moved,
    PolicyStory,
    ProjectPage,
    ProjectStory,
    Ready,
    RootList,
    Route,
    Search,
    label_of,
    route_of,
)
from proxy.web.send import AbortedError, send_arriving, send_stored
from proxy.web.simple import project_page, root_page
from proxy.web.spans import ROUTE
from proxy.web.trail import Recorder

_INTEGRITY = "application/vnd.pypi.integrity.v1+json"


class Handler:
    """Answers requests from a gate.

    Args:
        gate: what decides.
        roots: the list of projects.
        readiness: for ``/readyz``.
        settings: who the proxy is to its clients, and whom it believes.
        clock: UTC.
        scrape: for ``/metrics``.
        people: the pages for people.
        trail: where served and refused files are recorded; None: nowhere.
        access: who may ask; None: everybody.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        roots: Roots,
        readiness: Readiness,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        scrape: Scrape,
        people: People,
        trail: Trail | None = None,
        access: Access | None = None,
    ) -> None:
        self._gate = gate
        self._roots = roots
        self._readiness = readiness
        self._settings = settings
        self._clock = clock
        self._scrape = scrape
        self._people = people
        self._recorder = Recorder(trail, settings)
        self._access = access

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but to cut the connection."""
        started = time.monotonic()
        telemetry.request_id.set(secrets.token_hex(8))
        route = route_of(request.raw_path)
        request[ROUTE] = label_of(route)
        outcome, status = "left", 0
        try:
            response = await self._explained(request, route)
            status = response.status
            outcome = metrics.status_class(status)
            if request.method == "GET" and status != HTTPStatus.NOT_MODIFIED:
                metrics.SENT.labels(label_of(route)).inc(response.content_length or 0)
        except AbortedError:
            outcome = "aborted"
            raise
        finally:
            seconds = time.monotonic() - started
            metrics.REQUESTS.labels(label_of(route), outcome).inc()
            metrics.REQUEST_SECONDS.labels(label_of(route)).observe(seconds)
            telemetry.event(
                "request",
                method=request.method,
                path=request.raw_path.partition("?")[0][:300],
                status=status or outcome,
                ms=round(seconds * 1000, 1),
                client=client_of(request.headers, peer=request.remote, settings=self._settings),
                **named(request),
            )
        return response

    async def _explained(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """The answer, or what went wrong as an answer; in both the request's id."""
        try:
            response = await self._decided(request, route)
        except AssayError as error:
            response = response_to(problem_of(error), request.headers.get("Accept"), _root_from(request))
        except ConnectionError:
            # Cut on purpose, or the client left; there is nobody to answer.
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a fault is logged and answered, not leaked
            telemetry.failure("request-failed", error, path=request.path)
            accept = request.headers.get("Accept")
            response = response_to(problem_of(AssayError("see the proxy's log")), accept, _root_from(request))
        if not response.prepared:
            response.headers["X-Request-Id"] = telemetry.request_id.get() or ""
        return response

    async def _decided(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """The answer; a refusal is counted, logged and recorded, wherever on the way it came from."""
        # A kubelet has no name to give: what says no more than "alive" and "ready" is open.
        if self._access is not None and not isinstance(route, Alive | Ready):
            user = await self._access.user(request.headers, request.remote)
            if user is None:
                return self._access.refusal(request.headers.get("Accept"), _root_from(request))
            request[USER] = user
        try:
            return await self._answer(request, route)
        except WithheldError as error:
            await self._refuse(request, label_of(route), error.withheld)
            raise

    async def _answer(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        match route:
            case ProjectPage():
                return await project_page(request, route, self._gate, self._settings, self._clock())
            case DistributionFile(location=location):
                return await self._file(request, location)
            case DistributionMetadata(location=location):
                approved = await self._approved(location)
                policy = self._gate.policy.digest  # that of the verdict: nothing was awaited since
                metadata = await self._gate.metadata(approved)
                await self._recorder.served(request, "metadata", approved, policy)
                return _document(metadata, "application/octet-stream")
            case FileProvenance():
                return await self._provenance(request, route)
            case RootList(format=format_param):
                return await root_page(request, format_param, self._roots)
            case _:
                return await self._other(request, route)

    async def _other(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        match route:
            case Moved(to=to):
                headers = {"Location": to, "Cache-Control": "private, no-cache"}
                return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)
            case Alive():
                return web.Response(text="alive\n", headers={"Cache-Control": "no-store"})
            case Ready():
                return await self._readiness.response()
            case Metrics():
                return await self._scrape.response()
            case Home() | ProjectStory() | PolicyStory() | Search():
                return await self._people.answer(request, route)
            case _:
                return web.Response(
                    status=HTTPStatus.NOT_FOUND,
                    text="Nothing is here. The index is at /simple/.\n",
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
        metrics.REFUSALS.labels(route, withheld.rule or "", first.code.value).inc()
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
    if approved.despite or approved.evidence is None:
        telemetry.event(
            "file-excepted",
            filename=approved.file.filename,
            sha256=approved.file.sha256,
            rule=approved.rule,
            despite=[reason.code.value for reason in approved.despite],
            notes=[printable(note) for note in approved.notes],
        )


def _root_from(request: web.BaseRequest) -> str:
    """The relative address of ``/``, so that it holds behind any path prefix."""
    return "../" * (request.raw_path.partition("?")[0].count("/") - 1)


def _document(body: bytes, content_type: str) -> web.Response:
    # Provenance may change (PEP 740), and METADATA must vanish with its file: revalidated each time.
    headers = {"Content-Type": content_type, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=body, headers=headers)
