"""No sequence of index answers, yanks, deletions, listings and revocations gets past an established publisher.

A project with an established publisher goes through random steps. In each, the index changes its page, the policy
changes, the clock moves on, and the views of a proxy judge the page over one ledger. Then no file that is unattested or
signed by a stranger may be approved, unless the policy names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.evidence import PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE, Attested, Evidence, Unverifiable
from assay.policy.judge import derive_ledger_changes, judge_page_in_mode
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, Verdict
from assay.ports import ProjectHistory
from assay.simple.model import File, Kind
from assay.store.ledger.rows import merge_changes
from tests.property.policy_worlds import load_policy
from tests.unit.policy.factories import (
    FORGED,
    INDEX,
    NOW,
    STRANGER,
    UNATTESTED,
    a_file,
    a_project,
    ago,
    attestation,
    days,
    digest,
    old,
    signed,
)

REVOCATIONS = (
    'publishers = [{ kind = "GitHub", repository = "octo/widget" }]',
    'publishers = [{ kind = "GitHub", repository = "octo/*" }]\nsigned-from = 2026-07-01\nsigned-until = 2026-08-15',
    'projects = ["widget"]\nversions = "<2"',
    'publishers = [{ kind = "GitHub", repository = "other/widget" }]',
)
RULES = ("", 'yanked = "deny"', 'types = ["wheel"]', 'types = ["sdist"]', 'min-age = "3 days"', 'release = "whole"')
LAX = (
    'ratchet = "off"',
    'ratchet = "warn"\nratchet-settle = "0 days"',
    'mode = "audit"',
    'ratchet-except = ">=0"',
    'ratchet-scope = "line"',
)
"""Rules of a second view over the same ledger, which lets the targets in."""


UNVERIFIABLE = Unverifiable(reason="an unknown log")
STRIPPED: tuple[Evidence, ...] = (UNATTESTED, UNVERIFIABLE, FORGED)


@dataclass
class Story:
    """State of the index, the policy, the clock and the ledger."""

    listed: dict[File, Evidence] = field(default_factory=lambda: old(200, 150, 100))
    targets: dict[File, Evidence] = field(default_factory=dict)
    """Files of the thief, with their evidence."""
    rule: str = ""
    revocations: str = ""
    now: datetime = NOW
    history: ProjectHistory = field(default_factory=ProjectHistory)
    count: int = 0

    def policy(self, rule: str = "") -> Policy:
        keys = f"{self.rule}\n{rule}"
        return load_policy(f'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\n{keys}\n{self.revocations}\n')

    def view(self, policy: Policy, unknown: frozenset[str] = frozenset()) -> tuple[Verdict, ...]:
        """Judge the page, and record in the ledger what is learned from it."""
        page = {**self.listed, **self.targets}
        given_: dict[str, Any] = {
            "index": INDEX,
            "history": self.history,
            "evidence": {
                (file.filename, file.sha256): found for file, found in page.items() if file.filename not in unknown
            },
            "now": self.now,
        }
        project = a_project(*page)
        verdicts = judge_page_in_mode(policy, project, **given_)
        added = derive_ledger_changes(policy, project, verdicts=verdicts, **given_)
        self.history = merge_changes(self.history, added)
        return verdicts

    def name_version(self) -> str:
        self.count += 1
        return f"9.{self.count}"


Draw = Callable[[st.SearchStrategy[Any]], Any]
Step = Callable[[Story, Draw], None]


def delete(story: Story, draw: Draw) -> None:
    for file in draw(st.lists(st.sampled_from([*story.listed, a_file("0.0")]), max_size=4)):
        story.listed.pop(file, None)


def yank(story: Story, draw: Draw) -> None:
    yanked = draw(st.sampled_from([None, "bad"]))
    story.listed = {replace(file, yanked=yanked): found for file, found in story.listed.items()}


def list_twice(story: Story, _draw: Draw) -> None:
    story.listed |= {replace(file, sha256=digest(f"2 {file.filename}")): UNATTESTED for file in list(story.listed)}


def strip(story: Story, draw: Draw) -> None:
    found: Evidence = draw(st.sampled_from(STRIPPED))
    story.listed = dict.fromkeys(story.listed, found)


def attest_anew(story: Story, draw: Draw) -> None:
    """Offer an attestation by the stranger, signed today, for files that the owner published."""
    kind = draw(st.sampled_from([PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE]))
    strange = attestation(story.now, predicate_type=kind, bundle=7, **STRANGER)
    beside = draw(st.booleans())
    story.listed = {
        file: Attested(attestations=(*(found.attestations if beside and isinstance(found, Attested) else ()), strange))
        for file, found in story.listed.items()
    }


def revoke(story: Story, draw: Draw) -> None:
    chosen = draw(st.lists(st.sampled_from(REVOCATIONS), max_size=2, unique=True))
    story.revocations = "\n".join(f'[[revocations]]\n{each}\nreason = "stolen"' for each in chosen)


def change_rule(story: Story, draw: Draw) -> None:
    story.rule = draw(st.sampled_from(RULES))


def release_honestly(story: Story, draw: Draw) -> None:
    file = a_file(story.name_version(), uploaded=story.now, kind=draw(st.sampled_from([Kind.WHEEL, Kind.SDIST])))
    story.listed[file] = signed(file)


def attack(story: Story, draw: Draw) -> None:
    """List a file of the thief, who may claim any upload-time, or none."""
    claimed = draw(st.sampled_from([story.now, story.now, ago(500), ago(190), None]))
    changes: dict[str, Any] = {} if claimed is not None else {"upload_time": None}
    kind = draw(st.sampled_from([Kind.WHEEL, Kind.WHEEL, Kind.SDIST]))
    file = replace(a_file(story.name_version(), uploaded=claimed, kind=kind), **changes)
    predicates = draw(st.sampled_from([(PUBLISH_PREDICATE_TYPE,), (SLSA_PREDICATE_TYPE,)]))
    by_stranger = Attested(
        attestations=tuple(attestation(story.now, predicate_type=each, **STRANGER) for each in predicates)
    )
    offered: list[Evidence] = [UNATTESTED, UNVERIFIABLE, by_stranger]
    story.targets[file] = draw(st.sampled_from(offered))


STEPS: tuple[Step, ...] = (
    delete,
    yank,
    list_twice,
    strip,
    attest_anew,
    revoke,
    change_rule,
    release_honestly,
    attack,
    attack,
)


def approved_targets(story: Story, verdicts: tuple[Verdict, ...]) -> Mapping[str, Verdict]:
    return {each.file.filename: each for each in verdicts if isinstance(each, Approved) and each.file in story.targets}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nothing_gets_past_an_established_publisher(data: st.DataObject) -> None:
    story = Story()
    story.view(story.policy())
    assert len(story.history.publishers) == 1
    for _ in range(data.draw(st.integers(min_value=1, max_value=8), label="steps")):
        for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3), label="step"):
            step(story, data.draw)
        for lax in data.draw(st.lists(st.sampled_from(LAX), max_size=1), label="laxer view"):
            story.view(story.policy(lax))
        names = sorted({file.filename for file in (*story.listed, *story.targets)})
        unknown = data.draw(st.lists(st.sampled_from(names), max_size=2), label="unknown") if names else []
        for hidden in (frozenset(unknown), frozenset[str]()):
            assert approved_targets(story, story.view(story.policy(), hidden)) == {}
        story.now += timedelta(days=data.draw(st.sampled_from([0, 0.5, 3, 15]), label="days"))


def test_the_steps_approve_the_targets_of_a_project_without_an_established_publisher() -> None:
    """Otherwise the law above would hold for a judge that withholds everything."""
    story = Story(listed={a_file("1.0"): UNATTESTED})
    story.view(story.policy())
    thief, owner = a_file("9.1", uploaded=story.now), a_file("9.2", uploaded=story.now)
    story.targets = {thief: UNATTESTED, owner: signed(owner, **STRANGER)}
    assert len(approved_targets(story, story.view(story.policy()))) == 2
    established = Story()
    established.view(established.policy())
    honest = a_file("9.3", uploaded=established.now)
    established.targets = {honest: signed(honest)}
    established.now += days(1)
    assert len(approved_targets(established, established.view(established.policy()))) == 1
