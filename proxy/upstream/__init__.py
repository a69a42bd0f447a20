"""The only outbound sockets: what may be contacted, with whose credentials, and what comes back."""

from proxy.upstream.authorities import authorities
from proxy.upstream.client import (
    PROVENANCE_ACCEPT,
    Fetched,
    Nothing,
    Upstream,
    Validators,
)
from proxy.upstream.credentials import Authorizations
from proxy.upstream.pacing import pause_before_retry
from proxy.upstream.reception import Contents

__all__ = [
    "PROVENANCE_ACCEPT",
    "Authorizations",
    "Contents",
    "Fetched",
    "Nothing",
    "Upstream",
    "Validators",
    "authorities",
    "pause_before_retry",
]
