"""Limit on the number of uploads that one user has under way at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from assay.errors import TooManyRequestsError

MAX_UPLOADS_PER_USER: Final = 32
"""Default maximum. Each upload holds about 1 MiB of memory and the space of its file."""


class UploadLimit:
    """Count of the uploads under way, by user.

    Args:
        max_per_user: maximum number for one user.
    """

    def __init__(self, max_per_user: int = MAX_UPLOADS_PER_USER) -> None:
        self._max_per_user = max_per_user
        self._running: Counter[str] = Counter()

    @contextmanager
    def hold(self, user: str) -> Iterator[None]:
        """Count an upload of `user` while the context is open.

        Raises:
            TooManyRequestsError: the user has the maximum number of uploads under way.
        """
        if self._running[user] >= self._max_per_user:
            raise TooManyRequestsError(
                f"the user {user} has {self._max_per_user} uploads under way; try again when one has ended"
            )
        self._running[user] += 1
        try:
            yield
        finally:
            self._running[user] -= 1
            if not self._running[user]:
                del self._running[user]
