"""Failures to fetch provenance documents. Each document's failure is remembered with the time of the next try.

A failure concerns one document of one source. The other files of the project are judged without regard to it. The
document is not requested again before its next try, however often its page or file is requested. The next try is one
minute after the first failure. The delay doubles with each further failure, up to one hour.

If a source does not answer for several documents, the remaining documents are not requested. They are due after a
minute, and do not count as failed. Failures are in memory only, so after a restart all documents are due at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import AssayError, UpstreamAccessDeniedError, UpstreamUnavailableError
from assay.evidence import INDEX_SOURCE, PROVENANCE_UNUSABLE, Forged
from assay.provenance.documents import FileKey, file_key
from assay.provenance.evidence import describe_source
from assay.simple.model import File

MIN_RETRY_DELAY: Final = timedelta(minutes=1)
MAX_RETRY_DELAY: Final = timedelta(hours=1)
MAX_REFUSAL_TIME: Final = timedelta(hours=1)
"""Time for which refusals (401, 403, 429) count as temporary failures. If all tries are refused for longer, the refusal
counts as an unusable response."""
_MAX_FAILURES: Final = 50_000
"""Maximum number of failures remembered for one source, for all projects together."""
_REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFailure:
    """Failed tries to fetch the provenance document of a file."""

    problem: str
    """Result of the last try, in one sentence. It contains untrusted text."""
    attempts: int
    """Number of consecutive failed tries; 0 if the document has not been requested."""
    refused_since: datetime | None
    """Time since which all tries have been refused (401, 403 or 429). None if the last try was not refused."""
    retry_at: datetime
    """Time before which the document is not requested again."""
    is_unusable: bool
    """True if the response was neither a document nor a statement that no document exists. False if the source did not
    answer."""

    def to_evidence(self) -> Forged:
        """Return the evidence that an unusable document gives. It withholds the file."""
        return Forged(step=PROVENANCE_UNUSABLE, expected="a provenance document (PEP 740)", found=self.problem)


class FailureMemory:
    """Failures of one source's documents, with a limit on their number.

    A response of the index that is not a document counts as unusable, which withholds the file. Another source cannot
    withhold a file, so its unusable responses count as temporary failures.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._failures = Lru[FileKey, DocumentFailure](max_items=_MAX_FAILURES)

    def get(self, file: File) -> DocumentFailure | None:
        """Return the failure of a file's document; None if the document has not failed, or has been obtained since."""
        return self._failures.get(file_key(file))

    def get_current(self, file: File, now: datetime) -> DocumentFailure | None:
        """Return the failure of a file's document while its next try is not due yet; otherwise return None."""
        failure = self.get(file)
        return failure if failure is not None and now < failure.retry_at else None

    def record(self, file: File, error: AssayError, now: datetime) -> DocumentFailure:
        """Record a failed try; return the failure, which has the time of the next try."""
        before = self.get(file)
        attempts = 1 if before is None else before.attempts + 1
        refused_since = None
        if getattr(error, "status", None) in _REFUSALS:
            refused_since = now if before is None or before.refused_since is None else before.refused_since
        delay = min(MIN_RETRY_DELAY * 2 ** min(attempts - 1, 10), MAX_RETRY_DELAY)
        if isinstance(error, UpstreamUnavailableError) and error.retry_after is not None:
            delay = max(delay, min(timedelta(seconds=min(error.retry_after, 86400.0)), MAX_RETRY_DELAY))
        failure = DocumentFailure(
            problem=str(error),
            attempts=attempts,
            refused_since=refused_since,
            retry_at=now + delay,
            is_unusable=self._source == INDEX_SOURCE
            and _is_unusable(error, None if refused_since is None else now - refused_since),
        )
        self._failures.put(file_key(file), failure)
        telemetry.warning(
            "provenance-unusable" if failure.is_unusable else "provenance-unavailable",
            filename=file.filename,
            sha256=file.sha256,
            attempts=attempts,
            retry_at=failure.retry_at.isoformat(timespec="seconds"),
            error=failure.problem,
            **describe_source(self._source),
        )
        return failure

    def postpone(self, file: File, error: AssayError, now: datetime) -> DocumentFailure:
        """Postpone the next request for a document by a minute; return the failure.

        The document is not requested now, because the source gave no answer for other documents. `error` is the error
        of one such document. If the document itself has failed before, that failure is kept, and only the time of the
        next try changes.
        """
        before = self.get(file)
        if before is None:
            problem = f"not requested yet, because the source does not answer: {error}"
            before = DocumentFailure(problem=problem, attempts=0, refused_since=None, retry_at=now, is_unusable=False)
        failure = replace(before, retry_at=now + MIN_RETRY_DELAY)
        self._failures.put(file_key(file), failure)
        return failure

    def forget(self, file: File) -> None:
        """Remove the failure of a file's document, after a try has succeeded."""
        self._failures.pop(file_key(file))


def _is_unusable(error: AssayError, refused_for: timedelta | None) -> bool:
    """Return whether a failed try counts as an unusable response. Otherwise, the failure is temporary.

    A missing response is temporary. A refusal (401, 403, 429) is temporary until all tries have been refused for
    `MAX_REFUSAL_TIME`. Any other response that is not a document is unusable.

    Args:
        error: error of the last try.
        refused_for: time for which all tries have been refused; None if the last try was not refused.
    """
    if refused_for is not None:
        return refused_for >= MAX_REFUSAL_TIME
    return isinstance(error, UpstreamAccessDeniedError) or not isinstance(error, UpstreamUnavailableError)
