"""How the parts are put together: the one place that constructs them, and takes them down in the reverse order.

Owns no behaviour. The clock and the environment enter here and are passed down.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.request import getproxies_environment

from assay.attestation.pool.pool import Verifier
from assay.attestation.renewal.schedule import renew_for_ever
from assay.attestation.renewal.tuf_client import RenewerApart, renewers_apart
from assay.attestation.trust_roots import TrustRoots, load_roots
from assay.caching.keyed_lock import Turns
from assay.config import Configuration
from assay.files.cache import FileContents
from assay.files.download_registry import Downloads
from assay.files.index_metadata import Metadata
from assay.files.wheel_metadata import Wheels
from assay.gate.gate import Gate, GateSettings
from assay.gate.judged_page_cache import Memory
from assay.operator_files import read_text
from assay.pages.cache import Pages
from assay.pages.root_list import RootList
from assay.policy.language.document import BUILT_IN, load_policy
from assay.policy.language.model import Policy
from assay.provenance.resolver import Proofs
from assay.provenance.revalidation import Revalidation
from assay.store.directory import Store
from assay.store.fallback_blobs import SturdyBlobs
from assay.store.spool import Spool
from assay.store.temp_blobs import Spares
from assay.upstream.client import Upstream
from assay.upstream.credentials import Authorizations
from assay.upstream.pacing import pause_before_retry
from assay.views import ViewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One view, running: what decides for it."""

    settings: ViewSettings
    gate: Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The running parts that the web and the commands talk to."""

    views: tuple[View, ...]
    """The one at ``/`` first."""
    roots: RootList
    store: Store
    verifier: Verifier

    @property
    def gate(self) -> Gate:
        """Of the view at ``/``: the only one where one policy is asked about."""
        return self.views[0].gate


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def read_policy(path: Path | None) -> Policy:
    """The policy at `path`, or the built-in one.

    Raises:
        ConfigurationError: it cannot be read, or says what it cannot mean.
    """
    if path is None:
        return BUILT_IN
    return load_policy(read_text(path), str(path))


def read_policies(configuration: Configuration) -> dict[str, Policy]:
    """Every view's policy, by the view's name.

    Raises:
        ConfigurationError: one cannot be read, or says what it cannot mean.
    """
    return {view.name: read_policy(view.policy) for view in configuration.all_views}


async def read_trust(configuration: Configuration, state: Path) -> tuple[TrustRoots, tuple[RenewerApart, ...]]:
    """The trust roots, as last renewed under `state`, and what renews them.

    Raises:
        ConfigurationError: a root cannot be read, or is none.
    """
    trust = configuration.trust
    renewers = renewers_apart([trust.root] if trust.refreshes else [], state)
    renewed = [root for renewer in renewers if (root := await renewer.last_good()) is not None]
    return await asyncio.to_thread(lambda: load_roots(trust, Path.cwd(), renewed=renewed)), renewers


async def _pause(attempt: int, retry_after: float | None) -> bool:
    seconds = pause_before_retry(attempt, retry_after)
    if seconds is None:
        return False
    await asyncio.sleep(seconds)
    return True


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def assembled(
    configuration: Configuration,
    policies: Mapping[str, Policy],
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = utc_now,
    gate_settings: GateSettings | None = None,
    trust_state: Path | None = None,
) -> AsyncIterator[Assembly]:
    """Everything, running.

    Args:
        configuration: where, from where, how much.
        policies: what is approved, by the name of the view.
        environ: for credentials.
        clock: UTC.
        gate_settings: how long a request waits.
        trust_state: where renewed trust roots are, of a proxy that renews them itself; None: they are ours to renew.

    Raises:
        ConfigurationError: a credential, trust root or directory is not usable.
        StorageError: the storage directory is not usable.
    """
    async with AsyncExitStack() as stack:
        store = await Store.open(configuration.storage)
        stack.push_async_callback(store.close)
        verifier = await _verifier(stack, configuration, trust_state, clock)
        upstream = await _upstream(stack, configuration, environ)
        gate = _gate(stack, configuration, store=store, upstream=upstream, verifier=verifier, clock=clock)
        spool = Spool(configuration.storage.directory / "spool")
        await spool.open()
        stack.push_async_callback(spool.close)
        views = []
        for each in configuration.all_views:
            own = gate(view=each.name, policy=policies[each.name], settings=gate_settings)
            stack.push_async_callback(own.close)
            views.append(View(settings=each, gate=own))
        roots = _root_list(configuration, upstream, spool, views, clock)
        stack.push_async_callback(roots.close)
        yield Assembly(views=tuple(views), roots=roots, store=store, verifier=verifier)


async def _verifier(
    stack: AsyncExitStack, configuration: Configuration, trust_state: Path | None, clock: Callable[[], datetime]
) -> Verifier:
    state = trust_state or configuration.storage.directory
    trusted, renewers = await read_trust(configuration, state)
    verifier = Verifier(trusted, configuration.verification)
    await verifier.start()
    stack.push_async_callback(verifier.close)
    if trust_state is None:
        renewing = renew_for_ever(verifier, renewers, configuration.trust, clock)
        stack.push_async_callback(_end, asyncio.create_task(renewing, name="renew trust roots"))
    return verifier


async def _upstream(stack: AsyncExitStack, configuration: Configuration, environ: Mapping[str, str]) -> Upstream:
    upstream = Upstream(
        limits=configuration.limits,
        authorizations=await asyncio.to_thread(Authorizations, configuration.indexes, environ),
        proxies=getproxies_environment(),
        indexes=configuration.indexes,
    )
    await upstream.start()
    stack.push_async_callback(upstream.close)
    return upstream


def _gate(
    stack: AsyncExitStack,
    configuration: Configuration,
    *,
    store: Store,
    upstream: Upstream,
    verifier: Verifier,
    clock: Callable[[], datetime],
) -> partial[Gate]:
    """All but the view and its policy: what was fetched and proven for one view is there for the others."""
    spares = Spares()
    stack.push_async_callback(spares.close)
    blobs = SturdyBlobs(store.blobs, spares)
    downloads = Downloads(blobs, pause=_pause)
    stack.push_async_callback(downloads.close)
    pages = Pages(upstream=upstream, records=store.records, clock=clock)
    stack.push_async_callback(pages.close)
    proofs = Proofs(upstream=upstream, records=store.records, verifier=verifier, clock=clock)
    revalidation = Revalidation(proofs=proofs, records=store.records, clock=clock)
    stack.push_async_callback(revalidation.close)
    return partial(
        Gate,
        indexes=configuration.indexes,
        pages=pages,
        proofs=proofs,
        contents=FileContents(blobs=blobs, downloads=downloads, upstream=upstream),
        metadata=Metadata(upstream=upstream, records=store.records),
        wheels=Wheels(records=store.records),
        revalidation=revalidation,
        ledger=store.ledger,
        memory=Memory(),
        turns=Turns(),
        clock=clock,
    )


def _root_list(
    configuration: Configuration,
    upstream: Upstream,
    spool: Spool,
    views: Iterable[View],
    clock: Callable[[], datetime],
) -> RootList:
    return RootList(
        upstream=upstream,
        indexes=configuration.indexes,
        spool=spool,
        policies={view.gate.view: partial(getattr, view.gate, "policy") for view in views},
        freshness=configuration.freshness.page,
        clock=clock,
    )
