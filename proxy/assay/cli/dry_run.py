"""Judging as the proxy would, without disturbing it: with copies of its ledger and records.

Owns what the commands that only ask have in common. They change nothing, and a running proxy does not notice them.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from assay.assembly import Assembly, Tuning, assemble
from assay.caching.background import BackgroundTasks
from assay.config import Configuration
from assay.errors import AssayError
from assay.gate.gate import GateSettings
from assay.gate.judged_page import JudgedPage
from assay.policy.language.model import Policy
from assay.simple.model import NormalizedName
from assay.store.factory import copy_storage
from assay.views import DEFAULT_VIEW

_REQUEST_TIMEOUT = timedelta(hours=1)
"""A person waits longer than a client does."""
_MAX_CONCURRENT_PROJECTS = 8
_PROGRESS_INTERVAL_SECONDS = 5.0
"""Seconds between two lines of progress."""

PageResults: TypeAlias = dict[NormalizedName, JudgedPage | AssayError]
"""Each project's page as judged, or why it cannot be had."""


@asynccontextmanager
async def open_dry_run(configuration: Configuration, policy: Policy) -> AsyncIterator[Assembly]:
    """A proxy of one's own, of one view, with the real one's ledger and records as they are now.

    Raises:
        AssayError: the ledger cannot be copied, or a part cannot start.
    """
    place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-aside-"))
    try:
        storage = await copy_storage(configuration.storage, place)
        own = configuration.model_copy(update={"storage": storage, "views": ()})
        state = configuration.storage.directory
        waiting = Tuning(gate=GateSettings(page_timeout=_REQUEST_TIMEOUT))
        async with assemble(own, {DEFAULT_VIEW: policy}, tuning=waiting, trust_state_directory=state) as parts:
            yield parts
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def judge_pages(assembly: Assembly, names: Iterable[NormalizedName]) -> PageResults:
    """The page of each project; says how far it is where that takes longer than a second."""
    wanted = list(dict.fromkeys(names))
    pages: PageResults = {}
    slots = asyncio.Semaphore(_MAX_CONCURRENT_PROJECTS)

    async def judge(name: NormalizedName) -> None:
        async with slots:
            try:
                pages[name] = await assembly.gate.get_page(name)
            except AssayError as error:
                pages[name] = error

    async def progress() -> None:
        await asyncio.sleep(1)
        while True:
            print(f"fetching and verifying: {len(pages)} of {len(wanted)} projects …", file=sys.stderr)
            await asyncio.sleep(_PROGRESS_INTERVAL_SECONDS)

    async with BackgroundTasks() as tasks:
        tasks.spawn(progress(), name="progress")
        await asyncio.gather(*(judge(name) for name in wanted))
    return pages
