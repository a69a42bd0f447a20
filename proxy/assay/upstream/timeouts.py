"""Timeouts of requests, in the form of aiohttp."""

from __future__ import annotations

from functools import lru_cache

import aiohttp


@lru_cache(maxsize=64)
def create_timeout(connect_seconds: float, read_seconds: float) -> aiohttp.ClientTimeout:
    """Return the timeouts for a connection attempt and for each read, in seconds.

    The request has no total timeout, because a large file over a slow connection is no failure. `sock_read` ends a
    response that stalls.
    """
    return aiohttp.ClientTimeout(
        total=None,
        connect=None,
        sock_connect=connect_seconds,
        sock_read=read_seconds,
    )
