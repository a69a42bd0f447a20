"""Source for downloads that fetches each file from its index."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from assay.ports import ExpectedFile, FileBody, Upstream
from assay.upstream.pacing import RetryPacing


class IndexFileSource:
    """Source for downloads that fetches each file from the URL on its index's page; implements `assay.ports.Source`."""

    def __init__(self, upstream: Upstream, pacing: RetryPacing | None = None) -> None:
        self._upstream = upstream
        self._pacing = pacing or RetryPacing()

    def contents(self, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open a file at byte `start`. If the index ignores the Range, open it at byte 0.

        Raises:
            UpstreamGoneError: the index lists the file but does not have it (404, 410).
            UpstreamError: the file cannot be fetched.
        """
        return self._upstream.get_index(file.index).open_file(file.url, start=start)

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait before the next try; None if the download must not try this source again.

        Args:
            attempt: number of failed tries in a row, from 1. The delay doubles with each try and has random jitter.
            retry_after: seconds from the index's ``Retry-After``, which replace the computed delay; None if absent. If
                they exceed `upstream.pacing.MAX_RETRY_WAIT_SECONDS`, the result is None.
        """
        return self._pacing.compute_delay(attempt, retry_after)
