"""Laws of the questions to evidence sources beside the index: who is asked, about what, and what an answer changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assay.evidence import INDEX_SOURCE, Attested, Unattested
from assay.policy.judge import SourceFacts
from assay.policy.verdict import Approved, Undecided, Withheld
from assay.simple.model import NormalizedName
from tests.property.policy_worlds import World, worlds
from tests.unit.policy.factories import GITHUB, attestation

REPOSITORY = "octo/widget"
QUESTION = f"github:{REPOSITORY}"
SOURCES = (
    SourceFacts(
        name="github",
        publisher_kind="GitHub",
        issuer=GITHUB,
        repositories={NormalizedName("widget"): REPOSITORY, NormalizedName("gadget"): "octo/gadget"},
    ),
)


def answer_all(world: World) -> dict[Any, frozenset[str]]:
    return dict.fromkeys(
        ((file.filename, file.sha256) for file in world.project.files), frozenset({QUESTION, "github:octo/gadget"})
    )


@given(worlds())
def test_sources_without_an_answer_that_counts_change_no_verdict(world: World) -> None:
    assert world.judge(sources=SOURCES, answered=answer_all(world)) == world.judge()


@given(worlds())
def test_a_source_is_asked_only_about_files_that_requirements_withhold(world: World) -> None:
    for alone, asking in zip(world.judge(), world.judge(sources=SOURCES), strict=True):
        if isinstance(asking, Undecided) and asking.wants != {INDEX_SOURCE}:
            assert asking.wants <= {QUESTION, "github:octo/gadget"}
            assert isinstance(alone, Withheld)
            assert not alone.enforced
            assert alone.evidence is not None, "the index is asked first"
        elif isinstance(asking, Withheld):
            assert isinstance(alone, Withheld), "a source withholds no file"


@given(worlds(), st.data())
def test_the_answer_to_a_question_that_is_not_asked_would_change_nothing(world: World, data: st.DataObject) -> None:
    verdicts = world.judge(sources=SOURCES)
    quiet = [
        each.file
        for each in verdicts
        if isinstance(each, Withheld) and not each.enforced and isinstance(each.evidence, Unattested)
    ]
    if not quiet:
        return
    file = data.draw(st.sampled_from(quiet))
    key = (file.filename, file.sha256)
    proof = replace(attestation(file.upload_time), source="github")
    answered = {key: frozenset({QUESTION})}
    after = world.judge(
        sources=SOURCES, answered=answered, evidence={**world.evidence, key: Attested(attestations=(proof,))}
    )
    position = world.project.files.index(file)
    assert not isinstance(after[position], Approved)


@given(worlds())
def test_a_rule_for_the_index_alone_asks_no_source(world: World) -> None:
    policy = world.policy(rule='evidence = ["index"]') if "evidence" not in world.rule else world.policy()
    assert world.judge(policy, sources=SOURCES) == world.judge(policy)
