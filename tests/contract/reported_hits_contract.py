"""Contract of every record of reported hits. A test class of an engine inherits it and gives `reported`."""

from __future__ import annotations

import pytest
from packaging.utils import NormalizedName

from assay.ports import AdvisoryHit, ReportedHits

FIRST: AdvisoryHit = ("MAL-1", NormalizedName("foo"))
SECOND: AdvisoryHit = ("MAL-1", NormalizedName("bar"))
THIRD: AdvisoryHit = ("MAL-2", NormalizedName("foo"))


class ReportedHitsContract:
    @pytest.fixture
    def reported(self) -> ReportedHits:
        raise NotImplementedError

    async def test_a_hit_is_new_until_it_is_added(self, reported: ReportedHits) -> None:
        assert await reported.select_new([THIRD, FIRST]) == [THIRD, FIRST]
        await reported.add([FIRST])
        await reported.add([FIRST])
        assert await reported.select_new([THIRD, SECOND, FIRST]) == [THIRD, SECOND]
        assert await reported.select_new([]) == []
