"""Event `advisory-hit`: once for each advisory and project that was served before, also across a restart."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay import telemetry
from assay.telemetry import Event
from tests.service.gate.test_malware import run
from tests.world.advisories.records import make_affected, make_record
from tests.world.advisories.snapshots import make_snapshot, malware
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy


@pytest.fixture
def hits() -> Iterator[list[Event]]:
    found: list[Event] = []
    stop = telemetry.subscribe(lambda event: found.append(event) if event.name == "advisory-hit" else None)
    yield found
    stop()


async def put(proxy: RunningProxy, *records: dict[str, Any]) -> None:
    """Put a snapshot in force, and wait until it was compared with the usage record."""
    proxy.assembly.advisories.put(make_snapshot(*records))
    await proxy.assembly.advisory_hits.wait_until_idle()


async def test_a_served_version_that_is_named_is_reported_once_also_across_a_restart(
    tmp_path: Path, hits: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    async with Index() as index:
        async with run(index, tmp_path) as proxy:
            served, other, unused = (index.add(wheel("foo", version)) for version in ("1.0", "1.1", "1.2"))
            for listed in (served, other):
                assert (await proxy.get(proxy.files_path(listed))).status == 200
            await put(proxy, malware("foo", "1.2"), make_record("GHSA-1", make_affected("foo", versions=["1.0"])))
            assert hits == [], "neither an unused version nor another kind of record is a hit"
            await put(proxy, malware("foo", "1.0", "1.1", "1.2"))
            assert [(each.level, each.fields["advisory"], each.fields["versions"]) for each in hits] == [
                ("security", "MAL-2026-1", ["1.0", "1.1"])
            ]
            assert hits[0].fields["project"] == "foo"
            assert hits[0].fields["url"] == "https://osv.dev/vulnerability/MAL-2026-1"
            await put(proxy)
            await put(proxy, malware("foo", "1.0"))
            assert len(hits) == 1
            assert unused.built.filename
        async with run(index, tmp_path) as proxy:
            await put(proxy, malware("foo", "1.0"))
            assert len(hits) == 1, "the restart changes nothing"
            await put(proxy, malware("foo", "1.0"), malware("foo", "1.1", record="MAL-2026-2"))
            assert [each.fields["advisory"] for each in hits] == ["MAL-2026-1", "MAL-2026-2"]
    logged = [record for record in caplog.records if record.getMessage() == "advisory-hit"]
    assert [record.levelno for record in logged] == [logging.ERROR] * 2


async def test_what_an_index_of_another_ecosystem_served_is_no_hit(tmp_path: Path, hits: list[Event]) -> None:
    async with Index() as index, run(index, tmp_path, ecosystem=None) as proxy:
        assert (await proxy.get(proxy.files_path(index.add(wheel("foo", "1.0"))))).status == 200
        await put(proxy, malware("foo"))
        assert hits == []
