"""One request in, one response out, in two parts: `begin` never waits, `complete` awaits what is left.

Owns the dispatch to views, authentication and the permission to use a view, what a route requires of a request, and the
responses to errors. `web.exchange` accounts for each response; `create_app` puts all of it together, for `assay serve`
and for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus

from aiohttp import web

from assay import telemetry
from assay.assembly import Assembly
from assay.config import Configuration, ServerSettings
from assay.errors import AssayError
from assay.telemetry.audit_trail import AuditTrail
from assay.users import User
from assay.web.audit import AuditRecorder
from assay.web.auth import Authenticator, PasswordCheck, build_view_forbidden_response
from assay.web.errors import build_problem, build_problem_response
from assay.web.exchange import Exchange, Peer, Pending, RequestHead, Rest, complete_rest
from assay.web.health import Readiness, build_readiness
from assay.web.metrics import MetricsEndpoint
from assay.web.routes import (
    LivenessProbe,
    MetricsExposition,
    OperatorRoute,
    ReadinessProbe,
    find_broken_rule,
    resolve_target,
)
from assay.web.ui.pages import UiResponder
from assay.web.view import ViewResponder


class WebApp:
    """Responses to requests.

    Args:
        views: what answers for each view, the one at ``/`` among them.
        readiness: for ``/readyz``.
        settings: the proxy's own address, and which peers are trusted.
        metrics_endpoint: for ``/metrics``.
        authenticator: None: users need not authenticate.
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
        self._metrics = metrics_endpoint
        self._authenticator = authenticator

    def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
        """Return the finished response, or what remains to be awaited; never wait."""
        resolved = resolve_target(head.target, self._prefixes)
        view = self._views[resolved.prefix]
        exchange = Exchange(head, peer, resolved, view.log_name, self._settings)
        exchange.enter()
        outcome: web.StreamResponse | Rest
        try:
            outcome = self._authenticate(exchange, view)
        except Exception as error:  # noqa: BLE001 - the last resort: a fault is logged and answered, not leaked
            outcome = _build_error_response(exchange, error)
        if isinstance(outcome, partial):
            return Pending(exchange, outcome)
        exchange.finish(outcome)
        return outcome

    async def complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response that `begin` left pending, finished.

        Raises:
            BaseException: the connection was cut, or the client left; there is no response.
        """
        exchange = pending.exchange
        exchange.enter()
        try:
            with exchange.span.activate():
                response = await _complete(pending, request)
        except BaseException as error:
            exchange.finish(error=error)
            raise
        exchange.finish(response)
        return response

    def _authenticate(self, exchange: Exchange, view: ViewResponder) -> web.StreamResponse | Rest:
        """Answer an authenticated user: before that, nothing is looked up and no index is asked."""
        if self._authenticator is None or exchange.resolved.route.permission is None:
            return self._dispatch(exchange, view)
        found = self._authenticator.identify(exchange.head.headers, exchange.peer.address)
        if isinstance(found, partial):
            return partial(self._verify_password, exchange, view, self._authenticator, found)
        return self._admit(exchange, view, self._authenticator, found)

    async def _verify_password(
        self,
        exchange: Exchange,
        view: ViewResponder,
        authenticator: Authenticator,
        check: PasswordCheck,
        request: web.BaseRequest,
    ) -> web.StreamResponse:
        return await complete_rest(self._admit(exchange, view, authenticator, await check()), request)

    def _admit(
        self, exchange: Exchange, view: ViewResponder, authenticator: Authenticator, user: User | None
    ) -> web.StreamResponse | Rest:
        accept, root = exchange.head.headers.get("Accept"), exchange.resolved.root
        if user is None:
            return authenticator.build_unauthorized_response(accept, root)
        exchange.user = user
        if not view.settings.admits(user):
            return build_view_forbidden_response(view.settings.name, accept, root)
        return self._dispatch(exchange, view)

    def _dispatch(self, exchange: Exchange, view: ViewResponder) -> web.StreamResponse | Rest:
        route = exchange.resolved.route
        if (status := find_broken_rule(route, exchange.head.method, exchange.head.headers)) is not None:
            headers = {"Allow": ", ".join(route.methods)} if status is HTTPStatus.METHOD_NOT_ALLOWED else None
            return web.Response(status=status, headers=headers)
        return self._begin_operator(route) if isinstance(route, OperatorRoute) else view.begin(exchange)

    def _begin_operator(self, route: LivenessProbe | ReadinessProbe | MetricsExposition) -> web.StreamResponse | Rest:
        match route:
            case LivenessProbe():
                return web.Response(text="alive\n", headers={"Cache-Control": "no-store"})
            case ReadinessProbe():
                return partial(_respond, self._readiness)
            case MetricsExposition():
                return partial(_respond, self._metrics)


async def _complete(pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
    try:
        return await pending.rest(request)
    except AssayError as error:
        return _build_error_response(pending.exchange, error)
    except ConnectionError:
        # Cut on purpose, or the client left: there is nobody to answer.
        raise
    except Exception as error:  # noqa: BLE001 - as in `begin`
        return _build_error_response(pending.exchange, error)


async def _respond(endpoint: Readiness | MetricsEndpoint, _request: web.BaseRequest) -> web.StreamResponse:
    return await endpoint.respond()


def _build_error_response(exchange: Exchange, error: Exception) -> web.StreamResponse:
    if not isinstance(error, AssayError):
        telemetry.failure("request-failed", error, path=exchange.path)
        error = AssayError("see the proxy's log")
    return build_problem_response(build_problem(error), exchange.head.headers.get("Accept"), exchange.resolved.root)


def create_app(
    assembly: Assembly,
    configuration: Configuration,
    *,
    clock: Callable[[], datetime],
    audit_trail: AuditTrail | None,
    authenticator: Authenticator | None,
) -> tuple[WebApp, Readiness]:
    """Put together what answers requests, for all views, and what ``/readyz`` says.

    Args:
        assembly: the running parts.
        configuration: that they were made from.
        clock: UTC.
        audit_trail: where served and refused files are recorded; None: nowhere.
        authenticator: None: users need not authenticate.
    """
    server = configuration.server
    root, *others = assembly.views
    readiness = build_readiness(assembly, configuration.trust, clock, audit_trail)
    views = [
        ViewResponder(
            view=view,
            root_lists=assembly.root_lists,
            settings=server,
            clock=clock,
            ui=UiResponder(
                view=view,
                store=assembly.store,
                settings=server,
                clock=clock,
                other_views=tuple(each.settings for each in others) if view is root else (),
            ),
            recorder=AuditRecorder(audit_trail),
        )
        for view in assembly.views
    ]
    return WebApp(
        views=views,
        readiness=readiness,
        settings=server,
        metrics_endpoint=MetricsEndpoint(assembly),
        authenticator=authenticator,
    ), readiness
