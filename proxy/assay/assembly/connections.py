"""Start of the client that sends all outbound requests to indexes, evidence sources and feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from urllib.request import getproxies_environment

from assay.config import Configuration
from assay.upstream.client import UpstreamClient
from assay.upstream.credentials import IndexAuthorizations
from assay.upstream.pacing import RetryPacing


async def start_upstream(
    stack: AsyncExitStack,
    configuration: Configuration,
    environ: Mapping[str, str],
    pacing: RetryPacing | None = None,
) -> UpstreamClient:
    """Start the client for all indexes, evidence sources and feeds; close it when the stack is closed.

    Args:
        stack: closes the client.
        configuration: names the indexes, evidence sources and feeds.
        environ: environment variables with credentials.
        pacing: delays of retries; None: the default ones.

    Raises:
        ConfigurationError: a credential cannot be read.
    """
    feeds = (feed.make_index(configuration.limits) for feed in configuration.advisories)
    hosts = (*configuration.connections, *(index for index in feeds if index is not None))
    upstream = UpstreamClient(
        limits=configuration.limits,
        authorizations=await asyncio.to_thread(IndexAuthorizations, hosts, environ),
        proxies=getproxies_environment(),
        indexes=hosts,
        pacing=pacing,
    )
    await upstream.start()
    stack.push_async_callback(upstream.close)
    return upstream
