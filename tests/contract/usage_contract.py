"""Contract of every usage record. A test class of an engine inherits `UsageContract` and gives `usage`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.ports import ProjectSummary, Usage, UsedProject

FOO, BAR = NormalizedName("foo"), NormalizedName("bar")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def find_used(usage: Usage, project: NormalizedName) -> UsedProject:
    return next(each for each in await usage.list_used(LONG_AGO) if each.project == project)


def make_summary(project: NormalizedName, *, view: str = "default", approved: int = 1) -> ProjectSummary:
    return ProjectSummary(
        index="pypi",
        project=project,
        view=view,
        judged_at=datetime(2026, 1, 1, tzinfo=UTC),
        approved=approved,
        withheld=2,
        releases={"2.0": ("no", "lost"), "1.0": ("full",)},
        publishers=("acme/<b>", "böse"),
    )


class UsageContract:
    @pytest.fixture
    def usage(self) -> Usage:
        raise NotImplementedError

    async def test_an_unused_record_is_empty(self, usage: Usage) -> None:
        assert await usage.list_used(LONG_AGO) == []

    async def test_what_was_noted_is_listed_at_once(self, usage: Usage) -> None:
        usage.note("pypi", FOO, view="default")
        usage.note("pypi", FOO, view="default", version=Version("1.0"))
        usage.note("pypi", FOO, view="strict", version=Version("2.0rc1"))
        usage.note("internal", BAR, view="default")
        foo, bar = await find_used(usage, FOO), await find_used(usage, BAR)
        assert (foo.index, set(foo.versions), set(foo.views)) == ("pypi", {"1.0", "2.0rc1"}, {"default", "strict"})
        assert (bar.index, bar.versions, set(bar.views)) == ("internal", {}, {"default"})

    async def test_a_project_of_two_indexes_is_listed_for_each(self, usage: Usage) -> None:
        for index in ("pypi", "internal"):
            usage.note(index, FOO, view="default")
        assert {each.index for each in await usage.list_used(LONG_AGO)} == {"pypi", "internal"}

    async def test_the_number_of_listed_projects_can_be_limited(self, usage: Usage) -> None:
        for number in range(5):
            usage.note("pypi", NormalizedName(f"p{number}"), view="default")
        assert len(await usage.list_used(LONG_AGO, limit=3)) == 3

    async def test_only_what_was_used_since_then_is_listed(self, usage: Usage) -> None:
        usage.note("pypi", FOO, view="default")
        assert await usage.list_used(datetime(2999, 1, 1, tzinfo=UTC)) == []
        assert len(await usage.list_used(LONG_AGO)) == 1

    async def test_writing_changes_nothing_that_is_listed(self, usage: Usage) -> None:
        usage.note("pypi", FOO, view="default", version=Version("1.0"))
        before = await usage.list_used(LONG_AGO)
        await usage.flush()
        assert await usage.list_used(LONG_AGO) == before != []

    async def test_summaries_are_kept_of_used_projects_only(self, usage: Usage) -> None:
        usage.note("pypi", FOO, view="default")
        known, unknown = make_summary(FOO), make_summary(BAR)
        assert await usage.keep_summaries([known, unknown]) == {known.key}
        (found,) = await usage.list_described("default", LONG_AGO, limit=10)
        assert (found.used.project, found.summary) == (FOO, known)

    async def test_a_later_summary_replaces_an_earlier_one_of_the_same_view(self, usage: Usage) -> None:
        for view in ("default", "strict"):
            usage.note("pypi", FOO, view=view)
        earlier, later = make_summary(FOO), make_summary(FOO, approved=7)
        other = make_summary(FOO, view="strict")
        await usage.keep_summaries([earlier, other])
        await usage.keep_summaries([later])
        assert [each.summary for each in await usage.list_described("default", LONG_AGO, limit=10)] == [later]
        assert [each.summary for each in await usage.list_described("strict", LONG_AGO, limit=10)] == [other]

    async def test_only_projects_of_the_view_are_described(self, usage: Usage) -> None:
        usage.note("pypi", FOO, view="default")
        usage.note("pypi", BAR, view="strict")
        (found,) = await usage.list_described("strict", LONG_AGO, limit=10)
        assert (found.used.project, found.summary) == (BAR, None)
        assert await usage.list_described("strict", datetime(2999, 1, 1, tzinfo=UTC), limit=10) == []

    async def test_the_names_seen_in_a_view_are_listed_once(self, usage: Usage) -> None:
        for index in ("pypi", "internal"):
            usage.note(index, FOO, view="default")
        usage.note("pypi", BAR, view="strict")
        assert await usage.list_seen("default", limit=10) == [FOO]
        assert await usage.list_seen("strict", limit=10) == [BAR]
        assert await usage.list_seen("strict", limit=0) == []
