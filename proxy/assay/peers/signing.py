"""Signature of a request between replicas: HMAC-SHA256 (RFC 2104) over all facts of the request. Pure.

Replicas talk plain HTTP on the network of their pods. The signature proves that the request comes from a replica of the
same deployment. The response needs no signature, because the receiver hashes every byte of the file.

The signature covers the deployment, the address of the receiver, the path, the offset, the time and a nonce. A request
that is recorded on the network is therefore useless for another receiver, another file, another offset or a later time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from assay.simple.location import decode_location
from assay.simple.model import Sha256

MAX_AGE_SECONDS: Final = 30
"""Maximum difference in seconds between the time of a request and the clock of the receiver, in both directions."""
NONCE_BYTES: Final = 16
"""Number of random bytes in a nonce."""
_CONTEXT: Final = b"assay peer request 1"
"""Purpose and version of the signature. The same key protects other data too, so each use has its own text."""
_DEPLOYMENT, _TIME, _NONCE, _SIGNATURE, _RANGE = (
    "Assay-Deployment", "Assay-Time", "Assay-Nonce", "Assay-Signature", "Range"
)  # fmt: skip
_TIME_FORM: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_NONCE_FORM: Final = re.compile(rf"[0-9a-f]{{{2 * NONCE_BYTES}}}", re.ASCII)
_RANGE_FORM: Final = re.compile(r"bytes=([1-9][0-9]{0,17})-", re.ASCII)
_TARGET_FORM: Final = re.compile(r"/files/([0-9a-f]{64})/([!-~]{1,6000})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCredentials:
    """Name of the deployment, and the keys that all its replicas share."""

    deployment: str
    keys: Callable[[], Sequence[bytes]]
    """Returns the keys, at least one. The first one signs. Each of them is accepted, so that keys can be rotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRequest:
    """Facts of a request for the bytes of a file, as its signature covers them."""

    deployment: str
    address: str
    """``IP:port`` of the receiver."""
    target: str
    """Path of the request, as sent (`format_target`)."""
    start: int
    """Offset of the first byte that is requested."""
    time: int
    """Time of the request in seconds since 1970."""
    nonce: str
    """Random number in hexadecimal digits, which is used only once."""


def sign(request: PeerRequest, key: bytes) -> str:
    """Return the signature of a request in hexadecimal digits."""
    fields = (
        request.deployment, request.address, request.target, str(request.start), str(request.time), request.nonce,
    )  # fmt: skip
    encoded = (each.encode("utf-8", "surrogatepass") for each in fields)
    # With the length before each field, no two requests have the same message.
    message = b"".join(len(each).to_bytes(8, "big") + each for each in (_CONTEXT, *encoded))
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def has_valid_signature(request: PeerRequest, signature: str, keys: Sequence[bytes]) -> bool:
    """Return True if one of the keys made the signature. The comparison takes equally long for each wrong one."""
    claimed = signature.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(sign(request, key).encode(), claimed) for key in keys]
    return any(matches)


def format_headers(request: PeerRequest, key: bytes) -> dict[str, str]:
    """Return the header fields of a signed request."""
    headers = {
        _DEPLOYMENT: request.deployment,
        _TIME: str(request.time),
        _NONCE: request.nonce,
        _SIGNATURE: sign(request, key),
    }
    return {**headers, _RANGE: f"bytes={request.start}-"} if request.start else headers


def parse_headers(headers: Mapping[str, str], *, target: str, address: str) -> tuple[PeerRequest, str] | None:
    """Return the facts of a received request and its signature, which is not verified yet; None if one is malformed.

    Args:
        headers: header fields of the request; names without regard to case.
        target: path of the request, as received.
        address: ``IP:port`` at which this replica received the request.
    """
    time, nonce = headers.get(_TIME, ""), headers.get(_NONCE, "")
    deployment, signature = headers.get(_DEPLOYMENT), headers.get(_SIGNATURE)
    if deployment is None or signature is None or not _TIME_FORM.fullmatch(time) or not _NONCE_FORM.fullmatch(nonce):
        return None
    start, part = 0, headers.get(_RANGE)
    if part is not None:
        if (found := _RANGE_FORM.fullmatch(part)) is None:
            return None
        start = int(found[1])
    request = PeerRequest(
        deployment=deployment, address=address, target=target, start=start, time=int(time), nonce=nonce
    )
    return request, signature


def format_target(sha256: Sha256, route: str) -> str:
    """Return the path of a request for a file.

    Args:
        sha256: digest of the file.
        route: route of the file, as `simple.location` makes it.
    """
    return f"/files/{sha256}/{route}"


def parse_target(target: str) -> tuple[Sha256, str] | None:
    """Return the digest and the location of the file that a path names; None if the path names no file."""
    found = _TARGET_FORM.fullmatch(target)
    return None if found is None else (Sha256(found[1]), decode_location(found[2]))
