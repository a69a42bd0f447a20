"""Verifier of requests from other replicas: signature, deployment, time, and a memory of nonces against repetition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from assay.peers.signing import MAX_AGE_SECONDS, PeerCredentials, PeerRequest, has_valid_signature, parse_headers

_MAX_NONCES: Final = 50_000
"""Maximum number of nonces that are remembered; they need about 10 MB. Only requests with a valid signature count."""
_WINDOW_SECONDS: Final = 2 * MAX_AGE_SECONDS
"""Length of a window of nonces, in seconds. A request is valid for this long: from 30 seconds before the clock of the
receiver to 30 seconds after."""


class NonceMemory:
    """Memory of the nonces of requests that may still be valid. It groups them by the time of the request.

    A window is forgotten as a whole when none of its requests can be valid any more.

    Args:
        max_nonces: maximum number of nonces. If it is reached, no further nonce is accepted until a window ends.
    """

    def __init__(self, max_nonces: int = _MAX_NONCES) -> None:
        self._max_nonces = max_nonces
        self._windows: dict[int, set[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._windows.values()))

    def add(self, nonce: str, time: int, now: int) -> bool:
        """Remember a nonce. Return False if it was used before, or if the memory is full.

        Args:
            nonce: nonce of a request with a valid signature.
            time: time of the request, in seconds since 1970. It is at most `MAX_AGE_SECONDS` away from `now`.
            now: current time, in seconds since 1970.
        """
        oldest = (now - MAX_AGE_SECONDS) // _WINDOW_SECONDS
        self._windows = {number: nonces for number, nonces in self._windows.items() if number >= oldest}
        known = self._windows.setdefault(time // _WINDOW_SECONDS, set())
        if nonce in known or len(self) >= self._max_nonces:
            return False
        known.add(nonce)
        return True


class PeerRequestVerifier:
    """Verifier of received requests.

    Args:
        credentials: deployment and keys of this replica.
        address: ``IP:port`` at which this replica receives requests.
        clock: returns the current time in UTC.
        nonces: memory of nonces; None: a new one.
    """

    def __init__(
        self,
        *,
        credentials: PeerCredentials,
        address: str,
        clock: Callable[[], datetime],
        nonces: NonceMemory | None = None,
    ) -> None:
        self._credentials = credentials
        self._address = address
        self._clock = clock
        self._nonces = NonceMemory() if nonces is None else nonces

    def verify(self, headers: Mapping[str, str], target: str) -> PeerRequest | str:
        """Return the facts of a request, or the reason for its refusal. Each request is accepted once.

        Args:
            headers: header fields of the request.
            target: path of the request, as received.
        """
        parsed = parse_headers(headers, target=target, address=self._address)
        if parsed is None:
            return "the signature is missing or malformed"
        request, signature = parsed
        if not has_valid_signature(request, signature, self._credentials.keys()):
            return "the signature is wrong"
        if request.deployment != self._credentials.deployment:
            return "the request is of another deployment"
        now = int(self._clock().timestamp())
        if abs(now - request.time) > MAX_AGE_SECONDS:
            return f"the time of the request differs by more than {MAX_AGE_SECONDS} seconds from the clock"
        if not self._nonces.add(request.nonce, request.time, now):
            return "the request was received before, or too many requests were received"
        return request
