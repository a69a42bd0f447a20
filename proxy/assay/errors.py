"""Exceptions that Assay raises on purpose. They know nothing of HTTP.

An exception means that a caller cannot get the requested page, file or document. Decisions (verdicts and evidence) are
values and never exceptions. `web.errors` maps each class to an HTTP status, and `cli` maps each class to an exit code.
"""

from __future__ import annotations


class AssayError(Exception):
    """Base class of Assay's exceptions. The message is one sentence that may be shown to the client."""


class ConfigurationError(AssayError):
    """Error in a setting, policy or command line. The message has the file, key path, expected and found value."""


class NotFoundError(AssayError):
    """Error for a project, file or document that does not exist."""


class ProjectNotFoundError(NotFoundError):
    """Error for a project that no index covers, or that its index does not have."""


class FileNotListedError(NotFoundError):
    """Error for a URL that no project page lists. The proxy serves only listed URLs."""


class ProvenanceNotFoundError(NotFoundError):
    """Error for an approved file that has no provenance document."""


class UpstreamError(AssayError):
    """Base class of errors of requests to an index."""


class UpstreamUnavailableError(UpstreamError):
    """Error for a temporary failure of an index: no connection, timeout, 5xx or 429. Another try may succeed.

    Attributes:
        retry_after: delay that the index requested, in seconds; None if it requested no delay.
        status: HTTP status of the response; None if there was no response.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class UpstreamTimeoutError(UpstreamUnavailableError):
    """Error for an index that did not answer in time. The request is not repeated at once, because clients wait."""


class InvalidResponseError(UpstreamError):
    """Error for an unusable response: of the wrong type, malformed, too large, or of the wrong length."""


class UpstreamAccessDeniedError(InvalidResponseError):
    """Error for a response with status 401, 403 or 451. The proxy does not use a cached copy instead."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AmbiguousAbsenceError(UpstreamUnavailableError):
    """Error for a response that does not show if a project is gone or if the index denies access.

    The response has a status of `absent-status`, but the project had files before. The proxy does not use a cached page
    instead.
    """


class SerialRollbackError(UpstreamUnavailableError):
    """Error for a page with a lower serial than one that the index sent before, if no newer page may be used."""


class UpstreamGoneError(UpstreamError):
    """Error for a file that the index's own page lists, but whose URL answers 404 or 410."""


class DisallowedHostError(UpstreamError):
    """Error for a URL on a host that the index may not use. No request was sent."""


class DigestMismatchError(UpstreamError):
    """Error for bytes whose SHA-256 or length differs from that of the approved file. It is a security event."""


class TooManyRequestsError(AssayError):
    """Error for a client that exceeds a limit. Another request can succeed a few seconds later."""


class NotReadyError(AssayError):
    """Error for a project page or list of projects that the proxy is still preparing. The client can try again soon."""


class EvidencePendingError(NotReadyError):
    """Error for a file whose provenance is being fetched for the first time. Another request can succeed later."""


class EvidenceUnavailableError(AssayError):
    """Error for a file whose provenance could not be fetched. The message states the problem."""


class VerificationUnavailableError(AssayError):
    """Error of the verifier itself: no memory, a dead worker or a timeout. It proves nothing about the document."""


class PrivateApiChangedError(VerificationUnavailableError):
    """Error for a changed private API of a library. Verification needs this API, so no document is verified."""


class UploadRefusedError(AssayError):
    """Error for an upload that is invalid, or that a rule of the hosted index or the policy refuses."""


class UploadForbiddenError(UploadRefusedError):
    """Error for a user who may not upload files of a project, or may not manage a hosted index."""


class StorageError(AssayError):
    """Error of the storage directory: full, read-only, missing, locked, or owned by another user."""


class StorageInUseError(StorageError):
    """Error for a storage directory that another process uses."""


class LedgerError(StorageError):
    """Error for a ledger that cannot be read or written. The requests that need the ledger fail."""


class LedgerTextError(LedgerError):
    """Error in a text with facts of a ledger. The message begins with the number of the line."""


class LedgerUnavailableError(LedgerError):
    """Error for a ledger whose database is unavailable for now. Another try may succeed."""


class DatabaseUnavailableError(StorageError):
    """Error for a database that cannot be reached, does not answer in time, or is shutting down."""
