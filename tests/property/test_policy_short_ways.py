"""The short ways of judging a page give what the long way gives: file by file, in order of time, with every check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from assay.evidence import PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE, Attested, Evidence, Unattested
from assay.policy import compiled, judge
from assay.policy.candidate import gather_facts
from assay.policy.compiled import CompiledRule
from assay.policy.decide import decide_verdict
from assay.policy.language.model import Policy
from assay.policy.ratchet import depends_on_wheels, establish_signers
from assay.policy.release import withhold_incomplete_releases
from assay.policy.verdict import Approved, Undecided, Verdict, Withheld
from assay.ports import ProjectHistory, SeenFile
from assay.simple.model import File, NormalizedName
from tests.property.policy_worlds import World, learned, load_policy, waiver, worlds
from tests.unit.policy.factories import FORGED, NOW, a_file, a_project, ago, attestation, claims, days, digest

Known = Mapping[Any, Evidence]
terms_of = compiled.compile_rule.__wrapped__


def in_full(policy: Policy, name: NormalizedName) -> CompiledRule:
    """What the files are judged by, with every short way closed."""
    return replace(
        terms_of(policy, name), is_plain=False, is_lean=False, any_bundle=False, any_trusted=False, asks_of_page=True
    )


def plainly(policy: Policy, world: World, evidence: Known) -> tuple[Verdict, ...]:
    """One file after the other by `judge`, the earliest first, with nothing remembered of signatures."""
    files, now = world.project.files, world.now
    terms = in_full(policy, world.project.name)
    context = judge._build_context(policy, world.project, world.index, world.history, frozenset())
    wheels = judge._find_wheel_versions(files) if terms.requires_whole_release else frozenset()
    laid = [gather_facts(file, evidence.get((file.filename, file.sha256)), terms, context, now) for file in files]
    for place, file in enumerate(files):
        earlier = {each.filename for each in files[:place]}
        laid[place].is_duplicate = file.filename in earlier and file.filename not in context.repeated_filenames
    found: dict[int, Verdict] = {}
    for place in sorted(range(len(files)), key=lambda place: (judge._sort_time(laid[place]), files[place].filename)):
        each = laid[place]
        context.ratchet_state.established_signers.clear()
        if each.is_duplicate:  # which `judge` cannot be told
            verdict = decide_verdict(each, terms, context, now)
        else:
            with patch.object(compiled, "compile_rule", in_full):
                verdict = judge.judge_file(policy, each.file, each.evidence, context, now)
        found[place] = verdict
        context.ratchet_state.established_signers.clear()
        if each.evidence is None:
            context.ratchet_state.has_unknown_evidence |= isinstance(verdict, Undecided)
        elif isinstance(verdict, Approved) and not depends_on_wheels(each, wheels):
            establish_signers(each, terms, context, now)
    verdicts = [found[place] for place in range(len(files))]
    if terms.requires_whole_release:
        withhold_incomplete_releases(verdicts, laid, terms, now)
    return tuple(with_nearest(each, verdicts) for each in verdicts)


def with_nearest(verdict: Verdict, verdicts: Sequence[Verdict]) -> Verdict:
    """The next lower approved version, else the next higher; pre-releases only beside one, or as the last resort."""
    version = version_of(verdict)
    approved = {version_of(each) for each in verdicts if isinstance(each, Approved)} - {None}
    if not isinstance(verdict, Withheld) or version is None or version in approved or not approved:
        return verdict
    ladder = sorted(each for each in approved if each is not None)
    finals = [each for each in ladder if not each.is_prerelease]
    steps = ladder if version.is_prerelease or not finals else finals
    lower = [each for each in steps if each < version]
    return replace(verdict, nearest=str(lower[-1] if lower else steps[0]))


def version_of(verdict: Verdict) -> Version | None:
    return verdict.file.distribution.version if verdict.file.distribution is not None else None


RATCHETS = (
    "",
    'ratchet = "warn"',
    'ratchet = "off"',
    'ratchet-settle = "2 days"',
    'min-age = "3 days"',
    'min-age = "5 days"\nmin-age-attested = "1 day"',
    'min-age = "5 days"\nmin-age-attested = "1 day"\nratchet = "off"',
    'release = "whole"',
    'ratchet-except = "<10"',
    'publishers = [{ kind = "GitHub", repository = "octo/*" }]',
)


@st.composite
def signatures(draw: st.DrawFn, file: File) -> Evidence:
    """Mostly by one signer, logged when the file was uploaded; sometimes by another, or long before."""
    evil = {"repository": "evil/widget", "repository_id": "666"}
    said = draw(st.sampled_from([claims(), claims(), claims(workflow="other.yml"), claims(**evil)]))
    logged = (file.upload_time or NOW) + draw(st.sampled_from([days(0.01), days(0.01), days(-9), days(-20)]))
    predicates = draw(
        st.sampled_from(
            [
                (PUBLISH_PREDICATE_TYPE,),
                (PUBLISH_PREDICATE_TYPE,),
                (PUBLISH_PREDICATE_TYPE,),
                (SLSA_PREDICATE_TYPE,),
                (PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE),
            ]
        )
    )
    return Attested(attestations=tuple(attestation(logged, claims=said, predicate_type=each) for each in predicates))


@st.composite
def long_worlds(draw: st.DrawFn) -> World:
    """Pages of many releases by few signers, on which most files are signed as the one before."""
    evidence: dict[Any, Evidence] = {}
    listed: list[File] = []
    uploaded = ago(draw(st.sampled_from([60, 30, 21])))
    for number in range(draw(st.integers(min_value=2, max_value=12))):
        uploaded += days(draw(st.sampled_from([0, 0.5, 2, 5])))
        listed.append(file := a_file(f"{number}.{draw(st.sampled_from(['0', '0rc1']))}", uploaded=min(uploaded, NOW)))
        otherwise = draw(st.sampled_from([None, None, None, None, Unattested(), FORGED]))
        evidence[file.filename, file.sha256] = otherwise or draw(signatures(file))
    return World(
        rule=draw(st.sampled_from(RATCHETS)),
        more="",
        project=a_project(*draw(st.permutations(listed))),
        evidence=evidence,
        history=ProjectHistory(),
    )


some = settings(max_examples=200, deadline=None)
Unknown = st.integers(min_value=0, max_value=2**14 - 1)


def known(world: World, unknown: int) -> Known:
    return {each: found for place, (each, found) in enumerate(world.evidence.items()) if not unknown >> place & 1}


@some
@given(worlds(), Unknown, st.booleans())
def test_the_short_ways_equal_the_long_way_on_all_kinds_of_pages(world: World, unknown: int, waived: bool) -> None:
    policy = world.policy(more=waiver("2030-01-01") if waived else "")
    for evidence in (world.evidence, known(world, unknown)):
        assert world.judge(policy, evidence=evidence) == plainly(policy, world, evidence)


@some
@given(long_worlds(), Unknown, st.sampled_from(["", 'mode = "audit"']), st.booleans())
def test_the_short_ways_equal_the_long_way_where_files_are_signed_alike(
    world: World, unknown: int, top: str, told: bool
) -> None:
    policy = world.policy(top=top)
    world = replace(world, history=learned(world)) if told else world
    for evidence in (world.evidence, known(world, unknown)):
        assert world.judge(policy, evidence=evidence) == plainly(policy, world, evidence)


def test_the_long_way_takes_none_of_the_short_ones() -> None:
    """Else the comparison above would compare a thing with itself."""
    policy = load_policy('version = 1\n[[rules]]\nprojects = ["*"]\n')
    file = a_file()
    world = World(rule="", more="", project=a_project(file), evidence={}, history=ProjectHistory())
    nobody = "nobody asks whether a file is sound where everything is checked in full"
    with patch("assay.policy.decide.is_sound", side_effect=AssertionError(nobody)):
        assert isinstance(plainly(policy, world, {(file.filename, digest(file.filename)): Unattested()})[0], Approved)
    seen = {file.filename: SeenFile(sha256=digest("other"), first_seen=NOW, late=False)}
    assert isinstance(plainly(policy, replace(world, history=ProjectHistory(known=True, files=seen)), {})[0], Withheld)
