"""What the gates of several views share: turns, the memory's bound, doubtful answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from assay.caching.keyed_lock import Turns
from assay.evidence import Evidence, Unattested
from assay.gate.judged_page import Judged
from assay.gate.judged_page_cache import Memory
from assay.indexes import IndexSettings
from assay.ports import Page, Validators
from assay.provenance.documents import Proof, key_of
from assay.provenance.negative_cache import Doubts
from assay.render import ApprovedPage
from assay.simple.model import NormalizedName
from tests.unit.policy.making import FORGED, NOW, a_file, a_project, attested, digest

INDEX = IndexSettings(name="test", url="https://index.example/")
FOO, BAR = NormalizedName("foo"), NormalizedName("bar")


def page(name: str = "foo", files: int = 1, **changes: Any) -> Page:
    project = a_project(*(a_file(f"{number}.0", project=name) for number in range(files)), name=name)
    whole = Page(index=INDEX, project=project, version="1", checked=NOW, validators=Validators())
    return replace(whole, **changes)


def judged(name: str, files: int) -> Judged:
    known = page(name, files)
    listed = ApprovedPage(project=known.project, approved=())
    return Judged(page=known, policy="", roots="", news=0, doubtful=False, listed=listed, by_location={}, until=None)


async def test_a_turn_is_had_by_one_at_a_time_in_the_order_of_asking_and_leaves_nothing_behind() -> None:
    turns, order = Turns(), list[str]()
    inside = asyncio.Event()
    leave = asyncio.Event()

    async def first() -> None:
        async with turns.turn(("test", FOO)):
            inside.set()
            await leave.wait()
            order.append("first")

    async def next_(name: str, key: NormalizedName = FOO) -> None:
        async with turns.turn(("test", key)):
            order.append(name)

    running = asyncio.create_task(first())
    await inside.wait()
    others = [asyncio.create_task(next_(name)) for name in ("second", "given up", "third")]
    await next_("of another project", BAR)
    others[1].cancel()
    leave.set()
    await asyncio.gather(running, *others, return_exceptions=True)
    assert order == ["of another project", "first", "second", "third"]
    assert not turns._queues


def test_the_bound_is_of_all_views_together_and_what_was_not_asked_for_longest_goes_first() -> None:
    memory = Memory(most_files=30)
    memory.keep("strict", FOO, judged("foo", 9))
    memory.keep("dev", FOO, judged("foo", 9))
    memory.used("strict", FOO)
    memory.keep("dev", BAR, judged("bar", 9))
    assert memory.get("strict", FOO) is not None
    memory.keep("strict", BAR, judged("bar", 9))
    assert (memory.get("dev", FOO), len(memory.of("dev")), len(memory.of("strict"))) == (None, 1, 2)
    memory.keep("strict", FOO, judged("foo", 99))
    assert [each.page.project.name for each in memory.of("strict")] == ["foo"], "the newest stays, however large"
    memory.forget("strict", FOO)
    memory.forget("strict", FOO)
    assert (memory._files, memory.of("strict"), memory.of("dev")) == (0, (), ())


def proof(evidence: Evidence, document: str | None) -> Proof:
    return Proof(evidence=evidence, document=None if document is None else digest(document))


def test_a_doubtful_answer_is_good_until_its_page_is_renewed_or_a_root_is() -> None:
    doubts, known = Doubts(), page(files=3)
    forged, missing, good = (key_of(file) for file in known.project.files)
    answers = {forged: proof(FORGED, "a"), missing: proof(Unattested(), None), good: proof(attested(), "b")}
    doubts.keep(known, "roots", answers)
    assert doubts.of(known, "roots") == {key: answers[key] for key in (forged, missing)}
    assert doubts.of(known, "other roots") == {}
    assert doubts.of(page(files=3, checked=NOW + timedelta(minutes=10)), "roots") == {}
    assert doubts.of(page(files=3, version="2"), "roots") == {}
    doubts.keep(known, "roots", {})
    assert len(doubts.of(known, "roots")) == 2, "the next view asked about nothing that is new"
    doubts.forget(("test", FOO))
    assert (doubts.of(known, "roots"), doubts._count) == ({}, 0)


def test_doubtful_answers_are_bounded() -> None:
    doubts = Doubts()
    known = [page(f"project-{number}", files=100) for number in range(120)]
    for each in known:
        doubts.keep(each, "roots", {key_of(file): proof(FORGED, "a") for file in each.project.files})
    assert doubts._count == 10_000
    assert len(doubts._kept) == 100
    assert (len(doubts.of(known[-1], "roots")), len(doubts.of(known[0], "roots"))) == (100, 0)
