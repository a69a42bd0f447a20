"""A user has a limited number of uploads under way, and ended uploads do not count."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from assay.errors import TooManyRequestsError
from assay.web.hosted.upload_limit import UploadLimit


def test_a_user_beyond_the_limit_is_refused_and_another_user_is_not() -> None:
    limit = UploadLimit(2)
    with ExitStack() as running:
        running.enter_context(limit.hold("bot"))
        running.enter_context(limit.hold("bot"))
        with pytest.raises(TooManyRequestsError, match="the user bot has 2 uploads under way"):
            running.enter_context(limit.hold("bot"))
        running.enter_context(limit.hold("alice"))
    with limit.hold("bot"), limit.hold("bot"):
        pass


def test_a_failed_upload_no_longer_counts() -> None:
    limit = UploadLimit(1)
    for _ in range(2):
        with pytest.raises(OSError, match="no space"), limit.hold("bot"):
            raise OSError("no space")
