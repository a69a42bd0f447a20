"""The only outbound sockets: what may be contacted, with whose credentials, and what comes back."""

from assay.upstream.authorities import authorities
from assay.upstream.client import PROVENANCE_ACCEPT, Fetched, Nothing, Upstream, Validators
from assay.upstream.credentials import Authorizations
from assay.upstream.pacing import pause_before_retry
from assay.upstream.reception import Contents

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
