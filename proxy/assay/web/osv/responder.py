"""Responses of the OSV API of one view, from the advisories in force.

An answer leaves out the records that the view's policy ignores, and those about projects of indexes with other projects
than PyPI's, so that a tool reports what the proxy does. The records are those of the feed, unchanged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import web

from assay.gate.gate import Gate
from assay.web.osv.answers import CountingRecords, answer_batch, answer_query
from assay.web.osv.queries import InvalidQueryError, parse_batch, parse_query

_T = TypeVar("_T")
BODY_TIMEOUT_SECONDS: Final = 20.0
"""Time within which the body of a query must arrive, in seconds."""
_MAX_RUNNING: Final = 2
"""Maximum number of queries that a view answers at the same time. Each runs in a thread."""
_INVALID_ARGUMENT, _NOT_FOUND, _UNAVAILABLE = 3, 5, 14
"""Codes of errors in the OSV API, which are those of gRPC."""
_HEADERS: Final = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


class OsvResponder:
    """Responder for the requests to the OSV API of one view.

    Args:
        gate: gate of the view, which has the policy and the advisories in force.
        clock: returns the current time in UTC.
        body_timeout_seconds: time within which the body of a query must arrive, in seconds.
    """

    def __init__(
        self, *, gate: Gate, clock: Callable[[], datetime], body_timeout_seconds: float = BODY_TIMEOUT_SECONDS
    ) -> None:
        self._gate = gate
        self._advisories = gate.resources.advisories
        self._clock = clock
        self._body_timeout_seconds = body_timeout_seconds
        self._slots = asyncio.Semaphore(_MAX_RUNNING)

    async def respond_to_query(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``/osv/v1/query``: the full records about a package, or about one version of it."""
        return await self._respond(request, lambda body, records: answer_query(parse_query(body), records))

    async def respond_to_batch(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``/osv/v1/querybatch``: for each query the ids and times of the records."""
        return await self._respond(request, lambda body, records: answer_batch(parse_batch(body), records))

    async def respond_with_record(self, advisory_id: str, _request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``/osv/v1/vulns/{id}``: the record with this id, also a withdrawn one or one that is ignored."""
        if (refusal := self._find_refusal()) is not None:
            return refusal
        snapshot = self._advisories.current()
        raw = await self._run_in_slot(lambda: snapshot.get_raw(advisory_id))
        return _build_error(HTTPStatus.NOT_FOUND, _NOT_FOUND, "Bug not found.") if raw is None else _build_response(raw)

    async def _respond(
        self, request: web.BaseRequest, answer: Callable[[bytes, CountingRecords], bytes]
    ) -> web.StreamResponse:
        if (refusal := self._find_refusal()) is not None:
            return refusal
        try:
            async with asyncio.timeout(self._body_timeout_seconds):
                body = await request.read()
        except TimeoutError:
            return _build_error(HTTPStatus.REQUEST_TIMEOUT, _INVALID_ARGUMENT, "The body did not arrive in time.")
        except web.HTTPRequestEntityTooLarge:  # a small body with a content coding that expands it
            return _build_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _INVALID_ARGUMENT, "The body is too large.")
        records = self._get_records()
        try:
            return _build_response(await self._run_in_slot(lambda: answer(body, records)))
        except InvalidQueryError as error:
            return _build_error(HTTPStatus.BAD_REQUEST, _INVALID_ARGUMENT, str(error))

    async def _run_in_slot(self, work: Callable[[], _T]) -> _T:
        """Run work in a thread, in one of the slots.

        If the client closes the connection meanwhile, the request is cancelled, but the thread continues. The slot
        stays taken until the thread ends, so that such clients cannot occupy more threads than there are slots.
        """
        await self._slots.acquire()
        running = asyncio.ensure_future(asyncio.to_thread(work))
        running.add_done_callback(self._release_slot)
        return await asyncio.shield(running)

    def _release_slot(self, ended: asyncio.Future[Any]) -> None:
        self._slots.release()
        if not ended.cancelled():
            ended.exception()  # a cancelled request does not retrieve it

    def _get_records(self) -> CountingRecords:
        return CountingRecords(
            snapshot=self._advisories.current(),
            policy=self._gate.policy,
            now=self._clock(),
            applies_to=self._gate.has_pypi_projects,
        )

    def _find_refusal(self) -> web.Response | None:
        """Return the response while no advisories are in force. An empty answer would say that no record exists."""
        why = self._advisories.explain_not_ready()
        if why is None and not len(self._advisories.current()):
            why = "No advisories are loaded. The table [[advisories]] of the configuration names their feed."
        return None if why is None else _build_error(HTTPStatus.SERVICE_UNAVAILABLE, _UNAVAILABLE, why)


def _build_error(status: HTTPStatus, code: int, message: str) -> web.Response:
    body = json.dumps({"code": code, "message": message}).encode()
    headers = {**_HEADERS, "Cache-Control": "no-store"}
    response = web.Response(status=status, body=body, content_type="application/json", headers=headers)
    if status is HTTPStatus.REQUEST_TIMEOUT:
        response.force_close()  # the rest of the body would be read as the next request
    return response


def _build_response(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=_HEADERS)
