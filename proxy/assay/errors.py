"""Every exception that Assay raises on purpose, in one hierarchy; it knows no HTTP.

Exceptions are for what a caller cannot have. What was *decided* (a verdict, evidence) is a value and never raised.
`web.errors` maps each class to a status; `cli` maps each to an exit code.
"""

from __future__ import annotations


class AssayError(Exception):
    """Base of all; its message is one sentence that may be shown to whoever asked."""


class ConfigurationError(AssayError):
    """A setting, policy or command line that cannot be used: file, key path, expected, found, nearest valid key."""


class NotFoundError(AssayError):
    """What was asked for does not exist: a project, a URL on no page, a provenance."""


class ProjectNotFoundError(NotFoundError):
    """The catch-all index has no such project."""


class FileNotListedError(NotFoundError):
    """The URL stands on no page, so this proxy does not serve it (it is no open proxy)."""


class ProvenanceNotFoundError(NotFoundError):
    """The file is approved and listed, and there is no provenance for it."""


class UpstreamError(AssayError):
    """Base of what went wrong between Assay and an index."""


class UpstreamUnavailableError(UpstreamError):
    """The index cannot be reached or refuses for now (connect, time-out, 5xx, 429); another try may succeed.

    Attributes:
        retry_after: seconds the index asked to wait, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidResponseError(UpstreamError):
    """The index answered with what cannot be used: wrong type, malformed page, too large, wrong length."""


class UpstreamAccessDeniedError(InvalidResponseError):
    """The index refuses to give this to us (401, 403, 451): what was remembered of it is not used either."""


class UpstreamGoneError(UpstreamError):
    """The index answers 404 or 410 for something that its own page lists."""


class DisallowedHostError(UpstreamError):
    """An address outside the hosts that the index may use; it was not contacted."""


class DigestMismatchError(UpstreamError):
    """Bytes whose SHA-256 or length is not the one that was decided on: a security event."""


class NotReadyError(AssayError):
    """The answer is still being worked out by the proxy; asking again in a few seconds gets it."""


class VerificationUnavailableError(AssayError):
    """Our own failure to verify (memory, a dead worker, a time-out): never evidence, never recorded."""


class PrivateApiChangedError(VerificationUnavailableError):
    """A library that verification uses has changed in what is private of it: nothing is verified with it."""


class StorageError(AssayError):
    """The disk does not take or give what it should: full, read-only, wrong owner, vanished, locked."""


class StorageInUseError(StorageError):
    """Another process owns this storage directory."""


class LedgerError(StorageError):
    """The ledger cannot be read or written: what must never be forgotten would be, so nothing is answered."""
