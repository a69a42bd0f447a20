"""One request in, one response out: the only place where routes meet the gate.

Owns the dispatch, the request log and the last resort for faults of our own. All other modules either decide or send.
"""

from __future__ import annotations

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
from proxy.policy.verdict import Approved, Withheld
from proxy.web.answers import HTML_HEADERS, problem_of, response_to
from proxy.web.health import Readiness
from proxy.web.home import home_page
from proxy.web.routes import (
    Alive,
    DistributionFile,
    DistributionMetadata,
    FileProvenance,
    Home,
    Moved,
    Nowhere,
    ProjectPage,
    Ready,
    RootList,
    Route,
    route_of,
)
from proxy.web.send import AbortedError, send_arriving, send_stored
from proxy.web.simple import project_page, root_page

_INTEGRITY = "application/vnd.pypi.integrity.v1+json"


class Handler:
    """Answers requests from a gate."""

    def __init__(
        self,
        *,
        gate: Gate,
        roots: Roots,
        readiness: Readiness,
        settings: ServerSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._gate = gate
        self._roots = roots
        self._readiness = readiness
        self._settings = settings
        self._clock = clock

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but to cut the connection."""
        started = time.monotonic()
        status = 0
        try:
            response = await self._answer(request)
            status = response.status
        except AbortedError:
            raise
        except AssayError as error:
            response = response_to(problem_of(error), request.headers.get("Accept"))
            status = response.status
        except ConnectionError:
            # The client left; there is nobody to answer.
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a fault is logged and answered, not leaked
            telemetry.failure("request-failed", error, path=request.path)
            response = response_to(problem_of(AssayError("see the proxy's log")), request.headers.get("Accept"))
            status = response.status
        finally:
            telemetry.event(
                "request",
                method=request.method,
                path=request.raw_path.partition("?")[0][:300],
                status=status or "aborted",
                ms=round((time.monotonic() - started) * 1000, 1),
                client=request.remote,
            )
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        route = route_of(request.raw_path)
        match route:
            case ProjectPage():
                return await project_page(request, route, self._gate, self._settings, self._clock())
            case DistributionFile(location=location):
                return await self._file(request, location)
            case DistributionMetadata(location=location):
                metadata = await self._gate.metadata(await self._approved(location))
                return _document(metadata, "application/octet-stream")
            case FileProvenance():
                return await self._provenance(request, route)
            case RootList(format=format_param):
                return await root_page(request, format_param, self._roots)
            case _:
                return await self._other(route)

    async def _other(self, route: Route) -> web.StreamResponse:
        match route:
            case Moved(to=to):
                headers = {"Location": to, "Cache-Control": "private, no-cache"}
                return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)
            case Alive():
                return web.Response(text="alive\n", headers={"Cache-Control": "no-store"})
            case Ready():
                return await self._readiness.response()
            case Home():
                return web.Response(body=home_page(), headers={**HTML_HEADERS, "Cache-Control": "no-cache"})
            case _:
                assert isinstance(route, Nowhere)  # noqa: S101 - for the reader: all others are answered above
                return web.Response(
                    status=HTTPStatus.NOT_FOUND,
                    text="Nothing is here. The index is at /simple/.\n",
                    headers={"Cache-Control": "no-store"},
                )

    async def _approved(self, location: str) -> Approved:
        verdict = await self._gate.file(location)
        if isinstance(verdict, Withheld):
            _refused(verdict)
            raise WithheldError(verdict)
        return verdict

    async def _file(self, request: web.BaseRequest, location: str) -> web.StreamResponse:
        approved = await self._approved(location)
        async with self._gate.content(approved) as content:
            if isinstance(content, Stored):
                return await send_stored(request, content)
            return await send_arriving(request, content)

    async def _provenance(self, request: web.BaseRequest, route: FileProvenance) -> web.StreamResponse:
        document = await self._gate.provenance(route.project, route.version, route.filename)
        plain = "application/json" in request.headers.get("Accept", "")
        return _document(document, "application/json" if plain else _INTEGRITY)


def _document(body: bytes, content_type: str) -> web.Response:
    # Provenance may change (PEP 740), and METADATA must vanish with its file: revalidated each time.
    headers = {"Content-Type": content_type, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=body, headers=headers)


def _refused(withheld: Withheld) -> None:
    telemetry.warning(
        "file-refused",
        filename=withheld.file.filename,
        sha256=withheld.file.sha256,
        reasons=[reason.code.value for reason in withheld.reasons],
        message=withheld.reasons[0].message if withheld.reasons else "",
    )
