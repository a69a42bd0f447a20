"""The judge gives the same verdicts as a slow reference, which checks each file and each requirement by itself.

The reference below shares the requirements and the always-on checks with `assay.policy`, but not the compilation of a
rule: it runs every requirement of the registry for every file, and caches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attested,
    Evidence,
    Forged,
    Unattested,
    Unstated,
    Unverifiable,
)
from assay.policy import signers
from assay.policy.candidate import FileFacts, PageContext, gather_facts
from assay.policy.checks import find_failed_checks, find_listing_faults
from assay.policy.continuity import Continuity
from assay.policy.language.model import Policy, Requirements, Rule, get_rule_terms, merge_requirements
from assay.policy.language.times import format_instant
from assay.policy.precedence.revocations import compile_revocations
from assay.policy.release_lines import recall_release_lines, record_release_line
from assay.policy.requirements.base import (
    NOT_YET,
    AttestationCheck,
    Check,
    FileCheck,
    Note,
    PageCheck,
    ReleaseCheck,
    RuleTerms,
    TimeCheck,
)
from assay.policy.requirements.ratchet import DEFAULT_RATCHET_SETTLE, RatchetScope
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.verdict import Approved, Reason, ReasonCode, Undecided, Verdict, Withheld, approve, state_reason
from assay.policy.waivers import CODES_BY_LIFT
from assay.ports import EstablishedPublisher, ProjectHistory
from assay.simple.model import File, Kind
from tests.property.policy_worlds import World, learned, waiver, worlds
from tests.unit.policy.factories import FORGED, NOW, a_file, a_project, ago, attestation, claims, days

Known = Mapping[Any, Evidence]
CODES = list(ReasonCode)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass
class Reference:
    """Reference judgement of one page under the only rule of a policy without pins and denials."""

    policy: Policy
    world: World
    evidence: Known
    context: PageContext = field(init=False)

    def __post_init__(self) -> None:
        files, history = self.world.project.files, self.world.history
        self.context = PageContext(
            project=self.world.project.name,
            index=self.world.index,
            status=self.world.project.status,
            files=files,
            history=history,
            repeated_filenames=frozenset(
                one.filename
                for one in files
                for other in files
                if one is not other
                and one.filename == other.filename
                and one.sha256 != other.sha256
                and one.sha256
                and other.sha256
            ),
            mismatched_wheels=self.world.mismatched,
            advisories=self.world.advisories,
            signers_by_file={
                (fact.filename, fact.sha256): tuple(
                    each for each in history.signers if (each.filename, each.sha256) == (fact.filename, fact.sha256)
                )
                for fact in history.signers
            },
        )

    @property
    def rule(self) -> Rule:
        return self.policy.rules[0]

    @property
    def stated(self) -> Requirements:
        return merge_requirements(self.rule, self.policy.defaults)

    @property
    def terms(self) -> RuleTerms:
        return get_rule_terms(self.stated, self.rule.name)

    def checks(self) -> Iterator[Check]:
        for requirement in REQUIREMENTS:
            if (check := requirement.active(self.stated, self.terms)) is not None:
                yield check

    def links(self) -> list[AttestationCheck]:
        links = [each for each in self.checks() if isinstance(each, AttestationCheck)]
        return sorted(links, key=lambda each: each.order)

    def gather(self, place: int) -> FileFacts:
        file = self.world.project.files[place]
        evidence = self.evidence.get((file.filename, file.sha256))
        counted: tuple[Any, ...] = evidence.attestations if isinstance(evidence, Attested) else ()
        failures: list[Reason | None] = []
        if counted:
            for link in self.links():
                counted, failure = link.narrow(counted)
                failures.append(failure)
        elif isinstance(evidence, Attested | Unattested | Unverifiable | Unstated):
            failures = [link.check_absence(evidence) for link in self.links()]
        lacking = tuple(each for each in failures if each is not None)
        facts = gather_facts(file, evidence, (counted, lacking), self.context, self.world.now)
        facts.is_duplicate = self.is_duplicate(place)
        return facts

    def is_duplicate(self, place: int) -> bool:
        """Return whether another entry is listed instead: the first one without a fault, or else the first one."""
        files, file = self.world.project.files, self.world.project.files[place]
        same = [at for at, each in enumerate(files) if each.filename == file.filename and each.sha256 == file.sha256]
        good = [at for at in same if not find_listing_faults(files[at], self.context, is_duplicate=False)]
        return (
            file.sha256 is not None
            and file.filename not in self.context.repeated_filenames
            and place != (good or same)[0]
        )

    def ask(self, check: Check, facts: FileFacts) -> Any:
        """Return the result of one check for a file; without evidence if it is not known."""
        early, context, now = facts.evidence is None, self.context, self.world.now
        match check:
            case PageCheck():
                return check.check_page(context)
            case FileCheck():
                return check.check_best_case(facts, context, now) if early else check.check_file(facts, context, now)
            case TimeCheck():
                return check.check_best_case(facts, context, now) if early else check.check_time(facts, context, now)
            case AttestationCheck() | ReleaseCheck():
                return None

    def decide(self, facts: FileFacts) -> Verdict:
        file, evidence = facts.file, facts.evidence
        said = [*facts.provenance_failures, *(self.ask(check, facts) for check in self.checks())]
        unmet = sorted((each for each in said if isinstance(each, Reason)), key=lambda each: CODES.index(each.code))
        malicious, ignored, noted, ends = self.malicious(facts)
        enforced = [
            *self.revoked(facts),
            *malicious,
            *find_failed_checks(facts, self.context, self.world.now),
            *forged(evidence),
        ]
        if enforced:
            return withheld(facts, [*enforced, *unmet], enforced=True, expires=ends)
        lifted, expires, labels = self.waive(facts, unmet)
        remaining = [each for each in unmet if each.code not in {reason.code for reason in lifted}]
        audits = (self.rule.mode or self.policy.mode) == "audit"
        if remaining and not (evidence is None and audits):
            return withheld(facts, remaining, enforced=False, expires=earliest([expires, ends]))
        if evidence is None or any(each is NOT_YET for each in said):
            return Undecided(file=file)
        unproven = (
            [f"the file's attestation is ignored, because Assay cannot verify it: {evidence.reason}"]
            if isinstance(evidence, Unverifiable)
            else []
        )
        proven = [note for link in self.links() for note in link.note(facts.relevant_attestations)]
        notes = (*proven, *unproven, *(each.text for each in said if isinstance(each, Note)), *labels, *noted)
        return approve(
            file,
            rule="all",
            evidence=evidence,
            lifted_reasons=(*ignored, *lifted),
            notes=notes,
            changes_at=earliest([*(each.until for each in unmet), expires, ends]),
        )

    def malicious(self, facts: FileFacts) -> tuple[list[Reason], list[Reason], list[str], datetime | None]:
        """Return the reasons of malware records, those lifted, notes, and the earliest end of an exception."""
        version = facts.file.distribution.version if facts.file.distribution is not None else None
        reasons, lifted, notes, ends = [], [], [], []
        for each in self.world.advisories:
            if not each.is_malware or version is None or not each.covers(self.context.project, version):
                continue
            message = (
                f"the malware advisory {each.id} covers this version ({each.link}): {each.summary}; use another version"
            )
            reason = state_reason(ReasonCode.MALICIOUS, None, message, expected="no malware advisory", found=each.id)
            exceptions = [one.expires for one in self.policy.ignored_advisories if one.id == each.id]
            if exceptions and max(exceptions) > self.world.now:
                ends.append(max(exceptions))
                notes.append(f"{each.id} is ignored until {format_instant(ends[-1])}: x")
                lifted.append(reason)
            elif self.policy.malware == "note":
                lifted.append(reason)
            else:
                reasons.append(reason)
        return reasons, lifted, notes, earliest(ends)

    def revoked(self, facts: FileFacts) -> Sequence[Reason]:
        revoked = compile_revocations(self.policy, self.context.project)
        return revoked.check_file(facts, self.context, self.world.now).reasons if revoked is not None else ()

    def waive(self, facts: FileFacts, unmet: list[Reason]) -> tuple[list[Reason], datetime | None, list[str]]:
        """Return the lifted reasons, end date and note of the world's only waiver, which has `uploaded-before`."""
        for each in self.policy.waivers:
            assert each.uploaded_before is not None
            time = facts.effective_time
            may_cover = time < each.uploaded_before if time is not None else facts.evidence is None
            lifted = [reason for reason in unmet if any(reason.code in CODES_BY_LIFT[lift] for lift in each.lifts)]
            if lifted and may_cover and each.expires > self.world.now:
                return lifted, each.expires, [f"waived: waivers[0]: {each.reason}"]
        return [], None, []

    def is_exempt(self, facts: FileFacts, _: ReasonCode) -> bool:
        time, now = facts.effective_time, self.world.now
        return any(
            each.expires > now and each.uploaded_before is not None and time is not None and time < each.uploaded_before
            for each in self.policy.waivers
        )

    @property
    def settle_time(self) -> timedelta:
        stated = self.stated.ratchet_settle
        return DEFAULT_RATCHET_SETTLE if stated is None else stated

    def admit(self, waiting: list[EstablishedPublisher], moment: datetime) -> None:
        """Admit the publishers whose attested file existed by `moment`, and remove them from `waiting`."""
        for each in sorted(waiting, key=lambda each: (each.existed, each.identity, each.logged)):
            if each.existed <= moment:
                self.context.ratchet_state.admit(each, self.settle_time, self.world.now)
                waiting.remove(each)

    def is_accepted(self, facts: FileFacts, verdict: Verdict) -> bool:
        """Return whether nothing but requirements that concern no publisher stands against the file."""
        continuity = signers.assess_continuity(facts, self.context, self.world.now)
        if facts.provenance_failures or continuity not in {Continuity.KEPT, Continuity.EXEMPT}:
            return False
        return (
            not verdict.despite
            if isinstance(verdict, Approved)
            else isinstance(verdict, Withheld) and not verdict.enforced
        )

    def may_have_settled(self, facts: FileFacts, verdict: Verdict) -> bool:
        time = facts.file.upload_time
        is_old = time is None or time + self.settle_time <= self.world.now
        return isinstance(verdict, Withheld) and not verdict.enforced and is_old

    def judge(self) -> tuple[Verdict, ...]:
        files, state = self.world.project.files, self.context.ratchet_state
        laid = [self.gather(place) for place in range(len(files))]
        releases = [each for each in self.checks() if isinstance(each, ReleaseCheck)]
        found: dict[int, Verdict] = {}
        compares_lines = self.stated.ratchet_scope is RatchetScope.LINE
        if compares_lines:
            recall_release_lines(self.context, self.settle_time)
        waiting = list(self.world.history.publishers)
        for place in sorted(range(len(files)), key=lambda place: (sort_time(laid[place]), files[place].filename)):
            facts = laid[place]
            self.admit(waiting, sort_time(facts))
            verdict = found[place] = self.decide(facts)
            if facts.evidence is None:
                state.has_unknown_evidence |= isinstance(verdict, Undecided) or self.may_have_settled(facts, verdict)
            elif self.is_accepted(facts, verdict):
                if compares_lines:
                    record_release_line(facts, self.context, self.settle_time, self.world.now)
                waiting += signers.establish_signers(facts, self.settle_time, self.context, self.world.now)
        verdicts = [found[place] for place in range(len(files))]
        for each in releases:
            each.withhold(verdicts, laid, self.is_exempt)
        return tuple(with_nearest(each, verdicts) for each in verdicts)


def judge_plainly(policy: Policy, world: World, evidence: Known) -> tuple[Verdict, ...]:
    with forgetful():
        return Reference(policy, world, evidence).judge()


def forgetful() -> Any:
    """Return a context manager under which established signers are not cached."""
    return patch.object(signers, "recall_established_since", lambda _facts, _context: None)


def withheld(facts: FileFacts, reasons: list[Reason], *, enforced: bool, expires: datetime | None = None) -> Withheld:
    return Withheld(
        file=facts.file,
        reasons=tuple(reasons),
        enforced=enforced,
        rule="all",
        evidence=facts.evidence,
        changes_at=earliest([*(each.until for each in reasons), expires]),
    )


def earliest(instants: Sequence[datetime | None]) -> datetime | None:
    return min((each for each in instants if each is not None), default=None)


def forged(evidence: Evidence | None) -> list[Reason]:
    if not isinstance(evidence, Forged):
        return []
    message = (
        f"the file's provenance is forged: {evidence.step};"
        " do not use the file, and report it to the operator of the index"
    )
    return [state_reason(ReasonCode.FORGED, "all", message, expected=evidence.expected, found=evidence.found)]


def sort_time(facts: FileFacts) -> datetime:
    if facts.effective_time is not None:
        return facts.effective_time
    return FIRST if facts.evidence is None else LAST


def with_nearest(verdict: Verdict, verdicts: Sequence[Verdict]) -> Verdict:
    """Return the next lower approved version, else the next higher; pre-releases only for one or as the last resort.

    Versions that are yanked, or have no wheel or sdist, count only if there is no other.
    """
    version = version_of(verdict)
    approved = {version_of(each) for each in verdicts if isinstance(each, Approved)} - {None}
    if not isinstance(verdict, Withheld) or version is None or version in approved or not approved:
        return verdict
    installable = {
        version_of(each)
        for each in verdicts
        if isinstance(each, Approved)
        and each.file.yanked is None
        and each.file.distribution is not None
        and each.file.distribution.kind in {Kind.WHEEL, Kind.SDIST}
    }
    ladder = sorted(each for each in installable or approved if each is not None)
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
    'ratchet-scope = "line"',
    'ratchet-scope = "line"\nratchet-settle = "2 days"',
    'publishers = [{ kind = "GitHub", repository = "octo/*" }]',
)


@st.composite
def signatures(draw: st.DrawFn, file: File) -> Evidence:
    """Draw evidence: mostly by one signer, logged at the upload-time; sometimes by another, or logged long before."""
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
    """Draw pages of many releases by few signers, on which most files have the signer of the previous file."""
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
@given(worlds(), Unknown, st.booleans(), st.sampled_from(["", 'mode = "audit"']))
def test_a_page_of_any_kind_is_judged_as_the_reference_judges_it(
    world: World, unknown: int, waived: bool, top: str
) -> None:
    policy = world.policy(more=waiver("2030-01-01") if waived else "", top=top)
    for evidence in (world.evidence, known(world, unknown), {}):
        assert world.judge(policy, evidence=evidence) == judge_plainly(policy, world, evidence)


@some
@given(long_worlds(), Unknown, st.sampled_from(["", 'mode = "audit"']), st.booleans())
def test_a_page_whose_files_are_signed_alike_is_judged_as_the_reference_judges_it(
    world: World, unknown: int, top: str, told: bool
) -> None:
    policy = world.policy(top=top)
    world = replace(world, history=learned(world)) if told else world
    for evidence in (world.evidence, known(world, unknown)):
        assert world.judge(policy, evidence=evidence) == judge_plainly(policy, world, evidence)


@some
@given(st.one_of(worlds(), long_worlds()), Unknown, st.booleans())
def test_verdicts_and_what_the_ledger_learns_are_the_same_without_the_memory_of_signers(
    world: World, unknown: int, told: bool
) -> None:
    world = replace(world, history=learned(world)) if told else world
    for evidence in (world.evidence, known(world, unknown)):
        remembered = world.judge(evidence=evidence)
        with forgetful():
            assert world.judge(evidence=evidence) == remembered
    remembered_facts = learned(world)
    with forgetful():
        assert learned(world) == remembered_facts


@some
@given(worlds(), st.booleans())
def test_what_one_active_check_says_alone_of_a_file_is_reported_by_the_whole_judge(
    world: World, is_known: bool
) -> None:
    """Check with and without evidence, whatever other reasons exist: no requirement is skipped."""
    evidence = world.evidence if is_known else {}
    reference = Reference(world.policy(), world, evidence)
    for place, verdict in enumerate(world.judge(evidence=evidence)):
        facts = reference.gather(place)
        # With evidence, time and continuity have separate laws, because the state grows while a page is judged.
        checks = [each for each in reference.checks() if not (is_known and isinstance(each, TimeCheck))]
        alone = [reference.ask(check, facts) for check in checks]
        reported = verdict.reasons if isinstance(verdict, Withheld) else ()
        for reason in (*facts.provenance_failures, *alone):
            assert reason is None or reason in reported


def test_the_reference_withholds_and_approves_both() -> None:
    """Otherwise the comparisons above would compare empty results."""
    young, old = a_file("2.0", uploaded=ago(1)), a_file(uploaded=ago(30))
    evidence: dict[Any, Evidence] = {(each.filename, each.sha256): Unattested() for each in (young, old)}
    world = World('min-age = "3 days"', "", a_project(young, old), evidence, ProjectHistory())
    held, passed = judge_plainly(world.policy(), world, evidence)
    assert isinstance(held, Withheld)
    assert ([each.code for each in held.reasons], held.nearest) == ([ReasonCode.TOO_YOUNG], "1.0")
    assert isinstance(passed, Approved)
    assert [type(each) for each in judge_plainly(world.policy(), world, {})] == [Withheld, Undecided]
