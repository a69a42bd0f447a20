"""One request in, one response out: which view it is for, who asks, and what went wrong.

Owns the dispatch to views, the permission to use one, the request's id, the request log and its counts, and the last
resort for faults of our own. All other modules either decide or send.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from assay import telemetry
from assay.config import ServerSettings
from assay.errors import AssayError
from assay.telemetry import metrics, tracing
from assay.telemetry.lines import RequestEvent
from assay.web.auth import USER_KEY, Authenticator, build_view_forbidden_response, get_request_user
from assay.web.errors import build_problem, build_problem_response
from assay.web.files import AbortedError
from assay.web.health import Readiness
from assay.web.metrics import MetricsEndpoint
from assay.web.origin import resolve_client_address
from assay.web.response import BufferedResponse
from assay.web.routes import (
    LivenessProbe,
    MetricsExposition,
    ReadinessProbe,
    ResolvedTarget,
    get_route_label,
    resolve_target,
)
from assay.web.spans import ROUTE_KEY
from assay.web.view import ViewResponder

_ALLOWED_METHODS = frozenset({"GET", "HEAD"})
_MAX_LOGGED_PATH_CHARS = 300
"""Characters of it in the log."""


class WebApp:
    """Answers requests.

    Args:
        views: what answers for each view, the one at ``/`` among them.
        readiness: for ``/readyz``.
        settings: who the proxy is to its clients, and whom it believes.
        metrics_endpoint: for ``/metrics``.
        authenticator: who may ask; None: everybody.
    """

    def __init__(
        self,
        *,
        views: Sequence[ViewResponder],
        readiness: Readiness,
        settings: ServerSettings,
        metrics_endpoint: MetricsEndpoint,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._views = {each.settings.prefix: each for each in views}
        self._prefixes = tuple(self._views)
        self._readiness = readiness
        self._settings = settings
        self._scrape = metrics_endpoint
        self._authenticator = authenticator

    def try_from_cache(self, target: str, headers: Mapping[str, str], peer: str | None) -> BufferedResponse | None:
        """The answer to a GET request that nothing needs to be waited for to give; None: it is to be called for.

        Args:
            target: of the request, as it was sent.
            headers: case-insensitive.
            peer: the address of whoever opened the connection.
        """
        if self._authenticator is not None or tracing.is_enabled():
            return None
        started = time.monotonic()
        asked = resolve_target(target, self._prefixes)
        view = self._views[asked.prefix]
        answer = view.try_from_cache(headers, asked.route)
        if answer is None:
            return None
        name = answer.header_fields["X-Request-Id"] = telemetry.new_request_id()
        seconds, status = time.monotonic() - started, answer.status
        client = resolve_client_address(headers, peer=peer, settings=self._settings)
        sent = answer.content_length or 0
        metrics.REQUESTS.count(get_route_label(asked.route), metrics.classify_status(status), seconds, sent)
        telemetry.log_request(
            RequestEvent(
                name, view.log_name, "GET", _format_logged_path(target), status, _to_milliseconds(seconds), client, None
            )
        )
        return answer

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but to cut the connection."""
        started = time.monotonic()
        asked = resolve_target(request.raw_path, self._prefixes)
        view = self._views[asked.prefix]
        name = telemetry.new_request_id()
        telemetry.current_request_id.set(name)
        telemetry.current_view.set(view.log_name)
        if tracing.is_enabled():
            request[ROUTE_KEY] = get_route_label(asked.route)
        outcome, status, sent = "left", 0, 0
        try:
            response = await self._respond_catching_errors(request, asked, view)
            status = response.status
            outcome = metrics.classify_status(status)
            if request.method == "GET" and status != HTTPStatus.NOT_MODIFIED:
                sent = response.content_length or 0
        except AbortedError:
            outcome = "aborted"
            raise
        finally:
            seconds, path = time.monotonic() - started, _format_logged_path(request.raw_path)
            client = resolve_client_address(request.headers, peer=request.remote, settings=self._settings)
            user = None if self._authenticator is None else get_request_user(request)
            metrics.REQUESTS.count(get_route_label(asked.route), outcome, seconds, sent)
            telemetry.log_request(
                RequestEvent(
                    name,
                    view.log_name,
                    request.method,
                    path,
                    status or outcome,
                    _to_milliseconds(seconds),
                    client,
                    user,
                )
            )
        return response

    async def _respond_catching_errors(
        self, request: web.BaseRequest, resolved: ResolvedTarget, view: ViewResponder
    ) -> web.StreamResponse:
        """The answer, or what went wrong as an answer; in both the request's id."""
        accept = request.headers.get("Accept")
        try:
            response = await self._authorize_and_respond(request, resolved, view)
        except AssayError as error:
            response = build_problem_response(build_problem(error), accept, resolved.root)
        except ConnectionError:
            # Cut on purpose, or the client left; there is nobody to answer.
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a fault is logged and answered, not leaked
            telemetry.failure("request-failed", error, path=request.path)
            response = build_problem_response(build_problem(AssayError("see the proxy's log")), accept, resolved.root)
        if not response.prepared:
            fields = response.header_fields if isinstance(response, BufferedResponse) else response.headers
            fields["X-Request-Id"] = telemetry.current_request_id.get() or ""
        return response

    async def _authorize_and_respond(
        self, request: web.BaseRequest, resolved: ResolvedTarget, view: ViewResponder
    ) -> web.StreamResponse:
        """The answer to whom it may be given: before that, nothing is looked up and nobody is asked."""
        # A kubelet has no name to give: what says no more than "alive" and "ready" is open.
        if self._authenticator is not None and not isinstance(resolved.route, LivenessProbe | ReadinessProbe):
            accept = request.headers.get("Accept")
            user = await self._authenticator.authenticate(request.headers, request.remote)
            if user is None:
                return self._authenticator.build_unauthorized_response(accept, resolved.root)
            request[USER_KEY] = user
            if not view.settings.admits(user):
                return build_view_forbidden_response(view.settings.name, accept, resolved.root)
        return await self._dispatch(request, resolved, view)

    async def _dispatch(
        self, request: web.BaseRequest, resolved: ResolvedTarget, view: ViewResponder
    ) -> web.StreamResponse:
        if request.method not in _ALLOWED_METHODS:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        match resolved.route:
            case LivenessProbe():
                return web.Response(text="alive\n", headers={"Cache-Control": "no-store"})
            case ReadinessProbe():
                return await self._readiness.respond()
            case MetricsExposition():
                return await self._scrape.respond()
            case route:
                return await view.respond(request, route)


def _format_logged_path(target: str) -> str:
    """What the log says of a target: no query, where tokens are."""
    return target.partition("?")[0][:_MAX_LOGGED_PATH_CHARS]


def _to_milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
