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

from assay.assembly import Assembly, assembled
from assay.config import Configuration
from assay.errors import AssayError
from assay.gate.gate import GateSettings
from assay.gate.judged_page import Judged
from assay.policy.language.model import Policy
from assay.simple.model import NormalizedName
from assay.store.snapshot import copy_ledger, copy_records
from assay.views import DEFAULT

_PATIENCE = timedelta(hours=1)
"""A person waits longer than a client does."""
_AT_ONCE = 8
_EVERY = 5.0
"""Seconds between two lines of progress."""

Pages: TypeAlias = dict[NormalizedName, Judged | AssayError]
"""Each project's page as judged, or why it cannot be had."""


@asynccontextmanager
async def aside(configuration: Configuration, policy: Policy) -> AsyncIterator[Assembly]:
    """A proxy of one's own, of one view, with the real one's ledger and records as they are now.

    Raises:
        AssayError: the ledger cannot be copied, or a part cannot start.
    """
    place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-aside-"))
    try:
        await asyncio.to_thread(copy_ledger, configuration.storage.directory, place)
        await asyncio.to_thread(copy_records, configuration.storage.directory, place)
        storage = configuration.storage.model_copy(update={"directory": place})
        own = configuration.model_copy(update={"storage": storage, "views": ()})
        state = configuration.storage.directory
        waiting = GateSettings(patience=_PATIENCE)
        async with assembled(own, {DEFAULT: policy}, gate_settings=waiting, trust_state=state) as parts:
            yield parts
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def judged_pages(assembly: Assembly, names: Iterable[NormalizedName]) -> Pages:
    """The page of each project; says how far it is where that takes longer than a second."""
    wanted = list(dict.fromkeys(names))
    pages: Pages = {}
    slots = asyncio.Semaphore(_AT_ONCE)

    async def judge(name: NormalizedName) -> None:
        async with slots:
            try:
                pages[name] = await assembly.gate.page(name)
            except AssayError as error:
                pages[name] = error

    async def progress() -> None:
        await asyncio.sleep(1)
        while True:
            print(f"fetching and verifying: {len(pages)} of {len(wanted)} projects …", file=sys.stderr)
            await asyncio.sleep(_EVERY)

    telling = asyncio.create_task(progress())
    try:
        await asyncio.gather(*(judge(name) for name in wanted))
    finally:
        telling.cancel()
    return pages
