"""Tests of the memory for pages that are read and parsed at the same time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from assay.assembly import Tuning
from assay.pages.cache import PageCacheSettings
from assay.simple.parse import parse_project
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy

BUDGET = PageCacheSettings(max_body_bytes=300_000, free_body_bytes=50_000)
PROJECTS = [f"large-{number}" for number in range(4)]


@pytest.mark.parametrize("is_recorded", [False, True])
async def test_large_pages_share_a_budget_and_small_ones_do_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_recorded: bool
) -> None:
    entered, release = list[int](), threading.Event()

    def stalled(body: bytes, *arguments: Any, **named: Any) -> Any:
        if len(body) > BUDGET.free_body_bytes:
            entered.append(len(body))
            assert release.wait(30)
        return parse_project(body, *arguments, **named)

    async with Index() as index:
        for project in PROJECTS:
            for version in range(400):
                index.add(wheel(project, f"{version}.0"), entry={"x-note": "y" * 300})
        index.add(wheel("small"))
        if is_recorded:
            async with run_test_proxy(index, tmp_path) as proxy:
                for project in (*PROJECTS, "small"):
                    await proxy.fetch_page(project)
        monkeypatch.setattr("assay.pages.cache.parse_project", stalled)
        async with run_test_proxy(index, tmp_path, tuning=Tuning(pages=BUDGET)) as proxy:
            requests = [asyncio.create_task(proxy.fetch_page(project)) for project in PROJECTS]
            while not entered:  # noqa: ASYNC110 - the thread reports no event to the loop
                await asyncio.sleep(0.01)
            assert (await proxy.fetch_page("small"))["files"]
            assert len(entered) == 1, "two of these pages exceed the budget"
            release.set()
            for page in await asyncio.gather(*requests):
                assert page["files"]
            assert len(entered) == len(PROJECTS)
