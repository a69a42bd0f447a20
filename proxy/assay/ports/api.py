"""Protocol of a client for an HTTP API that is not an index. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """Response of an API, with any status except a redirect. Everything in it is untrusted."""

    status: int
    headers: Mapping[str, str]
    """Header fields. The names are in lower case; of a repeated field, the first value counts."""
    body: bytes


class ApiClient(Protocol):
    """Client of one API. It sends requests only to the hosts in its settings, and credentials only to the API's own."""

    async def request(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_bytes: int,
        max_seconds: float,
    ) -> ApiResponse:
        """Send one request, follow the redirects of a GET, and return the response. A failed request is not repeated.

        Args:
            url: URL on a permitted host.
            headers: header fields. Credentials are added.
            body: JSON of a POST; None for a GET.
            max_bytes: limit on the body of the response, after decompression. The body of a response with an error
                status may be left out.
            max_seconds: limit on the time of the request.

        Raises:
            UpstreamUnavailableError: the connection failed or the time is over.
            DisallowedHostError: the host is not permitted.
            InvalidResponseError: the response is not valid HTTP, too large, or a redirect that cannot be followed.
        """
