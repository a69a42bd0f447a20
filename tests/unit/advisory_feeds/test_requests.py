"""Requests of the command to a running proxy: no request ends the watch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from assay.advisory_feeds.requests import handle_request
from assay.advisory_feeds.service import AdvisoryFeeds
from assay.errors import UpstreamUnavailableError


class FailingFeeds:
    """Feeds of which each refresh raises an error."""

    def __init__(self, directory: Path, error: Exception | None) -> None:
        self.directory = directory
        self.refreshes = 0
        self._error = error

    async def refresh(self) -> None:
        self.refreshes += 1
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    "error", [None, UpstreamUnavailableError("down"), RuntimeError("a bug"), MemoryError()], ids=repr
)
async def test_a_failed_request_is_removed_and_the_next_one_is_carried_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    feeds = FailingFeeds(tmp_path, error)
    for count in (1, 2):
        (tmp_path / "request.json").write_text('{"action": "refresh"}')
        await handle_request(cast("AdvisoryFeeds", feeds), None)
        assert feeds.refreshes == count
        assert not (tmp_path / "request.json").exists()
    logged = [each.getMessage() for each in caplog.records].count("advisory-request-failed")
    assert logged == (0 if error is None else 2)
