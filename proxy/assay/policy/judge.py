"""Judging a page: every file's verdict in one self-consistent pass, and what the ledger must learn from it. Pure.

The gate's API. `judge_page_in_mode` is what it serves by: `judge_page`, then `apply_mode` in the mode that governs the
project. An `Undecided` whose evidence is known waits for the evidence of the page's other `Undecided` files, for the
ratchet; once all evidence is known, nothing is undecided.

What the clock alone changes next on a page is the earliest `changes_at` of all its verdicts (`find_next_change`): one
file's verdict may rest on another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from assay.evidence import Attested, Evidence
from assay.policy import compiled
from assay.policy.candidate import FileFacts, IndexFacts, PageContext
from assay.policy.compiled import CompiledRule, is_denied
from assay.policy.decide import decide_verdict, gather_facts_under
from assay.policy.language.model import Mode, Policy
from assay.policy.nearest_version import add_nearest_versions
from assay.policy.signers import derive_established_facts, establish_signers
from assay.policy.verdict import MISLISTED_CODES, Approved, ReasonCode, Undecided, Verdict, Withheld, approve
from assay.ports import EstablishedIdentity, HistoryChanges, ProjectHistory, SeenFile
from assay.simple.model import File, NormalizedName, Project, Sha256

__all__ = [
    "IndexFacts",
    "PageContext",
    "apply_mode",
    "derive_ledger_changes",
    "find_mode",
    "find_next_change",
    "is_denied",
    "judge_file",
    "judge_page",
    "judge_page_in_mode",
    "requires_wheel_metadata",
]

_MIN_INSTANT = datetime.min.replace(tzinfo=UTC)
_MAX_INSTANT = datetime.max.replace(tzinfo=UTC)


def judge_file(policy: Policy, file: File, evidence: Evidence | None, context: PageContext, now: datetime) -> Verdict:
    """The verdict on one file in the circumstances that `context` states, ignoring mode.

    `evidence` is None where it is not known yet. `judge_page` makes the circumstances of a page itself.
    """
    rule = compiled.compile_rule(policy, context.project)
    return decide_verdict(gather_facts_under(rule, file, evidence, context, now), rule, context, now)


def judge_page(
    policy: Policy,
    project: Project,
    *,
    index: IndexFacts,
    history: ProjectHistory,
    evidence: Mapping[tuple[str, Sha256], Evidence],
    now: datetime,
    mismatched_wheels: frozenset[Sha256] = frozenset(),
) -> tuple[Verdict, ...]:
    """A verdict for each of `project.files`, in their order, ignoring mode.

    Args:
        policy: what is approved.
        project: the page as parsed.
        index: whose page it is.
        history: what the ledger knows of the project on this index.
        evidence: by filename and digest; what is absent is not known yet.
        now: UTC.
        mismatched_wheels: wheels whose own METADATA contradicts the index's.
    """
    context = _build_context(project, index, history, mismatched_wheels)
    return _PageJudgement(policy, project, context, evidence, now).verdicts


def judge_page_in_mode(
    policy: Policy,
    project: Project,
    *,
    index: IndexFacts,
    history: ProjectHistory,
    evidence: Mapping[tuple[str, Sha256], Evidence],
    now: datetime,
    mismatched_wheels: frozenset[Sha256] = frozenset(),
) -> tuple[Verdict, ...]:
    """As `judge_page`, in the mode that governs the project: what the gate serves by."""
    verdicts = judge_page(
        policy, project, index=index, history=history, evidence=evidence, now=now, mismatched_wheels=mismatched_wheels
    )
    mode = find_mode(policy, project.name)
    if mode is Mode.ENFORCE:
        return verdicts
    return tuple(each if isinstance(each, Undecided) else apply_mode(mode, each) for each in verdicts)


def apply_mode(mode: Mode, verdict: Approved | Withheld) -> Approved | Withheld:
    """What becomes of a verdict in a mode: "audit mode lifts step 6 only"."""
    if mode is Mode.ENFORCE or isinstance(verdict, Approved) or verdict.enforced:
        return verdict
    return approve(
        verdict.file,
        rule=verdict.rule or "",
        evidence=verdict.evidence,
        lifted_reasons=verdict.reasons,
        notes=("audit mode: it would be withheld",),
        changes_at=verdict.changes_at,
    )


def find_mode(policy: Policy, project: NormalizedName) -> Mode:
    """Whether requirements are enforced for this project."""
    return compiled.compile_rule(policy, project).mode


def requires_wheel_metadata(policy: Policy, project: NormalizedName) -> bool:
    """Whether metadata is served only from verified wheels (`metadata = "wheel"`)."""
    return compiled.compile_rule(policy, project).requires_wheel_metadata


def find_next_change(verdicts: Iterable[Verdict]) -> datetime | None:
    """The next instant at which the clock alone could change anything on the page."""
    instants = (each.changes_at for each in verdicts if not isinstance(each, Undecided))
    return min((instant for instant in instants if instant is not None), default=None)


def derive_ledger_changes(
    policy: Policy,
    project: Project,
    *,
    index: IndexFacts,
    history: ProjectHistory,
    verdicts: Sequence[Verdict],
    evidence: Mapping[tuple[str, Sha256], Evidence],
    now: datetime,
    mismatched_wheels: frozenset[Sha256] = frozenset(),
) -> HistoryChanges:
    """What the ledger must learn from a judged page before it is answered; the gate adds the provenance digests."""
    files = {
        file.filename: SeenFile(sha256=file.sha256, first_seen=now, late=history.known)
        for file, verdict in zip(project.files, verdicts, strict=True)
        if file.sha256 is not None and file.filename not in history.files and _is_recordable(verdict)
    }
    established: tuple[EstablishedIdentity, ...] = ()
    if _may_establish_publisher(verdicts, history):
        context = _build_context(project, index, history, mismatched_wheels)
        known = {(each.filename, each.sha256, each.identity) for each in history.established}
        approved = _PageJudgement(policy, project, context, evidence, now, collects_approved=True).approved_facts
        facts = (fact for each in approved for fact in derive_established_facts(each, context))
        established = tuple(fact for fact in facts if (fact.filename, fact.sha256, fact.identity) not in known)
    is_newer = project.serial is not None and (history.serial is None or project.serial > history.serial)
    return HistoryChanges(serial=project.serial if is_newer else None, files=files, established=established)


def _is_recordable(verdict: Verdict) -> bool:
    return not isinstance(verdict, Withheld) or all(reason.code not in MISLISTED_CODES for reason in verdict.reasons)


def _may_establish_publisher(verdicts: Sequence[Verdict], history: ProjectHistory) -> bool:
    known = {(each.filename, each.sha256) for each in history.established}
    return any(
        isinstance(each, Approved)
        and isinstance(each.evidence, Attested)
        and (each.file.filename, each.file.sha256) not in known
        for each in verdicts
    )


def _build_context(
    project: Project, index: IndexFacts, history: ProjectHistory, mismatched_wheels: frozenset[Sha256]
) -> PageContext:
    facts: dict[tuple[str, Sha256 | None], tuple[EstablishedIdentity, ...]] = {}
    for fact in history.established:
        key = (fact.filename, fact.sha256)
        facts[key] = (*facts.get(key, ()), fact)
    return PageContext(
        project=project.name,
        index=index,
        status=project.status,
        files=project.files,
        history=history,
        repeated_filenames=_find_repeated_filenames(project.files),
        mismatched_wheels=mismatched_wheels,
        established_by_file=facts,
    )


def _find_repeated_filenames(files: tuple[File, ...]) -> frozenset[str]:
    """Filenames that stand more than once with different digests; having none is a difference."""
    if len({file.filename for file in files}) == len(files):
        return frozenset()
    counts = Counter(file.filename for file in files)
    digests: dict[str, set[Sha256 | None]] = {}
    for file in files:
        if counts[file.filename] > 1:
            digests.setdefault(file.filename, set()).add(file.sha256)
    return frozenset(name for name, found in digests.items() if len(found) > 1 or None in found)


@dataclass(slots=True)
class _PageJudgement:
    """One judgement of one page."""

    policy: Policy
    project: Project
    context: PageContext
    evidence: Mapping[tuple[str, Sha256], Evidence]
    now: datetime
    collects_approved: bool = False
    """Whether anybody asks for `approved_facts`."""
    verdicts: tuple[Verdict, ...] = ()
    approved_facts: list[FileFacts] = field(default_factory=list)
    """Those that may establish somebody, in the order of time."""

    def __post_init__(self) -> None:
        rule = compiled.compile_rule(self.policy, self.project.name)
        all_facts = self._gather_all_facts(rule)
        found: list[Verdict] = [None] * len(all_facts)  # type: ignore[list-item]  # each is filled in below
        releases = rule.checks.releases
        dependents = frozenset[int]().union(*(check.find_dependents(self.project.files) for check in releases))
        context, now, state, pins = self.context, self.now, self.context.ratchet_state, rule.pins
        for place in _order_by_time(all_facts, rule, context):
            each = all_facts[place]
            if not releases:
                # Let go of, since each object alive brings on the collector, which then looks at all that there are:
                # at 40,000 files it takes a third of the time.
                all_facts[place] = None  # type: ignore[call-overload]  # it is not read again
            verdict = found[place] = decide_verdict(each, rule, context, now)
            if each.evidence is None:
                if isinstance(verdict, Undecided):
                    state.has_unknown_evidence = True
            elif (each.relevant_attestations or context.established_by_file) and isinstance(verdict, Approved):
                # A pin approves "exactly that file", so that it speaks for no other.
                if place in dependents or (pins and each.file.sha256 in pins):
                    continue
                establish_signers(each, rule.ratchet_settle, context, now)
                if self.collects_approved:
                    self.approved_facts.append(each)
        for check in releases:
            check.withhold(found, all_facts, partial(self._is_exempt, rule))
        add_nearest_versions(found)
        self.verdicts = tuple(found)

    def _gather_all_facts(self, rule: CompiledRule) -> list[FileFacts]:
        known, context, now = self.evidence, self.context, self.now
        found = [
            gather_facts_under(rule, file, known.get((file.filename, file.sha256)), context, now)  # type: ignore[arg-type]  # no digest: no evidence
            for file in self.project.files
        ]
        if len({file.filename for file in self.project.files}) < len(found):
            names: set[str] = set()
            for each in found:
                each.is_duplicate = each.file.filename in names and each.file.filename not in context.repeated_filenames
                names.add(each.file.filename)
        return found

    def _is_exempt(self, rule: CompiledRule, facts: FileFacts, code: ReasonCode) -> bool:
        """Whether a pin or a waiver of `code` frees a file from what others' verdicts mean for it."""
        return facts.file.sha256 in rule.pins or any(
            code in each.lifted_codes and each.expires > self.now and each.covers(facts.file, facts.effective_time)
            for each in rule.waivers
        )


def _order_by_time(all_facts: list[FileFacts], rule: CompiledRule, context: PageContext) -> Iterable[int]:
    """The order of time, wherever what one file establishes can matter to another; else the page's."""
    places = range(len(all_facts))
    if not rule.depends_on_earlier_files:
        return places
    if not context.established_by_file and not any(each.relevant_attestations for each in all_facts):
        unknown = sum(each.evidence is None for each in all_facts)
        if unknown in {0, len(all_facts)}:
            return places
    filenames = [each.file.filename for each in all_facts]
    moments = [_sort_time(each) for each in all_facts]
    # Two stable sorts, because comparing pairs costs more than both: ties go by filename, not by the page's order.
    return sorted(sorted(places, key=filenames.__getitem__), key=moments.__getitem__)


def _sort_time(facts: FileFacts) -> datetime:
    """Where a file stands in time: as early as it may be while its evidence is not known, else as late."""
    if facts.effective_time is not None:
        return facts.effective_time
    return _MIN_INSTANT if facts.evidence is None else _MAX_INSTANT
