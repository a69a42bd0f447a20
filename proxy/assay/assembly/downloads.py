"""Sources of downloads: the index alone, or the object storage and the other replicas before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from assay.files.shared.keeper import ObjectKeeper
from assay.files.shared.plan import SharedPlans
from assay.files.shared.uses import ObjectUsesRecorder
from assay.files.source_plan import MakePlan, plan_in_order
from assay.peers.client import PeerClient, PeerTimeouts
from assay.peers.signing import PeerCredentials
from assay.ports import Source, Storage
from assay.simple.model import Sha256
from assay.store.settings import SharedSettings


async def _keep_nothing() -> None:
    """Return at once: no file is stored as an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSources:
    """Sources of downloads, and what happens to downloaded files."""

    make_plan: MakePlan
    note_use: Callable[[Sha256], None] | None = None
    """Function that notes the use of a file; None: uses are not noted."""
    wait_until_kept: Callable[[], Awaitable[None]] = _keep_nothing
    """Function that waits until the object storage has what was downloaded, or until it has failed to store it."""


async def build_download_sources(
    stack: AsyncExitStack,
    shared: SharedSettings | None,
    store: Storage,
    index: Source,
    clock: Callable[[], datetime],
) -> DownloadSources:
    """Return the sources of downloads. If replicas share the storage, start what their downloads need.

    Args:
        stack: ends what was started.
        shared: engines that the replicas share; None: the index is the only source.
        store: the storage.
        index: source that asks the index.
        clock: returns the current time in UTC.
    """
    if shared is None:
        return DownloadSources(make_plan=plan_in_order(index))
    peers, objects = await _start_peers(stack, shared, store, clock), store.objects
    if objects is None:
        plans = SharedPlans(objects=None, keeper=None, peers=peers, flights=store.flights, index=index)
        stack.push_async_callback(plans.close)
        return DownloadSources(make_plan=plans.make_plan)
    keeper = ObjectKeeper(objects, store.blobs)
    stack.push_async_callback(keeper.close)
    plans = SharedPlans(objects=objects, keeper=keeper, peers=peers, flights=store.flights, index=index)
    stack.push_async_callback(plans.close)
    uses = ObjectUsesRecorder(objects, records=store.records, flights=store.flights, clock=clock)
    stack.push_async_callback(uses.close)
    keeper.start()
    uses.start()
    return DownloadSources(make_plan=plans.make_plan, note_use=uses.note, wait_until_kept=plans.wait_until_idle)


def make_peer_credentials(shared: SharedSettings, store: Storage) -> PeerCredentials:
    """Return the credentials of this replica for the others. They follow the key file when it changes."""
    return PeerCredentials(deployment=shared.deployment, keys=store.get_keys)


async def _start_peers(
    stack: AsyncExitStack, shared: SharedSettings, store: Storage, clock: Callable[[], datetime]
) -> PeerClient | None:
    """Start the client for the other replicas; return None if the settings name none."""
    if not shared.peer_names:
        return None
    seconds = shared.deadlines.objects.total_seconds()
    client = PeerClient(
        credentials=make_peer_credentials(shared, store),
        own_address=shared.peer_address,
        peers=shared.peer_names,
        clock=clock,
        timeouts=PeerTimeouts(connect=seconds, head=seconds),
    )
    await client.start()
    stack.push_async_callback(client.close)
    return client
