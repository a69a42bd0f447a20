"""Responder for the only route of the listener for other replicas: bytes of a file from an offset.

The responder starts no download. It answers only for a file that this replica is downloading or has stored. Before each
response, a gate of this replica must approve the file, and the last bytes follow only if it is still approved then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

from assay import telemetry
from assay.errors import AssayError, NotFoundError
from assay.gate.gate import Gate, WithheldError
from assay.peers.signing import PeerRequest, parse_target
from assay.peers.verifier import PeerRequestVerifier
from assay.policy.verdict import Approved
from assay.simple.model import Sha256
from assay.telemetry import tracing
from assay.web.files import send_remaining
from assay.web.server.connection import Connection

MAX_REQUESTS: Final = 64
"""Maximum number of requests that are answered at the same time. Further ones get 503, and the other replica continues
from its next source."""
_WARNING_INTERVAL_SECONDS: Final = 1.0
"""Minimum time in seconds between two warnings about refused requests, which anyone on the network can send."""


class PeerResponder:
    """Responder for the requests of other replicas.

    Args:
        gates: gates of all views. The file must be approved by one of them.
        verifier: verifier of the signatures.
        max_requests: maximum number of requests at the same time.
    """

    def __init__(self, *, gates: Sequence[Gate], verifier: PeerRequestVerifier, max_requests: int) -> None:
        self._gates = tuple(gates)
        self._files = self._gates[0].resources.files
        self._verifier = verifier
        self._max_requests = max_requests
        self._running = 0
        self._unreported_refusals = 0
        self._next_report_at = 0.0

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request.

        The status is 200 or 206 with the bytes of the file; 401 for a request without a valid signature; 404 for a file
        that this replica neither downloads nor has stored, or that no page lists; 403 for a file that no view approves;
        and 503 if too many requests are running, or if no verdict is available now.
        """
        verified = self._verifier.verify(request.headers, request.raw_path)
        if isinstance(verified, str):
            self._report_refusal(request, verified)
            return _respond(HTTPStatus.UNAUTHORIZED)
        if request.method != "GET":
            return _respond(HTTPStatus.METHOD_NOT_ALLOWED)
        is_probe_only = isinstance(request.protocol, Connection) and request.protocol.slot.is_probe_only
        if is_probe_only or self._running >= self._max_requests:
            return _respond(HTTPStatus.SERVICE_UNAVAILABLE)
        self._running += 1
        try:
            with tracing.span("peer-request", kind="server", parent=request.headers.get("traceparent")) as span:
                response = await self._respond_with_file(request, verified)
                span.set_attributes(status=response.status)
                return response
        finally:
            self._running -= 1

    async def _respond_with_file(self, request: web.BaseRequest, verified: PeerRequest) -> web.StreamResponse:
        named = parse_target(verified.target)
        if named is None:
            return _respond(HTTPStatus.NOT_FOUND)
        sha256, location = named
        try:
            # Asked first, because a gate may fetch a page of a project that this replica does not use.
            if not await self._files.holds(sha256):
                return _respond(HTTPStatus.NOT_FOUND)
            found = await self._find_approval(location, sha256)
            if found is None:
                return _respond(HTTPStatus.FORBIDDEN)
            gate, approved = found
            async with gate.open_held_content(approved) as content:
                if content is None:
                    return _respond(HTTPStatus.NOT_FOUND)
                return await send_remaining(request, content, verified.start)
        except NotFoundError:
            return _respond(HTTPStatus.NOT_FOUND)
        except WithheldError:
            return _respond(HTTPStatus.FORBIDDEN)
        except AssayError:
            return _respond(HTTPStatus.SERVICE_UNAVAILABLE)

    async def _find_approval(self, location: str, sha256: Sha256) -> tuple[Gate, Approved] | None:
        """Return the first gate that approves the file with this digest at a location, and its approval.

        Return None if a page lists the location and no gate approves the file.

        Raises:
            AssayError: no gate approves the file, and the last one could not decide.
        """
        for gate in self._gates:
            verdict = gate.peek_verdict(location)
            if isinstance(verdict, Approved) and verdict.sha256 == sha256:
                return gate, verdict
        failure: AssayError | None = None
        for gate in self._gates:
            try:
                verdict = await gate.get_verdict(location)
            except AssayError as error:
                failure = error
                continue
            if isinstance(verdict, Approved) and verdict.sha256 == sha256:
                return gate, verdict
        if failure is not None:
            raise failure
        return None

    def _report_refusal(self, request: web.BaseRequest, reason: str) -> None:
        self._unreported_refusals += 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_report_at:
            telemetry.warning(
                "peer-request-refused", client=request.remote, reason=reason, refused=self._unreported_refusals
            )
            self._unreported_refusals, self._next_report_at = 0, now + _WARNING_INTERVAL_SECONDS


def _respond(status: HTTPStatus) -> web.StreamResponse:
    return web.Response(status=status, headers={"Cache-Control": "no-store"})
