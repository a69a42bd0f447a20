"""Summaries of judged pages: words, numbers, the publishers of approved files only, and the queue of used pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from packaging.utils import NormalizedName

from assay.errors import StorageError
from assay.gate.judged_page import JudgedPage
from assay.gate.summaries import PageSummaries, summarize_page
from assay.indexes import IndexSettings
from assay.ports import IndexPage, ProjectSummary, SummaryKey, Usage, Validators
from assay.render import PageListing
from tests.unit.policy.factories import a_file, a_project
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import NOW, run_test_proxy
from tests.world.proxy.views_world import OPEN_POLICY
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore
from tests.world.sigstore.signers import GitHub

FOO = NormalizedName("foo")
BY_ACME = OPEN_POLICY + 'publishers = [{ kind = "GitHub", repository = "acme/foo" }]\n'


@pytest.mark.parametrize(
    ("policy", "publishers", "approved"), [(OPEN_POLICY, ("mallory/foo",), 2), (BY_ACME, ("acme/foo",), 1)]
)
async def test_the_publishers_are_those_of_the_last_approved_release(
    tmp_path: Path, policy: str, publishers: tuple[str, ...], approved: int
) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        for day, (version, repository) in enumerate((("1.0", "acme/foo"), ("2.0", "mallory/foo"))):
            built, when = wheel("foo", version), SIGNING_TIME + timedelta(days=day)
            provenance = sigstore.provenance(built.filename, built.sha256, GitHub(repository=repository), when)
            index.add(built, upload_time=when, provenance=provenance)
        async with run_test_proxy(index, tmp_path, policy=policy, sigstore=sigstore) as proxy:
            found = summarize_page("default", await proxy.get_gate("default").get_page(FOO), NOW)
    assert (found.index, found.project, found.view, found.judged_at) == ("test", "foo", "default", NOW)
    assert found.releases == {"2.0": ("full", "changed"), "1.0": ("full",)}
    assert list(found.releases) == ["2.0", "1.0"], "the highest version comes first"
    assert found.publishers == publishers
    assert (found.approved, found.withheld) == (approved, 2 - approved)


@dataclass
class ListedSummaries:
    """Usage record that lists the summaries, and can fail."""

    kept: list[ProjectSummary] = field(default_factory=list)
    is_failing: bool = False
    error: Exception | None = None
    wakeup: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_summaries(self, summaries: Sequence[ProjectSummary]) -> frozenset[SummaryKey]:
        self.wakeup.set()
        if self.error is not None:
            raise self.error
        if self.is_failing:
            return frozenset()
        self.kept += summaries
        return frozenset(each.key for each in summaries)


@dataclass
class Queue:
    """Queue of summaries for pages of at most 10 files together; 6 files are many."""

    usage: ListedSummaries = field(default_factory=ListedSummaries)

    def __post_init__(self) -> None:
        usage = cast("Usage", self.usage)  # the queue calls no other method
        self.summaries = PageSummaries(usage, lambda: NOW, max_waiting_files=10, many_files=6)

    def use(self, name: str, files: int = 1, *, view: str = "default") -> JudgedPage:
        """Return a page of a project, which weighs one more than its files, after a use."""
        page = make_page(name, files - 1)
        self.summaries.note(view, page)
        return page

    @property
    def kept(self) -> list[tuple[str, str]]:
        return [(each.view, each.project) for each in self.usage.kept]


def make_page(name: str, files: int) -> JudgedPage:
    project = a_project(*(a_file(f"{number}.0", project=name) for number in range(files)), name=name)
    index = IndexSettings(name="test", url="https://index.example/")
    page = IndexPage(index=index, project=project, content_digest="1", confirmed_at=NOW, validators=Validators())
    return JudgedPage(
        page=page,
        dependencies={"policy": ""},
        has_failed_evidence=False,
        listing=PageListing(project=project, approved=()),
        by_location={},
        valid_until=None,
    )


async def test_a_used_page_is_summarized_once_for_each_view() -> None:
    queue = Queue()
    page = queue.use("foo")
    queue.summaries.note("default", page)
    queue.use("foo", view="strict")
    assert await queue.summaries.update()
    queue.summaries.note("default", page)
    assert await queue.summaries.update()
    assert queue.kept == [("default", "foo"), ("strict", "foo")]


async def test_a_page_that_finds_the_queue_full_is_summarized_after_its_next_use() -> None:
    queue = Queue()
    queue.use("foo", 6)
    late = queue.use("bar", 6)
    await queue.summaries.update()
    assert queue.kept == [("default", "foo")]
    queue.summaries.note("default", late)
    queue.use("baz", 4)
    await queue.summaries.update()
    assert queue.kept[1:] == [("default", "bar"), ("default", "baz")], "both fit into the queue"
    queue.use("huge", 99)
    await queue.summaries.update()
    assert queue.kept[3:] == [("default", "huge")], "one page may exceed the limit"


async def test_a_page_whose_summary_was_not_stored_is_summarized_after_its_next_use() -> None:
    queue = Queue()
    queue.usage.is_failing = True
    page = queue.use("foo")
    assert not await queue.summaries.update()
    queue.usage.is_failing = False
    assert await queue.summaries.update()
    assert queue.kept == []
    queue.summaries.note("default", page)
    assert await queue.summaries.update()
    assert queue.kept == [("default", "foo")]


async def test_an_error_loses_no_page() -> None:
    queue = Queue()
    queue.usage.error = StorageError("closed")
    queue.use("foo")
    with pytest.raises(StorageError):
        await queue.summaries.update()
    queue.usage.error = None
    await queue.summaries.close()
    assert queue.kept == [("default", "foo")]


async def test_one_page_that_cannot_be_summarized_does_not_hold_back_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_for_bad(judged: JudgedPage) -> dict[object, object]:
        if judged.page.project.name == "bad":
            raise RuntimeError("no summary")
        return {}

    monkeypatch.setattr("assay.gate.summaries.classify_page", fail_for_bad)
    queue = Queue()
    queue.use("bad")
    queue.use("foo")
    assert await queue.summaries.update()
    assert queue.kept == [("default", "foo")]


async def test_many_waiting_files_are_summarized_at_once() -> None:
    queue = Queue()
    queue.summaries.start()
    queue.use("foo", 5)
    await asyncio.sleep(0)
    assert not queue.usage.wakeup.is_set()
    queue.use("bar")
    async with asyncio.timeout(30):  # less than the minute after which the queue is summarized anyway
        await queue.usage.wakeup.wait()
    await queue.summaries.close()
    assert queue.kept == [("default", "foo"), ("default", "bar")]
