"""Exchange: one request and its response, from the head of the request to the line in the log.

An exchange holds the facts about a request: route, id, client, user and start time. When the response is known, the
exchange sets the ``X-Request-Id`` header, counts the request in the metrics, logs the event ``request`` and ends the
trace span. This applies to every response: a connection sends some directly, and aiohttp's task sends the others.

The ``traceparent`` header counts only if it comes from `trusted-proxies`. Any other client could use it to add spans to
foreign traces, or to make Assay record traces.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, TypeAlias

from aiohttp import web
from multidict import CIMultiDict

from assay import telemetry
from assay.config import ServerSettings
from assay.policy.reasons import escape_controls
from assay.telemetry import metrics, tracing
from assay.telemetry.audit_trail import EntryWrite
from assay.telemetry.lines import RequestEvent
from assay.users import User, current_client
from assay.web.files import AbortedError
from assay.web.origin import get_client_network, is_trusted_proxy, resolve_client_address
from assay.web.response import BufferedResponse
from assay.web.routing.routes import Route
from assay.web.routing.targets import ResolvedTarget, split_absolute_form

_MAX_LOGGED_PATH_CHARS = 300
_MAX_USER_NAME_CHARS = 1024
_TRACED_METHODS = frozenset({"GET", "HEAD"})
_NOT_MODIFIED = HTTPStatus.NOT_MODIFIED.value
"""Constant, because reading an enum member takes 0.3 µs in Python 3.11. `WebApp.begin` as a whole takes 12 µs."""


class RequestHead(Protocol):
    """Head of a request in the form that aiohttp's parser returns (`RawRequestMessage`)."""

    @property
    def method(self) -> str:
        """Method as the client sent it."""

    @property
    def path(self) -> str:
        """Request target with its query, as the client sent it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields. Their names are case-insensitive."""


class ReceivedHead(NamedTuple):
    """Head of a request that aiohttp's task handles."""

    method: str
    path: str
    headers: Mapping[str, str]


def to_origin_form(head: RequestHead) -> RequestHead:
    """Return a request head whose target is in origin form.

    The host of a target in absolute form replaces the Host header: "the origin server MUST ignore the received Host
    header field" (RFC 9112, 3.2.2). The host only tells how the client names this proxy; no other server is contacted.
    """
    found = split_absolute_form(head.path)
    if found is None:
        return head
    authority, target = found
    headers = CIMultiDict(head.headers)
    headers["Host"] = authority
    return ReceivedHead(head.method, target, headers)


class Peer(NamedTuple):
    """Other end of a connection: the client, or a proxy in front of Assay."""

    address: str | None
    """IP address; None if the transport does not know it."""
    is_tls: bool
    """True if the connection is encrypted."""
    own_port: int | None = None
    """Port on which Assay accepted the connection; None if the transport does not know it."""


class Exchange:
    """Request in progress, with the facts that its response, its log event and its audit entry need.

    Args:
        head: head of the request.
        peer: other end of the connection.
        resolved: view and route of the request target.
        view: name of the view for the log and the audit trail; None for the view ``default``, which they do not name.
        settings: server settings, which contain the trusted proxies.

    Attributes:
        request_id: id of the request, which the response has in ``X-Request-Id``.
        client: IP address of the client. Behind trusted proxies, it is the address that they report.
        user: authenticated user; None if no user is authenticated.
        cache: for a page, "hit" if it was in memory, judged and fresh, else "miss"; empty for other routes.
        span: trace span of the request; it does nothing while tracing is off.
    """

    __slots__ = ("_started", "cache", "client", "head", "peer", "request_id", "resolved", "span", "user", "view")

    def __init__(
        self, head: RequestHead, peer: Peer, resolved: ResolvedTarget, view: str | None, settings: ServerSettings
    ) -> None:
        self._started = time.monotonic()
        self.head = head
        self.peer = peer
        self.resolved = resolved
        self.view = view
        self.request_id = telemetry.new_request_id()
        self.client = resolve_client_address(head.headers, peer=peer.address, settings=settings)
        self.user: User | None = None
        self.cache = ""
        self.span = start_request_span(head, peer, settings) if tracing.is_enabled() else tracing.NO_SPAN

    @property
    def route(self) -> Route:
        """Route of the request."""
        return self.resolved.route

    @property
    def user_name(self) -> str | None:
        """Name of the user for the log and the audit trail, or None if no user is authenticated.

        Control characters in the name are escaped.
        """
        return None if self.user is None else escape_controls(self.user.name, _MAX_USER_NAME_CHARS)

    @property
    def path(self) -> str:
        """Path of the request for the log: at most 300 characters, without the query, which may contain secrets."""
        return self.head.path.partition("?")[0][:_MAX_LOGGED_PATH_CHARS]

    def enter(self) -> None:
        """Set the request's id and view in the current context. Log events of this context then carry both."""
        telemetry.current_request.set((self.request_id, self.view))

    def name_client(self) -> None:
        """Set the client in the current context, whose work shares limits with that of other clients."""
        named = self.user_name
        current_client.set(get_client_network(self.client) if named is None else f"user {named}")

    def finish(self, response: web.StreamResponse | None = None, *, error: BaseException | None = None) -> None:
        """Set the request id in the response, and count, log and trace the request. Call this once for each exchange.

        Args:
            response: response to the request; None if the connection ends without a response.
            error: error that ended the connection, if there is no response.
        """
        seconds, head, label = time.monotonic() - self._started, self.head, self.resolved.route.label
        if response is None:
            status, sent, outcome = 0, 0, "aborted" if isinstance(error, AbortedError) else "left"
        else:
            status = response.status
            outcome, sent = metrics.classify_status(status), 0
            if isinstance(response, BufferedResponse):
                response.header_fields["X-Request-Id"] = self.request_id
            elif not response.prepared:
                response.headers["X-Request-Id"] = self.request_id
            if head.method == "GET" and status != _NOT_MODIFIED:
                sent = response.content_length or 0
        metrics.REQUESTS.count(label, outcome, seconds, sent, self.cache)
        telemetry.log_request(
            RequestEvent(
                self.request_id,
                self.view,
                head.method,
                self.path,
                status or outcome,
                round(seconds * 1000, 1),
                self.client,
                None if self.user is None else self.user_name,
            )
        )
        if self.span is not tracing.NO_SPAN:
            self.span.rename(f"{_get_traced_method(head.method)} {label}")
            self.span.set_attributes(route=label, request=self.request_id)
            finish_request_span(self.span, status, error)


Rest: TypeAlias = partial[Coroutine[Any, Any, web.StreamResponse]]
"""Remaining work of a response. Call it with aiohttp's request and await the result, which is the response. For some
routes, such as files, the work also sends the response."""


class Recorded(NamedTuple):
    """Response in memory that may be sent as soon as its audit entry is written."""

    response: web.StreamResponse
    entry: EntryWrite
    """Write of the entry. If it has an error, the response must not be sent."""

    async def wait(self, _request: web.BaseRequest) -> web.StreamResponse:
        """Return the response when its entry is written.

        Raises:
            StorageError: the entry cannot be written.
        """
        await self.entry.wait()
        return self.response


class Pending(NamedTuple):
    """Exchange that has no response yet, and the remaining work, which `Application.complete` awaits."""

    exchange: Exchange
    rest: Rest
    recorded: Recorded | None = None
    """Response that a connection may send without a task, when its audit entry is written. `rest` waits for it too."""


Outcome: TypeAlias = web.StreamResponse | Rest | Recorded
"""Result of the first step of a request: the response, the remaining work, or a response that waits for its entry."""


async def complete_rest(outcome: Outcome, request: web.BaseRequest) -> web.StreamResponse:
    """Return `outcome` if it is a response. If it is remaining work, await the work and return its response."""
    if isinstance(outcome, Recorded):
        return await outcome.wait(request)
    return await outcome(request) if isinstance(outcome, partial) else outcome


class Application(Protocol):
    """Application that answers a request in two steps, for example `WebApp`."""

    def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
        """Return the response, or an unfinished exchange, which the caller passes to `complete`. Never wait."""

    async def complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        """Finish an exchange that `begin` returned unfinished, and return its response.

        An exception ends the connection without a response.
        """


def start_request_span(head: RequestHead, peer: Peer, settings: ServerSettings) -> tracing.Span:
    """Start the trace span of a request. A ``traceparent`` header from a trusted proxy sets the parent of the span."""
    if not tracing.is_enabled():
        return tracing.NO_SPAN
    parent = head.headers.get("traceparent") if is_trusted_proxy(peer.address, settings) else None
    method = _get_traced_method(head.method)
    return tracing.start_span(method, kind="server", parent=parent, method=method)


def finish_request_span(span: tracing.Span, status: int, error: BaseException | None = None) -> None:
    """End the trace span of a request with the status of the response, or with the class name of `error`."""
    if error is not None:
        span.end(type(error).__name__)
        return
    span.set_attributes(status=status, error=str(status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)
    span.end()


def _get_traced_method(method: str) -> str:
    """Return the method for trace spans: GET, HEAD, or ``_OTHER`` for every other method.

    Clients may invent methods, and the number of span names must stay small (OpenTelemetry semantic conventions, "HTTP
    spans").
    """
    return method if method in _TRACED_METHODS else "_OTHER"
