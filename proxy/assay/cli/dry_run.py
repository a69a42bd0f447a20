"""Dry run for commands that only read: judges projects as the proxy would, on copies of the ledger and the records.

A dry run changes only the copies. A proxy may run at the same time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from assay.assembly import Assembly, Tuning, assemble
from assay.caching.background import BackgroundTasks
from assay.cli.progress import ProgressReport
from assay.config import Configuration
from assay.errors import AssayError, EvidenceUnavailableError
from assay.gate.gate import GateSettings
from assay.gate.judged_page import JudgedPage
from assay.policy.language.model import Policy
from assay.simple.model import NormalizedName
from assay.store.factory import copy_storage
from assay.views import DEFAULT_VIEW

_REQUEST_TIMEOUT = timedelta(hours=1)
"""Maximum wait for one page. It is longer than in the proxy, because a user at a terminal waits longer than an
installer."""
_MAX_CONCURRENT_PROJECTS = 8
_STATE = ("trust", "advisories")
"""Directories of trust roots and advisories in a storage directory."""
_PROGRESS_INTERVAL_SECONDS = 0.2
"""Time between two calls of the progress report, which prints less often, in seconds."""

PageResults: TypeAlias = dict[NormalizedName, JudgedPage | AssayError]
"""For each project its judged page, or the error that prevented the judgement."""


@asynccontextmanager
async def open_dry_run(configuration: Configuration, policy: Policy) -> AsyncIterator[Assembly]:
    """Yield the parts of a temporary proxy with one view, which uses copies of the ledger and of the record cache.

    The copies are in a temporary directory, which is removed at the end. Trust roots and snapshots of advisories are
    read from the configured storage directory.

    Raises:
        AssayError: the ledger cannot be copied, or a component cannot start.
    """
    place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-aside-"))
    try:
        storage = await copy_storage(configuration.storage, place)
        own = configuration.model_copy(update={"storage": storage, "views": ()})
        state = configuration.storage.directory
        waiting = Tuning(gate=GateSettings(page_timeout=_REQUEST_TIMEOUT, evidence_timeout=_REQUEST_TIMEOUT))
        async with assemble(own, {DEFAULT_VIEW: policy}, tuning=waiting, state_directory=state) as parts:
            yield parts
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


@asynccontextmanager
async def own_directory(configuration: Configuration) -> AsyncIterator[Configuration]:
    """Yield the configuration of a further replica, for a command that works beside the running ones.

    The replica has a temporary directory, with copies of the trust roots and of the snapshots of advisories, and no
    listener for other replicas. Without `[storage.shared]`, the configuration is unchanged.
    """
    shared = configuration.storage.shared
    if shared is None:
        yield configuration
        return
    place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-replica-"))
    try:
        await asyncio.to_thread(_copy_state, configuration.storage.directory, place)
        storage = configuration.storage.model_copy(update={"directory": place, "shared": shared.without_peers()})
        yield configuration.model_copy(update={"storage": storage})
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _copy_state(source: Path, target: Path) -> None:
    for name in _STATE:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)


async def judge_pages(assembly: Assembly, names: Iterable[NormalizedName]) -> PageResults:
    """Return the judged page or the error of each project. Report progress on standard error."""
    wanted = list(dict.fromkeys(names))
    pages: PageResults = {}
    slots = asyncio.Semaphore(_MAX_CONCURRENT_PROJECTS)

    async def judge(name: NormalizedName) -> None:
        async with slots:
            try:
                pages[name] = _require_decisions(await assembly.gate.get_page(name))
            except AssayError as error:
                pages[name] = error

    async def report_progress(report: ProgressReport) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_INTERVAL_SECONDS)
            report(len(pages), len(wanted))

    with ProgressReport("projects fetched and verified") as report:
        async with BackgroundTasks() as tasks:
            tasks.spawn(report_progress(report), name="progress")
            await asyncio.gather(*(judge(name) for name in wanted))
    return pages


def _require_decisions(page: JudgedPage) -> JudgedPage:
    """Return `page` if every file on it has a verdict.

    Raises:
        EvidenceUnavailableError: a file has no verdict, because its provenance could not be fetched.
    """
    if page.listing.undecided:
        name, failure = page.listing.undecided[0].filename, page.first_failure
        problem = "the document is still being fetched" if failure is None else failure.problem
        raise EvidenceUnavailableError(f"the provenance of {name} is unavailable: {problem}")
    return page
