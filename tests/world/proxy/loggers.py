"""Restoration of loggers after a test that configures them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def preserve_loggers() -> Iterator[None]:
    """Restore handlers and level of the root logger, and the level of the logger `assay`."""
    root, ours = logging.getLogger(), logging.getLogger("assay")
    handlers, level, own = root.handlers[:], root.level, ours.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(own)
