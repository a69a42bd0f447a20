"""How the parts are put together: the one place that constructs them, and takes them down in the reverse order.

Owns no behaviour. The clock and the environment enter here and are passed down.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.request import getproxies_environment

from assay.attestation.pool.pool import VerifierPool
from assay.attestation.renewal.schedule import create_root_refreshers
from assay.attestation.renewal.tuf_client import SubprocessRefresher, create_subprocess_refreshers
from assay.attestation.trust_roots import TrustRoots, load_roots
from assay.caching.flights import ProcessFlights
from assay.config import Configuration
from assay.files.cache import FileCache, FileCacheSettings
from assay.files.download_registry import DownloadRegistry
from assay.files.index_metadata import IndexMetadata
from assay.files.index_source import IndexFileSource
from assay.files.service import FileService
from assay.files.wheel_metadata import WheelMetadata
from assay.gate.gate import Gate, GateResources, GateSettings
from assay.gate.judged_page import create_judged_page_cache
from assay.operator_files import read_text
from assay.pages.cache import PageCache, PageCacheSettings
from assay.pages.root_list import RootListCache
from assay.pages.service import PageService
from assay.policy.language.document import BUILT_IN_POLICY, load_policy
from assay.policy.language.model import Policy
from assay.ports import Spool, Storage
from assay.provenance.resolver import MAX_UNRECORDED_BYTES, ProvenanceResolver
from assay.provenance.revalidation import ProvenanceRevalidator
from assay.provenance.service import ProvenanceService
from assay.provenance.sources.index import IndexSource
from assay.store.factory import open_storage
from assay.upstream.client import UpstreamClient
from assay.upstream.credentials import IndexAuthorizations
from assay.upstream.pacing import RetryPacing
from assay.views import ViewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Bounds, delays and timeouts that no configuration key sets."""

    gate: GateSettings = field(default_factory=GateSettings)
    pages: PageCacheSettings = field(default_factory=PageCacheSettings)
    files: FileCacheSettings = field(default_factory=FileCacheSettings)
    max_unrecorded_bytes: int = MAX_UNRECORDED_BYTES
    """Bytes of provenance documents that are fetched and not recorded yet."""
    retries: RetryPacing = field(default_factory=RetryPacing)


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
    root_lists: RootListCache
    store: Storage
    verifier: VerifierPool

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
        return BUILT_IN_POLICY
    return load_policy(read_text(path), str(path))


def read_policies(configuration: Configuration) -> dict[str, Policy]:
    """Every view's policy, by the view's name.

    Raises:
        ConfigurationError: one cannot be read, or says what it cannot mean.
    """
    return {view.name: read_policy(view.policy) for view in configuration.all_views}


async def read_trust_roots(
    configuration: Configuration, state_directory: Path
) -> tuple[TrustRoots, tuple[SubprocessRefresher, ...]]:
    """The trust roots, as last renewed under `state_directory`, and what renews them.

    Raises:
        ConfigurationError: a root cannot be read, or is none.
    """
    trust = configuration.trust
    renewers = create_subprocess_refreshers([trust.root] if trust.is_refresh_enabled else [], state_directory)
    renewed = [root for renewer in renewers if (root := await renewer.load_last_good()) is not None]
    return await asyncio.to_thread(lambda: load_roots(trust, Path.cwd(), renewed=renewed)), renewers


@asynccontextmanager
async def assemble(
    configuration: Configuration,
    policies: Mapping[str, Policy],
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = utc_now,
    tuning: Tuning | None = None,
    trust_state_directory: Path | None = None,
) -> AsyncIterator[Assembly]:
    """Everything, running.

    Args:
        configuration: where, from where, how much.
        policies: what is approved, by the name of the view.
        environ: for credentials.
        clock: UTC.
        tuning: other bounds and delays than the usual ones.
        trust_state_directory: where renewed trust roots are, of a proxy that renews them itself; None: they are ours to
        renew.

    Raises:
        ConfigurationError: a credential, trust root or directory is not usable.
        StorageError: the storage directory is not usable.
    """
    tuning = tuning or Tuning()
    async with AsyncExitStack() as stack:
        store = await open_storage(configuration.storage)
        stack.push_async_callback(store.close)
        verifier = await _start_verifier(stack, configuration, trust_state_directory, clock)
        upstream = await _start_upstream(stack, configuration, environ, tuning)
        gate = _build_gate_factory(
            stack, configuration, tuning, store=store, upstream=upstream, verifier=verifier, clock=clock
        )
        spool = await store.open_spool()
        views = []
        for each in configuration.all_views:
            own = gate(view=each.name, policy=policies[each.name], settings=tuning.gate)
            stack.push_async_callback(own.close)
            store.notices.subscribe(own.handle_notice)
            views.append(View(settings=each, gate=own))
        roots = _build_root_lists(configuration, upstream, spool, views, clock)
        stack.push_async_callback(roots.close)
        yield Assembly(views=tuple(views), root_lists=roots, store=store, verifier=verifier)


async def _start_verifier(
    stack: AsyncExitStack,
    configuration: Configuration,
    trust_state_directory: Path | None,
    clock: Callable[[], datetime],
) -> VerifierPool:
    state = trust_state_directory or configuration.storage.directory
    trusted, renewers = await read_trust_roots(configuration, state)
    verifier = VerifierPool(trusted, configuration.verification)
    await verifier.start()
    stack.push_async_callback(verifier.close)
    if trust_state_directory is None:
        for refresher in create_root_refreshers(verifier, renewers, configuration.trust, clock):
            stack.push_async_callback(refresher.close)
            refresher.start()
    return verifier


async def _start_upstream(
    stack: AsyncExitStack, configuration: Configuration, environ: Mapping[str, str], tuning: Tuning
) -> UpstreamClient:
    upstream = UpstreamClient(
        limits=configuration.limits,
        authorizations=await asyncio.to_thread(IndexAuthorizations, configuration.indexes, environ),
        proxies=getproxies_environment(),
        indexes=configuration.indexes,
        pacing=tuning.retries,
    )
    await upstream.start()
    stack.push_async_callback(upstream.close)
    return upstream


def _build_gate_factory(
    stack: AsyncExitStack,
    configuration: Configuration,
    tuning: Tuning,
    *,
    store: Storage,
    upstream: UpstreamClient,
    verifier: VerifierPool,
    clock: Callable[[], datetime],
) -> partial[Gate]:
    """All but the view and its policy: what was fetched and proven for one view is there for the others."""
    downloads = DownloadRegistry(store.download_blobs, [IndexFileSource(upstream, tuning.retries)])
    stack.push_async_callback(downloads.close)
    pages = PageCache(upstream=upstream, records=store.records, clock=clock, settings=tuning.pages)
    stack.push_async_callback(pages.close)
    resolver = ProvenanceResolver(
        sources=(IndexSource(upstream),),
        records=store.records,
        verifier=verifier,
        clock=clock,
        max_unrecorded_bytes=tuning.max_unrecorded_bytes,
    )
    revalidator = ProvenanceRevalidator(provenance_resolver=resolver, notices=store.notices, clock=clock)
    stack.push_async_callback(revalidator.close)
    files = FileService(
        cache=FileCache(blobs=store.download_blobs, downloads=downloads, settings=tuning.files),
        index_metadata=IndexMetadata(upstream=upstream, records=store.records),
        wheels=WheelMetadata(records=store.records),
    )
    stack.push_async_callback(files.close)
    return partial(
        Gate,
        resources=GateResources(
            pages=PageService(indexes=configuration.indexes, cache=pages, clock=clock),
            provenance=ProvenanceService(resolver=resolver, revalidator=revalidator),
            files=files,
        ),
        ledger=store.ledger,
        judged_pages=create_judged_page_cache(),
        flights=ProcessFlights(),
        clock=clock,
    )


def _build_root_lists(
    configuration: Configuration,
    upstream: UpstreamClient,
    spool: Spool,
    views: Iterable[View],
    clock: Callable[[], datetime],
) -> RootListCache:
    return RootListCache(
        upstream=upstream,
        indexes=configuration.indexes,
        spool=spool,
        policies={view.gate.view: partial(getattr, view.gate, "policy") for view in views},
        freshness=configuration.freshness.page,
        clock=clock,
    )
