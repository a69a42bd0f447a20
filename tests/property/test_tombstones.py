"""Tombstones on random pages: the same as those of a small model, and no request goes back to an older parent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import event, example, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from assay.policy.language.model import Showing
from assay.policy.tombstones import make_tombstones
from assay.policy.verdict import ReasonCode, Undecided, Verdict, Withheld, approve, state_reason
from assay.simple.model import Kind
from tests.unit.policy.factories import a_file

VERSIONS = ("1.0", "1.1rc1", "1.1", "1.2.post1", "2.0.dev1", "2.0", "2.1+local", "3.0", "4.0rc1")
CODES = (ReasonCode.DENIED, ReasonCode.TOO_YOUNG, ReasonCode.FORGED, ReasonCode.FOREIGN_HOST, ReasonCode.DUPLICATE)
ENTRY_CODES = {ReasonCode.FOREIGN_HOST, ReasonCode.DUPLICATE}


@dataclass(frozen=True)
class Drawn:
    """A file of a page: its version, kind and verdict, and whether the index yanked it."""

    version: str
    kind: Kind
    verdict: str
    """approved, undecided, or the code of the reason"""
    yanked: bool

    @property
    def is_final(self) -> bool:
        return not Version(self.version).is_prerelease

    def judge(self) -> Verdict:
        file = replace(a_file(self.version, kind=self.kind), yanked="index" if self.yanked else None)
        if self.verdict == "approved":
            return approve(file, rule="all", evidence=None)
        if self.verdict == "undecided":
            return Undecided(file=file)
        return Withheld(file=file, reasons=(state_reason(ReasonCode(self.verdict), "all", "no"),), enforced=True)


verdicts = st.sampled_from(["approved", "approved", "undecided", *(code.value for code in CODES)])
pages = st.lists(
    st.builds(
        Drawn,
        version=st.sampled_from(VERSIONS),
        kind=st.sampled_from([Kind.WHEEL, Kind.WHEEL, Kind.SDIST, Kind.EGG]),
        verdict=verdicts,
        yanked=st.sampled_from([False, False, True]),
    ),
    max_size=9,
    unique_by=lambda each: (each.version, each.kind),
)


def list_by_model(showing: Showing, drawn: list[Drawn]) -> list[tuple[str, Kind, str | None]]:
    """Return version, kind and yank of the tombstones, straight from the sentences of docs/policy-semantics.md."""
    found: list[tuple[str, Kind, str | None]] = []
    approved = [
        Version(each.version)
        for each in drawn
        if each.verdict == "approved" and each.is_final and not each.yanked and each.kind is not Kind.EGG
    ]
    for file in drawn:
        others = [each for each in drawn if each.version == file.version]
        if showing == "hide" or file.verdict in {"approved", "undecided", *ENTRY_CODES}:
            continue
        if any(each.verdict in {"approved", "undecided"} for each in others):
            continue
        is_above = any(version < Version(file.version) for version in approved)
        reason = f"withheld, {file.verdict}: no (rule: all)"
        index = "index" if file.yanked else None
        found.append((file.version, file.kind, reason if showing == "explain" or is_above else index))
    return found


@given(showing=st.sampled_from(Showing), drawn=pages)
def test_the_tombstones_are_those_of_the_model(showing: Showing, drawn: list[Drawn]) -> None:
    made = make_tombstones(showing, [each.judge() for each in drawn])
    places = [(each.file.distribution, each.yanked) for each in made]
    found = [(str(place.version), place.kind, yanked) for place, yanked in places if place is not None]
    assert found == list_by_model(showing, drawn)
    event(f"{showing}, any tombstone: {bool(found)}")


def choose(listed: dict[str, bool], wanted: SpecifierSet) -> str | None:
    """Return the version that an installer chooses for an unpinned request, or None; `listed` has True for yanked."""
    fitting = [
        Version(each) for each, yanked in listed.items() if not yanked and wanted.contains(each, prereleases=True)
    ]
    return str(max([each for each in fitting if not each.is_prerelease] or fitting, default=None) or "") or None


PUBLIC = [version for version in VERSIONS if "+" not in version]
bounds = st.sampled_from([">=0", *(f"<{version}" for version in PUBLIC), *(f"<={version}" for version in PUBLIC)])


wheels = st.lists(
    st.tuples(st.sampled_from(VERSIONS), verdicts, st.booleans()), max_size=9, unique_by=lambda each: each[0]
)


@given(drawn=wheels, bound=bounds)
@example(drawn=[("1.0", "denied", False), ("2.0", "approved", False)], bound="<2.0")
@example(drawn=[("1.0", "denied", False), ("1.1rc1", "approved", False)], bound=">=0")
def test_with_stop_a_request_without_a_lower_bound_finds_a_version_if_the_index_has_one(
    drawn: list[tuple[str, str, bool]], bound: str
) -> None:
    """A resolver goes back to an older parent only if no version satisfies the request."""
    sound = [each for each in drawn if each[1] not in ENTRY_CODES]
    judged = [Drawn(version, Kind.WHEEL, verdict, yanked) for version, verdict, yanked in sound]
    offered = {each.version: each.yanked for each in judged}
    listed = {each.version: each.yanked for each in judged if each.verdict in {"approved", "undecided"}}
    for stone in make_tombstones(Showing.STOP, [each.judge() for each in judged]):
        assert stone.file.distribution is not None
        listed[str(stone.file.distribution.version)] = stone.yanked is not None
    wanted = SpecifierSet(bound)
    without, found = choose(offered, wanted), choose(listed, wanted)
    assert (found is None) == (without is None)
    if without is not None and found is not None and not Version(without).is_prerelease:
        assert not Version(found).is_prerelease, "no pre-release in place of a final release"
    event(f"another version than the index's: {without != found}")
