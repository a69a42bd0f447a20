"""Property tests of promise 1 for several views: each lists exactly the files that it serves, by its own policy."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.property.test_listed_is_served import (
    Drawn,
    listed_as,
    policies,
    policy_text,
    same_on_every_route,
    sigstore,
    worlds,
)
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import NOW, RunningProxy, make_configuration, run_test_proxy

PATHS = {"default": "/", "strict": "/strict/", "dev": "/teams/dev/"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    world=worlds,
    drawn=st.lists(policies, min_size=2, max_size=3),
    mode=st.sampled_from(["json", "html"]),
    at_once=st.booleans(),
)
def test_each_view_serves_what_it_lists_and_nothing_else(
    world: list[Drawn], drawn: list[Any], mode: str, at_once: bool
) -> None:
    texts = [policy_text(*each) for each in drawn]
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(check(world, dict(zip(PATHS, texts, strict=False)), mode, Path(directory), at_once=at_once))


async def check(world: list[Drawn], texts: dict[str, str], mode: Any, directory: Path, *, at_once: bool) -> None:
    tables = [{"name": name, "path": PATHS[name]} for name in texts if name != "default"]
    async with Index(content=mode) as index:
        added = []
        for drawn in world:
            built = drawn.built()
            uploaded, yanked = NOW - timedelta(days=drawn.days), "gone" if drawn.yanked else False
            document, entry = drawn.document(built), drawn.entry(index, built)
            added.append(index.add(built, provenance=document, upload_time=uploaded, yanked=yanked, entry=entry))
        configuration = make_configuration(index, directory / "assay", sigstore(), views=tables)
        async with run_test_proxy(index, directory, policies=texts, configuration=configuration) as proxy:
            views = [proxy.at_path(PATHS[name]) for name in texts]
            if at_once:
                found = await asyncio.gather(*(approved_in(view, added) for view in views))
            else:
                found = [await approved_in(view, added) for view in views]
            event(f"views agree: {len(set(found)) == 1}")
            # Each page and file is fetched once for all views.
            assert all(index.count(index.page_path(drawn.project)) == 1 for drawn in world)
            assert all(index.count(listed.path, "GET") <= 1 for listed in added)


async def approved_in(view: RunningProxy, added: list[ListedFile]) -> frozenset[str]:
    """Return the files that a view lists; check that it serves these and no others, on every route."""
    approved = set()
    for project in {listed.built.project for listed in added}:
        shown = await listed_as(view, project)
        for listed in added:
            if listed.built.project == project and await same_on_every_route(view, listed, shown):
                approved.add(listed.built.filename)
    return frozenset(approved)
