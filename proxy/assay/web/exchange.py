"""One request and its response, from the head to the line of the log.

Owns what is known of a request (its route, id, client, user and start) and how it is accounted for: the header
``X-Request-Id``, the metrics of requests, the log line ``request`` and the span. Every response is accounted for here,
whether a connection or aiohttp's task sends it.

A ``traceparent`` counts from `trusted-proxies` alone: anybody else could write into other people's traces, or turn
sampling on.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, TypeAlias

from aiohttp import web

from assay import telemetry
from assay.config import ServerSettings
from assay.policy.reasons import escape_controls
from assay.telemetry import metrics, tracing
from assay.telemetry.lines import RequestEvent
from assay.users import User
from assay.web.files import AbortedError
from assay.web.origin import is_trusted_proxy, resolve_client_address
from assay.web.response import BufferedResponse
from assay.web.routes import ResolvedTarget, Route

_MAX_LOGGED_PATH_CHARS = 300
_MAX_USER_NAME_CHARS = 1024
_TRACED_METHODS = frozenset({"GET", "HEAD"})
_NOT_MODIFIED = HTTPStatus.NOT_MODIFIED.value
"""Looked up once: in Python 3.11 a member of an enumeration costs 0.3 µs, of the 12 that `WebApp.begin` takes."""


@dataclass(slots=True)
class RequestHead:
    """The head of a request."""

    method: str
    target: str
    """As the client sent it."""
    headers: Mapping[str, str]
    """Case-insensitive."""


class Peer(NamedTuple):
    """The other end of a connection: a client or a front proxy."""

    address: str | None
    is_tls: bool


class Exchange:
    """A request and what is known of it.

    Args:
        head: the request's head.
        peer: the other end of its connection.
        resolved: what the target stands for.
        view: name of the target's view for log and trail; None: `default`, which they do not name.
        settings: which peers are trusted.

    Attributes:
        request_id: also answered as ``X-Request-Id``.
        client: address of the client, behind any trusted proxies.
        user: None until a user has authenticated.
        span: the request's span; nothing records it while tracing is off.
    """

    __slots__ = ("_started", "client", "head", "peer", "request_id", "resolved", "span", "user", "view")

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
        self.span = start_request_span(head, peer, settings) if tracing.is_enabled() else tracing.NO_SPAN

    @property
    def route(self) -> Route:
        """The route that the target stands for."""
        return self.resolved.route

    @property
    def user_name(self) -> str | None:
        """The user's name for log and trail; None if no user has authenticated."""
        return None if self.user is None else escape_controls(self.user.name, _MAX_USER_NAME_CHARS)

    @property
    def path(self) -> str:
        """The target for the log: shortened, and without its query, which may hold secrets."""
        return self.head.target.partition("?")[0][:_MAX_LOGGED_PATH_CHARS]

    def enter(self) -> None:
        """Let events of the current context carry the request's id and view."""
        telemetry.current_request_id.set(self.request_id)
        telemetry.current_view.set(self.view)

    def finish(self, response: web.StreamResponse | None = None, *, error: BaseException | None = None) -> None:
        """Write the request id into the response, and count, log and trace the request; called once for each exchange.

        Args:
            response: None if the connection ends without one.
            error: why there is no response.
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
        metrics.REQUESTS.count(label, outcome, seconds, sent)
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
"""The part of answering a request that waits for something: called with the request, whose response it may send."""


class Pending(NamedTuple):
    """An exchange whose response has to be awaited."""

    exchange: Exchange
    rest: Rest


async def complete_rest(outcome: web.StreamResponse | Rest, request: web.BaseRequest) -> web.StreamResponse:
    """Return a response that is there, or await it."""
    return await outcome(request) if isinstance(outcome, partial) else outcome


class Application(Protocol):
    """The two parts of answering a request."""

    def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
        """Return the finished response, or what remains to be awaited; never wait."""

    async def complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response that `begin` left pending, finished; raise only to end the connection."""


def start_request_span(head: RequestHead, peer: Peer, settings: ServerSettings) -> tracing.Span:
    """Start the span of a request, within the trace that a trusted proxy names."""
    if not tracing.is_enabled():
        return tracing.NO_SPAN
    parent = head.headers.get("traceparent") if is_trusted_proxy(peer.address, settings) else None
    method = _get_traced_method(head.method)
    return tracing.start_span(method, kind="server", parent=parent, method=method)


def finish_request_span(span: tracing.Span, status: int, error: BaseException | None = None) -> None:
    """End the span of a request with the status of its response, or with the name of the error that ended it."""
    if error is not None:
        span.end(type(error).__name__)
        return
    span.set_attributes(status=status, error=str(status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)
    span.end()


def _get_traced_method(method: str) -> str:
    """Return a method's name in spans: names must be few (semantic conventions, "HTTP spans")."""
    return method if method in _TRACED_METHODS else "_OTHER"
