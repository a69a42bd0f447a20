"""Projects of which clients got files recently."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from packaging.utils import NormalizedName

from assay.advisory_feeds.served import make_list_served
from assay.indexes import Indexes, IndexSettings
from assay.ports import UsedProject
from tests.world.advisories.feeds import NOW

SINCE = NOW - timedelta(days=30)


class _Usage:
    def __init__(self, *used: UsedProject) -> None:
        self._used = used

    async def list_used(self, since: datetime, *, limit: int = 0) -> list[UsedProject]:
        assert limit == 0
        return [each for each in self._used if each.last_used >= since]


def _use(index: str, name: str, **versions: datetime) -> UsedProject:
    times = {text.replace("_", ".").strip("v"): moment for text, moment in versions.items()}
    return UsedProject(index=index, project=NormalizedName(name), last_used=NOW, versions=times)


async def test_only_versions_since_then_of_projects_of_pypi_are_listed() -> None:
    indexes = Indexes(
        IndexSettings.model_validate({"name": name, "url": url})
        for name, url in (("pypi", "https://pypi.org/simple/"), ("own", "https://own.example/simple/"))
    )
    old = SINCE - timedelta(seconds=1)
    usage: Any = _Usage(
        _use("pypi", "foo", v1_0=SINCE, v2_0=old),
        _use("pypi", "page-only"),
        _use("pypi", "old", v1_0=old),
        _use("own", "bar", v1_0=NOW),
    )
    (found,) = await make_list_served(usage, indexes)(SINCE)
    assert (found.project, dict(found.versions)) == ("foo", {"1.0": SINCE})
