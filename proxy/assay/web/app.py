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
from assay.web.auth import USER, Access, not_your_view, user_of
from assay.web.errors import problem_of, response_to
from assay.web.files import AbortedError
from assay.web.health import Readiness
from assay.web.metrics import Scrape
from assay.web.origin import client_of
from assay.web.response import Answer
from assay.web.routes import Alive, Asked, Metrics, Ready, asked_of, label_of
from assay.web.spans import ROUTE
from assay.web.view import ViewAnswers

_READING = frozenset({"GET", "HEAD"})
_LONGEST_PATH = 300
"""Characters of it in the log."""


class Handler:
    """Answers requests.

    Args:
        views: what answers for each view, the one at ``/`` among them.
        readiness: for ``/readyz``.
        settings: who the proxy is to its clients, and whom it believes.
        scrape: for ``/metrics``.
        access: who may ask; None: everybody.
    """

    def __init__(
        self,
        *,
        views: Sequence[ViewAnswers],
        readiness: Readiness,
        settings: ServerSettings,
        scrape: Scrape,
        access: Access | None = None,
    ) -> None:
        self._views = {each.settings.prefix: each for each in views}
        self._prefixes = tuple(self._views)
        self._readiness = readiness
        self._settings = settings
        self._scrape = scrape
        self._access = access

    def at_once(self, target: str, headers: Mapping[str, str], peer: str | None) -> Answer | None:
        """The answer to a GET request that nothing needs to be waited for to give; None: it is to be called for.

        Args:
            target: of the request, as it was sent.
            headers: case-insensitive.
            peer: the address of whoever opened the connection.
        """
        if self._access is not None or tracing.is_on():
            return None
        started = time.monotonic()
        asked = asked_of(target, self._prefixes)
        view = self._views[asked.prefix]
        answer = view.at_once(headers, asked.route)
        if answer is None:
            return None
        name = answer.fields["X-Request-Id"] = telemetry.new_request_id()
        seconds, status = time.monotonic() - started, answer.status
        client = client_of(headers, peer=peer, settings=self._settings)
        sent = answer.content_length or 0
        metrics.REQUESTS.count(label_of(asked.route), metrics.status_class(status), seconds, sent)
        telemetry.request(RequestEvent(name, view.named, "GET", _path(target), status, _ms(seconds), client, None))
        return answer

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but to cut the connection."""
        started = time.monotonic()
        asked = asked_of(request.raw_path, self._prefixes)
        view = self._views[asked.prefix]
        name = telemetry.new_request_id()
        telemetry.request_id.set(name)
        telemetry.view.set(view.named)
        if tracing.is_on():
            request[ROUTE] = label_of(asked.route)
        outcome, status, sent = "left", 0, 0
        try:
            response = await self._explained(request, asked, view)
            status = response.status
            outcome = metrics.status_class(status)
            if request.method == "GET" and status != HTTPStatus.NOT_MODIFIED:
                sent = response.content_length or 0
        except AbortedError:
            outcome = "aborted"
            raise
        finally:
            seconds, path = time.monotonic() - started, _path(request.raw_path)
            client = client_of(request.headers, peer=request.remote, settings=self._settings)
            user = None if self._access is None else user_of(request)
            metrics.REQUESTS.count(label_of(asked.route), outcome, seconds, sent)
            telemetry.request(
                RequestEvent(name, view.named, request.method, path, status or outcome, _ms(seconds), client, user)
            )
        return response

    async def _explained(self, request: web.BaseRequest, asked: Asked, view: ViewAnswers) -> web.StreamResponse:
        """The answer, or what went wrong as an answer; in both the request's id."""
        accept = request.headers.get("Accept")
        try:
            response = await self._permitted(request, asked, view)
        except AssayError as error:
            response = response_to(problem_of(error), accept, asked.root)
        except ConnectionError:
            # Cut on purpose, or the client left; there is nobody to answer.
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a fault is logged and answered, not leaked
            telemetry.failure("request-failed", error, path=request.path)
            response = response_to(problem_of(AssayError("see the proxy's log")), accept, asked.root)
        if not response.prepared:
            fields = response.fields if isinstance(response, Answer) else response.headers
            fields["X-Request-Id"] = telemetry.request_id.get() or ""
        return response

    async def _permitted(self, request: web.BaseRequest, asked: Asked, view: ViewAnswers) -> web.StreamResponse:
        """The answer to whom it may be given: before that, nothing is looked up and nobody is asked."""
        # A kubelet has no name to give: what says no more than "alive" and "ready" is open.
        if self._access is not None and not isinstance(asked.route, Alive | Ready):
            accept = request.headers.get("Accept")
            user = await self._access.user(request.headers, request.remote)
            if user is None:
                return self._access.refusal(accept, asked.root)
            request[USER] = user
            if not view.settings.admits(user):
                return not_your_view(view.settings.name, accept, asked.root)
        return await self._answer(request, asked, view)

    async def _answer(self, request: web.BaseRequest, asked: Asked, view: ViewAnswers) -> web.StreamResponse:
        if request.method not in _READING:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        match asked.route:
            case Alive():
                return web.Response(text="alive\n", headers={"Cache-Control": "no-store"})
            case Ready():
                return await self._readiness.response()
            case Metrics():
                return await self._scrape.response()
            case route:
                return await view.answer(request, route)


def _path(target: str) -> str:
    """What the log says of a target: no query, where tokens are."""
    return target.partition("?")[0][:_LONGEST_PATH]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
