"""Construction of the proxy: creates and connects all parts, and closes them in reverse order.

Only this package connects the parts, and it does nothing else. It passes the clock and the environment variables to the
parts that need them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from assay.advisories.in_force import AdvisoriesInForce
from assay.advisory_feeds.served import make_list_served
from assay.advisory_feeds.service import AdvisoryFeeds
from assay.assembly.connections import start_upstream
from assay.assembly.downloads import DownloadSources, build_download_sources
from assay.assembly.feeds import create_feeds
from assay.assembly.inputs import read_trust_roots, utc_now
from assay.attestation.key_watch import KeyWatch
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.renewal.schedule import create_root_refreshers
from assay.caching.background import BackgroundTasks
from assay.config import Configuration
from assay.file_watch import POLL_INTERVAL_SECONDS
from assay.files.cache import FileCache, FileCacheSettings
from assay.files.download_registry import SILENCE_MEMORY_SECONDS, DownloadRegistry
from assay.files.failed_metadata import FailedMetadata
from assay.files.index_metadata import IndexMetadata
from assay.files.index_source import IndexFileSource
from assay.files.service import FileService
from assay.files.wheel_metadata import WheelMetadata
from assay.gate.advisory_hits import AdvisoryHitReporter
from assay.gate.gate import Gate, GateResources, GateSettings
from assay.gate.judged_page import MAX_CACHED_FILES, create_judged_page_cache
from assay.gate.summaries import PageSummaries
from assay.gate.uploads import UploadService
from assay.pages.cache import PageCache, PageCacheSettings
from assay.pages.hosted import HostedPages
from assay.pages.root_list import RootListCache
from assay.pages.service import PageService
from assay.policy.language.model import Policy
from assay.ports import Spool, Storage, Upstream
from assay.provenance.resolver import MAX_UNRECORDED_BYTES, ProvenanceResolver
from assay.provenance.revalidation import ProvenanceRevalidator
from assay.provenance.service import ProvenanceService
from assay.provenance.sources.files import FilesSource
from assay.provenance.sources.github.api import GitHubApi, GitHubTiming
from assay.provenance.sources.github.source import GitHubSource
from assay.provenance.sources.index import IndexSource
from assay.provenance.sources.settings import FilesSourceSettings, GitHubSourceSettings
from assay.store.factory import add_hosted_indexes, open_storage
from assay.upstream.api_client import UpstreamApiClient
from assay.upstream.client import UpstreamClient
from assay.upstream.pacing import RetryPacing
from assay.views import ViewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Limits, delays and timeouts that have no configuration key. Tests and dry runs change them."""

    gate: GateSettings = field(default_factory=GateSettings)
    max_judged_files: int = MAX_CACHED_FILES
    """Maximum number of files of the judged pages in memory."""
    pages: PageCacheSettings = field(default_factory=PageCacheSettings)
    files: FileCacheSettings = field(default_factory=FileCacheSettings)
    max_unrecorded_bytes: int = MAX_UNRECORDED_BYTES
    """Maximum total size in bytes of the provenance documents that were fetched but are not stored in the record cache
    yet."""
    retries: RetryPacing = field(default_factory=RetryPacing)
    github: GitHubTiming = field(default_factory=GitHubTiming)
    evidence_poll_seconds: float = POLL_INTERVAL_SECONDS
    """Time in seconds between two checks of a directory with evidence, and of the keys that countersign."""
    overview_seconds: float = 5.0
    """Time in seconds for which the facts of the overview page and of the search are kept."""
    silence_memory_seconds: float = SILENCE_MEMORY_SECONDS
    """Time in seconds for which a file of a silent index is not requested again."""


@dataclass(slots=True)
class PolicyFile:
    """State of a view's policy file. `policy_reload` sets it; pages and ``/readyz`` show it."""

    rejection: str | None = None
    """Reason why the current contents of the file are refused, with file and line; None if they are in force."""
    in_force_since: datetime | None = None
    """Time since which the policy of the view is in force in this process; None if it is not watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Running view: its settings, the gate that decides about its pages and files, and the state of its policy file."""

    settings: ViewSettings
    gate: Gate
    policy_file: PolicyFile = field(default_factory=PolicyFile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Parts of a running proxy that `web` and the commands use."""

    views: tuple[View, ...]
    """All views, the one at ``/`` first."""
    root_lists: RootListCache
    store: Storage
    verifier: VerifierPool
    advisories: AdvisoriesInForce
    advisory_hits: AdvisoryHitReporter
    summaries: PageSummaries
    overview_seconds: float
    """Time in seconds for which the facts of the overview page and of the search are kept."""
    feeds: AdvisoryFeeds
    wait_until_kept: Callable[[], Awaitable[None]]
    """Function that waits until the object storage of replicas has what was downloaded, or has failed to store it."""
    uploads: UploadService | None = None
    """Service that accepts uploads to hosted indexes; None if no index is hosted."""

    @property
    def gate(self) -> Gate:
        """Gate of the view at ``/``, for commands that apply a single policy."""
        return self.views[0].gate


@asynccontextmanager
async def assemble(
    configuration: Configuration,
    policies: Mapping[str, Policy],
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = utc_now,
    tuning: Tuning | None = None,
    state_directory: Path | None = None,
    new_ledger: bool = False,
) -> AsyncIterator[Assembly]:
    """Start all parts of the proxy, and close them in reverse order when the context ends.

    Args:
        configuration: the configuration.
        policies: the policy of each view, by the view's name.
        environ: environment variables, for credentials and HTTP proxies.
        clock: returns the current time in UTC.
        tuning: limits and delays; None: the default ones.
        state_directory: storage directory of another proxy process, which renews the trust roots and the snapshots of
            advisories in it. None: this process renews them itself, in its own storage directory.
        new_ledger: True to create an empty ledger if the storage has been used and its ledger is missing.

    Raises:
        ConfigurationError: a credential, trust root or directory is not usable.
        StorageError: the storage directory is not usable.
    """
    tuning = tuning or Tuning()
    async with AsyncExitStack() as stack:
        # A dry run reads the shared ledger and hosted files beside the proxies that own them.
        is_dry_run = state_directory is not None
        store = await open_storage(configuration.storage, clock=clock, new_ledger=new_ledger, dry_run=is_dry_run)
        stack.push_async_callback(store.close)
        verifier = await _start_verifier(stack, configuration, state_directory, clock, tuning)
        hosted_names = [index.name for index in configuration.indexes.hosted]
        hosted_files = await store.open_hosted(hosted_names, read_only=is_dry_run) if hosted_names else None
        if hosted_files is not None:
            stack.push_async_callback(hosted_files.close)
        client = await start_upstream(stack, configuration, environ, tuning.retries)
        upstream = add_hosted_indexes(client, hosted_files)
        hosted_pages = (
            None if hosted_files is None else HostedPages(upstream=upstream, storage=hosted_files, clock=clock)
        )
        advisories = AdvisoriesInForce()
        sources = await build_download_sources(
            stack, configuration.storage.shared, store, IndexFileSource(upstream, tuning.retries), clock
        )
        gate = _build_gate_factory(
            stack,
            configuration,
            tuning,
            store=store,
            sources=sources,
            upstream=upstream,
            verifier=verifier,
            github_sources=_build_github_sources(configuration, client, clock, tuning),
            local_sources=await _start_local_sources(stack, configuration, tuning),
            advisories=advisories,
            hosted=hosted_pages,
            clock=clock,
        )
        list_served = make_list_served(store.usage, configuration.indexes)
        feeds = create_feeds(
            configuration, client, advisories, list_served, clock=clock, state_directory=state_directory
        )
        stack.push_async_callback(feeds.close)
        await feeds.load(read_only=is_dry_run)
        if not is_dry_run:
            feeds.start()
        spool = await store.open_spool()
        views = []
        for settings in configuration.all_views:
            view_gate = gate(
                view=settings.name,
                policy=policies[settings.name],
                withheld=settings.withheld,
                settings=tuning.gate,
            )
            stack.push_async_callback(view_gate.close)
            store.notices.subscribe(view_gate.handle_notice)
            views.append(View(settings=settings, gate=view_gate))
        summaries = PageSummaries(store.usage, clock)
        stack.push_async_callback(summaries.close)
        uploads = None
        if hosted_files is not None and hosted_pages is not None:
            uploads = UploadService(
                gate=views[0].gate,
                storage=hosted_files,
                pages=hosted_pages,
                verifier=verifier,
                indexes=configuration.indexes,
                clock=clock,
            )
        roots = _build_root_lists(configuration, upstream, spool, views, clock)
        stack.push_async_callback(roots.close)
        store.start_scrub()
        hits = AdvisoryHitReporter(
            advisories=advisories,
            usage=store.usage,
            reported=store.reported_hits,
            indexes=configuration.indexes,
        )
        stack.push_async_callback(hits.close)
        hits.start()
        summaries.start()
        yield Assembly(
            views=tuple(views),
            root_lists=roots,
            store=store,
            verifier=verifier,
            advisories=advisories,
            feeds=feeds,
            advisory_hits=hits,
            summaries=summaries,
            overview_seconds=tuning.overview_seconds,
            wait_until_kept=sources.wait_until_kept,
            uploads=uploads,
        )


async def _start_verifier(
    stack: AsyncExitStack,
    configuration: Configuration,
    state_directory: Path | None,
    clock: Callable[[], datetime],
    tuning: Tuning,
) -> VerifierPool:
    state = state_directory or configuration.storage.directory
    trusted, renewers = await read_trust_roots(configuration, state)
    verifier = VerifierPool(trusted, configuration.verification)
    await verifier.start()
    stack.push_async_callback(verifier.close)
    if state_directory is None and configuration.trust.keys:
        watch = KeyWatch(
            configuration.trust.keys,
            verifier.replace_keys,
            poll_interval_seconds=tuning.evidence_poll_seconds,
        )
        watching = await stack.enter_async_context(BackgroundTasks())
        watching.spawn(watch.run(), name="watch trust keys")
    if state_directory is None:
        for refresher in create_root_refreshers(verifier, renewers, configuration.trust, clock):
            stack.push_async_callback(refresher.close)
            refresher.start()
    return verifier


def _build_gate_factory(
    stack: AsyncExitStack,
    configuration: Configuration,
    tuning: Tuning,
    *,
    store: Storage,
    sources: DownloadSources,
    upstream: Upstream,
    verifier: VerifierPool,
    github_sources: Sequence[GitHubSource],
    local_sources: Sequence[FilesSource],
    advisories: AdvisoriesInForce,
    hosted: HostedPages | None,
    clock: Callable[[], datetime],
) -> partial[Gate]:
    """Return `Gate` with all arguments set except those that differ between views.

    The gates share pages, provenance and files. A view therefore reuses data that was fetched or verified for another
    view.
    """
    downloads = DownloadRegistry(
        store.download_blobs,
        sources.make_plan,
        silence_memory_seconds=tuning.silence_memory_seconds,
    )
    stack.push_async_callback(downloads.close)
    pages = PageCache(upstream=upstream, records=store.records, clock=clock, settings=tuning.pages)
    stack.push_async_callback(pages.close)
    resolver = ProvenanceResolver(
        sources=(IndexSource(upstream),),
        families=github_sources,
        local=local_sources,
        records=store.records,
        verifier=verifier,
        clock=clock,
        max_unrecorded_bytes=tuning.max_unrecorded_bytes,
    )
    revalidator = ProvenanceRevalidator(provenance_resolver=resolver, notices=store.notices, clock=clock)
    stack.push_async_callback(revalidator.close)
    provenance = ProvenanceService(
        resolver=resolver, revalidator=revalidator, notices=store.notices, flights=store.flights
    )
    stack.push_async_callback(provenance.close)
    files = FileService(
        cache=FileCache(
            blobs=store.download_blobs, downloads=downloads, settings=tuning.files, note_use=sources.note_use
        ),
        index_metadata=IndexMetadata(upstream=upstream, records=store.records),
        wheels=WheelMetadata(records=store.records, notices=store.notices),
        failed_metadata=FailedMetadata(records=store.records, notices=store.notices),
    )
    stack.push_async_callback(files.close)
    return partial(
        Gate,
        resources=GateResources(
            pages=PageService(
                indexes=configuration.indexes,
                cache=pages,
                clock=clock,
                hosted=hosted,
            ),
            provenance=provenance,
            files=files,
            advisories=advisories,
        ),
        ledger=store.ledger,
        judged_pages=create_judged_page_cache(tuning.max_judged_files),
        flights=store.flights,
        clock=clock,
    )


def _build_github_sources(
    configuration: Configuration, upstream: UpstreamClient, clock: Callable[[], datetime], tuning: Tuning
) -> list[GitHubSource]:
    sources = []
    for settings in configuration.evidence:
        if isinstance(settings, GitHubSourceSettings):
            client = UpstreamApiClient(upstream, settings.connection)
            api = GitHubApi(name=settings.name, url=settings.url, client=client, clock=clock, timing=tuning.github)
            sources.append(GitHubSource(settings, api, tuning.github))
    return sources


async def _start_local_sources(
    stack: AsyncExitStack, configuration: Configuration, tuning: Tuning
) -> list[FilesSource]:
    """Start the sources that are directories.

    Raises:
        ConfigurationError: a directory cannot be read.
    """
    sources = [
        FilesSource(each, poll_interval_seconds=tuning.evidence_poll_seconds)
        for each in configuration.evidence
        if isinstance(each, FilesSourceSettings)
    ]
    for source in sources:
        stack.push_async_callback(source.close)
        await source.start()
    return sources


def _build_root_lists(
    configuration: Configuration,
    upstream: Upstream,
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
