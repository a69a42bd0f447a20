"""Web application: answers each request in two steps. `begin` never waits; `complete` awaits the remaining work.

This module checks the user and the user's permission to use a view, checks the rules of the route, passes the request
to the view, and makes the responses to errors. `web.exchange` counts and logs each response. `create_app` assembles the
application for ``assay serve`` and for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus

from aiohttp import web

from assay import telemetry
from assay.assembly import Assembly
from assay.caching.fair_slots import TooManyWaitingError
from assay.config import Configuration, HelpSettings, ServerSettings
from assay.errors import AssayError, UpstreamUnavailableError
from assay.gate.gate import WithheldError
from assay.telemetry.audit_trail import AuditTrail
from assay.users import User
from assay.web.audit import AuditRecorder
from assay.web.auth import (
    Authenticator,
    PasswordCheck,
    build_too_many_passwords_response,
    build_view_forbidden_response,
)
from assay.web.errors import build_problem, build_problem_response
from assay.web.exchange import (
    Exchange,
    Outcome,
    Peer,
    Pending,
    Recorded,
    RequestHead,
    complete_rest,
    to_origin_form,
)
from assay.web.health import Readiness, build_readiness
from assay.web.hosted.body import drain_body
from assay.web.hosted.responder import HostedResponder, HostedRoute
from assay.web.metrics import MetricsEndpoint
from assay.web.repeated_failures import RepeatedFailures
from assay.web.routing.routes import (
    HostedChange,
    HostedProjects,
    LivenessProbe,
    MetricsExposition,
    OperatorRoute,
    ReadinessProbe,
    UploadFile,
    find_broken_rule,
)
from assay.web.routing.targets import resolve_target
from assay.web.ui.activity.responder import ActivityResponder
from assay.web.ui.pages import UiResponder
from assay.web.view import ViewResponder


class WebApp:
    """Application that answers all requests to the proxy.

    Args:
        views: one responder for each view, including the view at ``/``.
        readiness: responder for ``/readyz``.
        settings: server settings, which contain the proxy's own address and the trusted proxies.
        metrics_endpoint: responder for ``/metrics``.
        clock: returns the current time in UTC.
        hosted: responder for the routes of hosted indexes.
        authenticator: authenticator of users; None if access is open to all clients.
        help_settings: help for users whose file is withheld; None if the configuration has none.
    """

    def __init__(
        self,
        *,
        views: Sequence[ViewResponder],
        readiness: Readiness,
        settings: ServerSettings,
        metrics_endpoint: MetricsEndpoint,
        clock: Callable[[], datetime],
        hosted: HostedResponder,
        authenticator: Authenticator | None = None,
        help_settings: HelpSettings | None = None,
    ) -> None:
        self._views = {each.settings.prefix: each for each in views}
        self._prefixes = tuple(self._views)
        self._readiness = readiness
        self._settings = settings
        self._metrics = metrics_endpoint
        self._hosted = hosted
        self._authenticator = authenticator
        self._help_settings = help_settings
        self._failures = RepeatedFailures(clock)

    def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
        """Return the response to a request, or a pending exchange to pass to `complete`; never wait."""
        head = to_origin_form(head)
        resolved = resolve_target(head.path, self._prefixes)
        view = self._views[resolved.prefix]
        exchange = Exchange(head, peer, resolved, view.log_name, self._settings)
        exchange.enter()
        outcome: Outcome
        try:
            outcome = self._authenticate(exchange, view)
        except Exception as error:  # noqa: BLE001 - any unexpected error is logged and answered with 500
            outcome = self._build_error_response(exchange, error)
        if isinstance(outcome, partial):
            return Pending(exchange, outcome)
        if isinstance(outcome, Recorded):
            return Pending(exchange, partial(outcome.wait), outcome)
        if exchange.route.takes_body:
            return Pending(exchange, partial(_give, outcome))
        exchange.finish(outcome)
        return outcome

    async def complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        """Finish an exchange that `begin` returned unfinished, and return its response.

        Raises:
            BaseException: the connection was aborted or the client disconnected, so no response exists.
        """
        exchange = pending.exchange
        exchange.enter()
        exchange.name_client()
        try:
            with exchange.span.activate():
                response = await self._complete(pending, request)
                if exchange.route.takes_body:
                    await drain_body(request)
        except BaseException as error:
            exchange.finish(error=error)
            raise
        exchange.finish(response)
        return response

    def _authenticate(self, exchange: Exchange, view: ViewResponder) -> Outcome:
        """Authenticate the user, then dispatch the request.

        Until the user is known, no data is read and no index is contacted.
        """
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
        try:
            user = await check(address=exchange.client)
        except TooManyWaitingError:
            telemetry.warning("passwords-refused", client=exchange.client)
            return build_too_many_passwords_response(exchange.head.headers.get("Accept"), exchange.resolved.root)
        response = self._admit(exchange, view, authenticator, user)
        exchange.name_client()
        return await complete_rest(response, request)

    def _admit(
        self, exchange: Exchange, view: ViewResponder, authenticator: Authenticator, user: User | None
    ) -> Outcome:
        accept, root = exchange.head.headers.get("Accept"), exchange.resolved.root
        if user is None:
            return authenticator.build_unauthorized_response(accept, root)
        exchange.user = user
        if not view.settings.admits(user):
            return build_view_forbidden_response(view.settings.name, accept, root)
        return self._dispatch(exchange, view)

    def _dispatch(self, exchange: Exchange, view: ViewResponder) -> Outcome:
        route = exchange.resolved.route
        if (status := find_broken_rule(route, exchange.head.method, exchange.head.headers)) is not None:
            headers = {"Allow": ", ".join(route.methods)} if status is HTTPStatus.METHOD_NOT_ALLOWED else None
            return web.Response(status=status, headers=headers)
        return self._begin_operator(exchange, route) if isinstance(route, OperatorRoute) else view.begin(exchange)

    def _begin_operator(
        self, exchange: Exchange, route: LivenessProbe | ReadinessProbe | MetricsExposition | HostedRoute
    ) -> Outcome:
        match route:
            case UploadFile() | HostedProjects() | HostedChange():
                return self._hosted.begin(exchange, route)
            case LivenessProbe():
                return web.Response(text="alive\n", headers={"Cache-Control": "no-store"})
            case ReadinessProbe():
                return partial(_respond, self._readiness)
            case MetricsExposition():
                return partial(_respond, self._metrics)

    async def _complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await pending.rest(request)
        except AssayError as error:
            return self._build_error_response(pending.exchange, error)
        except ConnectionError:
            # Assay aborted the connection, or the client disconnected: no response can be sent.
            raise
        except Exception as error:  # noqa: BLE001 - any unexpected error is logged and answered with 500
            return self._build_error_response(pending.exchange, error)

    def _build_error_response(self, exchange: Exchange, error: Exception) -> web.StreamResponse:
        if not isinstance(error, AssayError):
            telemetry.failure("request-failed", error, path=exchange.path)
            error = AssayError("internal error, see the log of the proxy")
        is_repeated = (
            exchange.route.is_of_one_file
            and isinstance(error, UpstreamUnavailableError)
            and self._failures.record(exchange.head.path)
        )
        problem = build_problem(
            error,
            is_of_one_file=exchange.route.is_of_one_file,
            is_repeated=is_repeated,
            help_settings=self._help_settings,
        )
        render = None
        if isinstance(error, WithheldError):
            view = self._views[exchange.resolved.prefix]
            render = partial(view.render_withheld, error.withheld, exchange.request_id)
        return build_problem_response(problem, exchange.head.headers.get("Accept"), exchange.resolved.root, render)


async def _give(response: web.StreamResponse, _request: web.BaseRequest) -> web.StreamResponse:
    return response


async def _respond(endpoint: Readiness | MetricsEndpoint, _request: web.BaseRequest) -> web.StreamResponse:
    return await endpoint.respond()


def create_app(
    assembly: Assembly,
    configuration: Configuration,
    *,
    clock: Callable[[], datetime],
    audit_trail: AuditTrail | None,
    authenticator: Authenticator | None,
) -> tuple[WebApp, Readiness]:
    """Create the web application for all views, and the readiness checks.

    Args:
        assembly: the running parts of the proxy.
        configuration: configuration from which the parts were assembled.
        clock: returns the current time in UTC.
        audit_trail: audit trail of served and refused files; None if they are not recorded.
        authenticator: authenticator of users; None if access is open to all clients.
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
                help_settings=configuration.help,
            ),
            activity=ActivityResponder(
                view=view,
                store=assembly.store,
                summaries=assembly.summaries,
                clock=clock,
                other_views=tuple(each.settings for each in others) if view is root else (),
                advisories=assembly.advisories,
                lifetime_seconds=assembly.overview_seconds,
            ),
            recorder=AuditRecorder(audit_trail),
            usage=assembly.store.usage,
            summaries=assembly.summaries,
            refusals=assembly.store.refusals,
        )
        for view in assembly.views
    ]
    return WebApp(
        views=views,
        readiness=readiness,
        settings=server,
        metrics_endpoint=MetricsEndpoint(assembly),
        hosted=HostedResponder(assembly.uploads, AuditRecorder(audit_trail)),
        clock=clock,
        authenticator=authenticator,
        help_settings=configuration.help,
    ), readiness
