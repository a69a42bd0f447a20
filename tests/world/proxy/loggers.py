"""Loggers that a test may take for itself: afterwards they are as they were."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def preserve_loggers() -> Iterator[None]:
    """The root's handlers and level, and the level of ours."""
    root, ours = logging.getLogger(), logging.getLogger("assay")
    handlers, level, own = root.handlers[:], root.level, ours.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(own)
