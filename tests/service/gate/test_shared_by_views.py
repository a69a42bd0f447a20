"""Tests of the caches that the gates of several views share: judged pages and negative answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from assay.evidence import Evidence, Unattested
from assay.gate.judged_page import JudgedPage, create_judged_page_cache
from assay.indexes import IndexSettings
from assay.ports import IndexPage, Validators
from assay.provenance.documents import FileEvidence, file_key
from assay.provenance.negative_cache import NegativeCache
from assay.render import PageListing
from assay.simple.model import NormalizedName
from tests.unit.policy.factories import FORGED, NOW, a_file, a_project, attested, digest

INDEX = IndexSettings(name="test", url="https://index.example/")
FOO, BAR = NormalizedName("foo"), NormalizedName("bar")


def page(name: str = "foo", files: int = 1, **changes: Any) -> IndexPage:
    project = a_project(*(a_file(f"{number}.0", project=name) for number in range(files)), name=name)
    whole = IndexPage(index=INDEX, project=project, content_digest="1", confirmed_at=NOW, validators=Validators())
    return replace(whole, **changes)


def judged(name: str, files: int) -> JudgedPage:
    known = page(name, files)
    listed = PageListing(project=known.project, approved=())
    return JudgedPage(
        page=known,
        dependencies={"policy": "", "roots": "", "wheels": 0, "ledger": 0},
        has_failed_evidence=False,
        listing=listed,
        by_location={},
        valid_until=None,
    )


def test_the_bound_is_of_all_views_together_and_what_was_not_asked_for_longest_goes_first() -> None:
    memory = create_judged_page_cache(max_files=30)
    memory.put(("strict", FOO), judged("foo", 9))
    memory.put(("dev", FOO), judged("foo", 9))
    assert memory.get(("strict", FOO)) is not None
    memory.put(("dev", BAR), judged("bar", 9))
    assert memory.get(("strict", FOO)) is not None
    memory.put(("strict", BAR), judged("bar", 9))
    assert list(memory.snapshot()) == [("dev", BAR), ("strict", FOO), ("strict", BAR)]
    memory.put(("strict", FOO), judged("foo", 99))
    assert list(memory.snapshot()) == [("strict", FOO)], "the newest page stays, even if it exceeds the limit"
    memory.pop(("strict", FOO))
    memory.pop(("strict", FOO))
    assert memory.total_weight == 0


def proof(evidence: Evidence, document: str | None) -> FileEvidence:
    return FileEvidence(evidence=evidence, document=None if document is None else digest(document))


def test_a_doubtful_answer_is_good_until_its_page_is_renewed_or_a_root_is() -> None:
    doubts, known = NegativeCache(), page(files=3)
    forged, missing, good = (file_key(file) for file in known.project.files)
    answers = {forged: proof(FORGED, "a"), missing: proof(Unattested(), None), good: proof(attested(), "b")}
    doubts.put(known, "roots", answers)
    assert doubts.get(known, "roots") == {key: answers[key] for key in (forged, missing)}
    assert doubts.get(known, "other roots") == {}
    assert doubts.get(page(files=3, confirmed_at=NOW + timedelta(minutes=10)), "roots") == {}
    assert doubts.get(page(files=3, content_digest="2"), "roots") == {}
    doubts.put(known, "roots", {})
    assert len(doubts.get(known, "roots")) == 2, "the next view had nothing new to ask"
    doubts.invalidate(("test", FOO))
    assert (doubts.get(known, "roots"), doubts._answers.total_weight) == ({}, 0)


def test_doubtful_answers_are_bounded() -> None:
    doubts = NegativeCache()
    known = [page(f"project-{number}", files=100) for number in range(120)]
    for each in known:
        doubts.put(each, "roots", {file_key(file): proof(FORGED, "a") for file in each.project.files})
    assert doubts._answers.total_weight == 10_000
    assert len(doubts._answers) == 100
    assert (len(doubts.get(known[-1], "roots")), len(doubts.get(known[0], "roots"))) == (100, 0)
