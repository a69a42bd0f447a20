"""Feeds of advisories: for the proxy, and for commands that read or refresh their snapshots."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

from assay.advisories.in_force import AdvisoriesInForce
from assay.advisory_feeds.served import ListServed, list_nothing_served, make_list_served
from assay.advisory_feeds.service import AdvisoryFeeds
from assay.assembly.connections import start_upstream
from assay.assembly.inputs import utc_now
from assay.config import Configuration
from assay.store.factory import open_local_storage
from assay.upstream.client import UpstreamClient
from assay.upstream.credentials import IndexAuthorizations


@asynccontextmanager
async def open_feeds(configuration: Configuration, environ: Mapping[str, str]) -> AsyncIterator[AdvisoryFeeds]:
    """Open the feeds of advisories, without a schedule, for a command while no proxy uses the storage directory.

    Raises:
        ConfigurationError: a credential or directory is not usable.
        StorageError: the storage directory is not usable, or a proxy uses it (`StorageInUseError`).
    """
    async with AsyncExitStack() as stack:
        store, _ = await stack.enter_async_context(open_local_storage(configuration.storage))
        upstream = await start_upstream(stack, configuration, environ)
        list_served = make_list_served(store.usage, configuration.indexes)
        feeds = create_feeds(configuration, upstream, AdvisoriesInForce(), list_served)
        stack.push_async_callback(feeds.close)
        await feeds.load()
        yield feeds


async def read_feeds(configuration: Configuration) -> AdvisoryFeeds:
    """Return the feeds of advisories with their stored snapshots, for reading. A proxy may use the directory."""
    upstream = UpstreamClient(
        limits=configuration.limits, authorizations=IndexAuthorizations((), {}), proxies={}
    )  # never started
    feeds = create_feeds(configuration, upstream, AdvisoriesInForce(), list_nothing_served)
    await feeds.load(read_only=True)
    return feeds


def create_feeds(
    configuration: Configuration,
    upstream: UpstreamClient,
    in_force: AdvisoriesInForce,
    list_served: ListServed,
    *,
    clock: Callable[[], datetime] = utc_now,
    state_directory: Path | None = None,
) -> AdvisoryFeeds:
    """Return the configured feeds of advisories. They have not read their snapshots, and have no schedule yet.

    Args:
        configuration: names the feeds.
        upstream: client for the requests of the feeds.
        in_force: gets the advisories of each snapshot.
        list_served: returns what clients used, to find the hits of a snapshot.
        clock: returns the current time in UTC.
        state_directory: directory of the snapshots; None: the storage directory.
    """
    return AdvisoryFeeds(
        configuration.advisories,
        storage_directory=state_directory or configuration.storage.directory,
        upstream=upstream,
        limits=configuration.limits,
        in_force=in_force,
        list_served=list_served,
        clock=clock,
    )
