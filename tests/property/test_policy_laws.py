"""The laws of docs/policy-semantics.md over random policies, pages, evidence, ledgers and instants.

The module also has the laws that the gate relies on.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.evidence import Attested, Evidence, Forged, Unattested
from assay.policy.judge import find_next_change
from assay.policy.verdict import Approved, ReasonCode, Undecided, Withheld
from assay.ports import ProjectHistory
from assay.simple.model import Kind
from tests.property.policy_worlds import (
    EVERYTHING,
    RULE_KEYS,
    World,
    codes,
    decide,
    kinds,
    learned,
    load_policy,
    waiver,
    worlds,
)
from tests.unit.policy.factories import FORGED, HOST, NOW, UNATTESTED, a_file, a_project, ago, an_advisory, days, signed

few = settings(max_examples=50, deadline=None)


# docs/policy-semantics.md, "Laws"


@few
@given(worlds())
def test_the_empty_policy_approves_nothing(world: World) -> None:
    policy = load_policy("version = 1")
    assert all(isinstance(each, Withheld) and ReasonCode.NO_RULE in codes(each) for each in world.judge(policy))


@few
@given(worlds(), st.sampled_from(RULE_KEYS))
def test_a_rule_after_the_governing_one_changes_nothing(world: World, key: str) -> None:
    later = world.policy(more=f'[[rules]]\nprojects = ["widget"]\n{key}\n[[rules]]\nprojects = ["*"]\ndeny = "no"')
    assert world.judge(later) == world.judge()


@few
@given(worlds(), st.integers(min_value=0, max_value=63))
def test_given_the_same_recorded_evidence_offering_fewer_attestations_approves_nothing_more(
    world: World, which: int
) -> None:
    """`provenance` is offered by the page, `evidence` is recorded."""
    offering = replace(
        world.project, files=tuple(replace(each, provenance="https://index.example/p") for each in world.project.files)
    )
    fewer = replace(
        offering,
        files=tuple(
            replace(each, provenance=None) if which >> place & 1 else each for place, each in enumerate(offering.files)
        ),
    )
    assert kinds(world.judge(project=fewer)) == kinds(world.judge(project=offering))


@few
@given(worlds(revocations=False), st.integers(min_value=1, max_value=15))
def test_one_bundle_suffices_so_that_taking_attestations_away_approves_nothing_more(world: World, which: int) -> None:
    rule = 'publishers = [{ kind = "GitHub", repository = "octo/*" }]\npredicates = ["publish"]\nratchet = "off"'
    policy = load_policy(f'version = 1\n[[rules]]\nprojects = ["*"]\n{rule}')
    for file in world.project.files:
        evidence = world.evidence[file.filename, file.sha256]
        if not isinstance(evidence, Attested):
            continue
        kept = tuple(each for place, each in enumerate(evidence.attestations) if which >> place & 1)
        one = a_project(replace(file, upload_time=None))
        key = (file.filename, file.sha256)
        (whole,) = world.judge(policy, project=one, evidence={key: evidence})
        (less,) = world.judge(policy, project=one, evidence={key: Attested(attestations=kept)})
        assert isinstance(whole, Approved) or not isinstance(less, Approved)


@few
@given(worlds(), st.integers())
def test_the_order_of_attestations_is_irrelevant(world: World, seed: int) -> None:
    shuffled: dict[Any, Evidence] = {}
    for key, found in world.evidence.items():
        if isinstance(found, Attested):
            order = list(found.attestations)
            random.Random(seed).shuffle(order)
            shuffled[key] = Attested(attestations=tuple(order))
        else:
            shuffled[key] = found
    straight, mixed = world.judge(), world.judge(evidence=shuffled)
    assert [(type(each), codes(each)) for each in mixed] == [(type(each), codes(each)) for each in straight]


@few
@given(worlds())
def test_a_malware_advisory_beats_everything_but_a_revocation(world: World) -> None:
    everything = replace(world, advisories=(an_advisory("MAL-2026-9"),), top="")
    pins = [f'"{each.sha256}"' for each in world.project.files if each.sha256] or ['"' + "0" * 64 + '"']
    for top in ("", 'mode = "audit"'):
        policy = everything.policy(rule=f"pins = [{', '.join(pins)}]", more=waiver("2030-01-01"), top=top)
        for verdict in (*everything.judge(policy), *everything.judge(policy, evidence={})):
            assert isinstance(verdict, Withheld)
            assert verdict.enforced
            first = next(each for each in codes(verdict) if each is not ReasonCode.REVOKED)
            assert first is ReasonCode.MALICIOUS
        assert all(isinstance(each, Withheld) for each in decide(everything, policy, everything.evidence))


@few
@given(worlds())
def test_revocation_beats_everything(world: World) -> None:
    pins = [f'"{each.sha256}"' for each in world.project.files if each.sha256] or ['"' + "0" * 64 + '"']
    policy = world.policy(
        rule=f"pins = [{', '.join(pins)}]",
        more=(
            '[[revocations]]\nprojects = ["widget"]\nreason = "all of it"\n'
            f'[[waivers]]\nprojects = ["*"]\nuploaded-before = 2030-01-01\nexpires = 2030-01-01\nreason = "x"\n'
            f"lifts = [{EVERYTHING}]"
        ),
    )
    for verdict in (*world.judge(policy), *world.judge(policy, evidence={})):
        assert isinstance(verdict, Withheld)
        assert verdict.enforced
        assert verdict.reasons[0].code is ReasonCode.REVOKED


@few
@given(worlds())
def test_a_waiver_never_beats_steps_one_to_three_or_five(world: World) -> None:
    for without, waived in zip(world.judge(), world.judge(world.policy(more=waiver("2030-01-01"))), strict=True):
        if isinstance(without, Withheld) and without.enforced:
            assert isinstance(waived, Withheld)
            assert waived.enforced


@few
@given(worlds())
def test_an_expired_waiver_is_no_waiver(world: World) -> None:
    expired = world.policy(more=waiver("2026-11-21T12:00:00Z"))
    assert world.judge(expired) == world.judge()


@few
@given(worlds())
def test_audit_mode_changes_what_is_served_only_by_step_six(world: World) -> None:
    enforcing = world.judge()
    audited = decide(world, world.policy(top='mode = "audit"'), world.evidence)
    for strict, lenient in zip(enforcing, audited, strict=True):
        served = isinstance(strict, Approved) or (isinstance(strict, Withheld) and not strict.enforced)
        assert isinstance(lenient, Approved) is served


@few
@given(worlds(), st.booleans())
def test_forged_evidence_is_approved_by_a_pin_alone(world: World, audit: bool) -> None:
    forged: dict[Any, Evidence] = dict.fromkeys(world.evidence, FORGED)
    top = 'mode = "audit"' if audit else ""
    policy = world.policy(top=top, more=waiver("2030-01-01"))
    assert not any(isinstance(each, Approved) for each in decide(world, policy, forged))
    good = next((each for each in world.project.files if each.sha256), None)
    if good is not None:
        pinned = world.policy(top=top, rule=f'pins = ["{good.sha256}"]')
        for verdict in decide(world, pinned, forged):
            assert not isinstance(verdict, Approved) or verdict.file.sha256 == good.sha256


@few
@given(worlds(), st.timedeltas(min_value=timedelta(), max_value=days(100)))
def test_moving_the_clock_forward_never_withholds_on_min_age(world: World, passed: timedelta) -> None:
    for before, after in zip(world.judge(), world.judge(now=NOW + passed), strict=True):
        if ReasonCode.TOO_YOUNG in codes(after):
            assert ReasonCode.TOO_YOUNG in codes(before) or ReasonCode.TIME_CONFLICT in codes(before)


# Laws that the gate relies on


@few
@given(worlds())
def test_once_all_evidence_is_known_nothing_is_undecided(world: World) -> None:
    assert "Undecided" not in kinds(world.judge())


@few
@given(worlds(), st.integers(min_value=0, max_value=63))
def test_what_is_decided_before_all_evidence_is_known_stays_decided_so(world: World, which: int) -> None:
    known = {key: found for place, (key, found) in enumerate(world.evidence.items()) if which >> place & 1}
    for early, late in zip(world.judge(evidence=known), world.judge(), strict=True):
        assert isinstance(early, Undecided) or type(early) is type(late)


@few
@given(worlds(), st.integers())
def test_the_order_of_the_page_is_irrelevant(world: World, seed: int) -> None:
    listed = list({each.filename: each for each in world.project.files}.values())
    straight = dict(zip(listed, world.judge(project=a_project(*listed)), strict=True))
    random.Random(seed).shuffle(listed)
    assert dict(zip(listed, world.judge(project=a_project(*listed)), strict=True)) == straight


@few
@given(worlds(), st.integers(min_value=0, max_value=999))
def test_nothing_changes_before_the_instant_that_the_verdicts_name(world: World, thousandths: int) -> None:
    history = learned(world)
    verdicts = world.judge(history=history)
    change = find_next_change(verdicts) or NOW + days(1000)
    assert change > NOW
    later = world.judge(history=history, now=NOW + (change - NOW) * thousandths / 1000)
    assert kinds(later) == kinds(verdicts)


def late_beside(host: str) -> World:
    """Return a world with `late-files` and a wheel a week later than the source archive of its release on `host`."""
    wheel, sdist = a_file(uploaded=ago(0.1)), a_file(kind=Kind.SDIST, uploaded=ago(8))
    listed = (wheel, replace(sdist, url=f"https://{host}/packages/{sdist.filename}"))
    return World(
        rule='late-files = "5 days"',
        more="",
        project=a_project(*listed),
        evidence={(wheel.filename, wheel.sha256): signed(wheel), (sdist.filename, sdist.sha256): UNATTESTED},
        history=ProjectHistory(),
    )


@few
@given(worlds())
@example(late_beside("evil.example"))
@example(late_beside(HOST))
def test_what_the_ledger_learns_of_a_page_changes_no_verdict_of_it(world: World) -> None:
    assert kinds(world.judge(history=learned(world))) == kinds(world.judge())


LAX = (
    'ratchet = "off"',
    'ratchet = "warn"\nratchet-settle = "0 days"',
    'ratchet = "off"\npublishers = [{ kind = "GitHub", repository = "evil/*" }]',
    'mode = "audit"\nattestations = "required"\npublishers = "any"',
)
"""Rules of another view of the same proxy, which may approve more files."""


@settings(max_examples=200, deadline=None)
@given(worlds(), st.sampled_from(LAX))
@example(late_beside("evil.example"), LAX[0])
@example(late_beside(HOST), LAX[0])
def test_what_the_ledger_learns_of_a_laxer_view_approves_nothing_more_in_this_one(world: World, lax: str) -> None:
    other = load_policy(f'version = 1\n[[rules]]\nname = "lax"\nprojects = ["*"]\n{lax}\n')
    for alone, beside in zip(world.judge(), world.judge(history=learned(world, other)), strict=True):
        assert isinstance(alone, Approved) or not isinstance(beside, Approved)


@few
@given(worlds())
def test_the_index_stripping_all_provenance_approves_nothing_more_once_the_ledger_knows(world: World) -> None:
    """The records are lost as well, so only the ledger is left. Revocations by publisher need the evidence itself."""
    listed = [each for each in world.project.files if each.upload_time is not None]
    calm = replace(world, more="", rule="", history=ProjectHistory(), project=a_project(*listed))
    history = learned(calm)
    stripped: dict[Any, Evidence] = {
        key: found if isinstance(found, Forged) else Unattested() for key, found in world.evidence.items()
    }
    whole = calm.judge(history=history)
    for with_evidence, without in zip(whole, calm.judge(history=history, evidence=stripped), strict=True):
        backdated = ReasonCode.TIME_CONFLICT in codes(with_evidence)
        assert isinstance(with_evidence, Approved) or not isinstance(without, Approved) or backdated
