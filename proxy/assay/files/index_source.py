"""Files from their index, as a source of downloads."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from assay.ports import ExpectedFile, FileBody, Upstream
from assay.upstream.pacing import RetryPacing


class IndexFileSource:
    """Each file at its index's address: `assay.ports.Source`."""

    def __init__(self, upstream: Upstream, pacing: RetryPacing | None = None) -> None:
        self._upstream = upstream
        self._pacing = pacing or RetryPacing()

    def contents(self, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open a file at byte `start`, or at 0 if the index ignores the Range.

        Raises:
            UpstreamGoneError: the index lists the file and does not have it.
            UpstreamError: it cannot be had.
        """
        return self._upstream.get_index(file.index).open_file(file.url, start=start)

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait before the next try: jittered and doubling, or what the index asked, if short."""
        return self._pacing.compute_delay(attempt, retry_after)
