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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from packaging.version import Version

from assay.evidence import Attested, Evidence
from assay.policy import compiled
from assay.policy.candidate import FileFacts, IndexFacts, PageContext, compute_base_time, gather_facts
from assay.policy.checks import find_listing_faults
from assay.policy.compiled import CompiledRule, is_denied
from assay.policy.decide import decide_verdict
from assay.policy.language.model import Mode, Policy, RatchetMode
from assay.policy.ratchet import depends_on_wheels, derive_established_facts, establish_signers
from assay.policy.release import add_nearest_versions, withhold_incomplete_releases
from assay.policy.verdict import Approved, ReasonCode, Undecided, Verdict, Withheld, approve
from assay.ports import EstablishedIdentity, HistoryChanges, ProjectHistory, SeenFile
from assay.simple.model import File, Kind, NormalizedName, Project, Sha256

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
_UNRECORDABLE_CODES = frozenset(
    {
        ReasonCode.BAD_FILENAME,
        ReasonCode.OTHER_PROJECT,
        ReasonCode.URL_MISMATCH,
        ReasonCode.DUPLICATE,
        ReasonCode.NO_SHA256,
        ReasonCode.FOREIGN_HOST,
    }
)
"""Entries whose digest the ledger must not take for the first one of that filename, nor their time for a release's."""


def judge_file(policy: Policy, file: File, evidence: Evidence | None, context: PageContext, now: datetime) -> Verdict:
    """The verdict on one file in the circumstances that `context` states, ignoring mode.

    `evidence` is None where it is not known yet. `judge_page` makes the circumstances of a page itself.
    """
    terms = compiled.compile_rule(policy, context.project)
    return decide_verdict(gather_facts(file, evidence, terms, context, now), terms, context, now)


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
    context = _build_context(policy, project, index, history, mismatched_wheels)
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
        context = _build_context(policy, project, index, history, mismatched_wheels)
        known = {(each.filename, each.sha256, each.identity) for each in history.established}
        approved = _PageJudgement(policy, project, context, evidence, now, collects_approved=True).approved_facts
        facts = (fact for each in approved for fact in derive_established_facts(each, context))
        established = tuple(fact for fact in facts if (fact.filename, fact.sha256, fact.identity) not in known)
    is_newer = project.serial is not None and (history.serial is None or project.serial > history.serial)
    return HistoryChanges(serial=project.serial if is_newer else None, files=files, established=established)


def _is_recordable(verdict: Verdict) -> bool:
    return not isinstance(verdict, Withheld) or all(
        reason.code not in _UNRECORDABLE_CODES for reason in verdict.reasons
    )


def _may_establish_publisher(verdicts: Sequence[Verdict], history: ProjectHistory) -> bool:
    known = {(each.filename, each.sha256) for each in history.established}
    return any(
        isinstance(each, Approved)
        and isinstance(each.evidence, Attested)
        and (each.file.filename, each.file.sha256) not in known
        for each in verdicts
    )


def _build_context(
    policy: Policy, project: Project, index: IndexFacts, history: ProjectHistory, mismatched_wheels: frozenset[Sha256]
) -> PageContext:
    terms = compiled.compile_rule(policy, project.name)
    facts: dict[tuple[str, Sha256 | None], tuple[EstablishedIdentity, ...]] = {}
    for fact in history.established:
        key = (fact.filename, fact.sha256)
        facts[key] = (*facts.get(key, ()), fact)
    context = PageContext(
        project=project.name,
        index=index,
        status=project.status,
        history=history,
        repeated_filenames=_find_repeated_filenames(project.files),
        mismatched_wheels=mismatched_wheels,
        established_by_file=facts,
    )
    if terms.late_files is None:
        return context
    return replace(context, release_times=_find_release_times(project.files, context))


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


def _find_release_times(files: tuple[File, ...], context: PageContext) -> dict[Version, datetime]:
    """When the first file of each version appeared, so far as pages tell.

    An entry that the ledger neither knows nor will learn counts for nothing. If it did, it would count by what the page
    says on the first visit, and by that visit's own instant on all others.
    """
    history, names = context.history, set[str]()
    first: dict[Version, datetime] = {}
    for file in files:
        is_duplicate = file.filename in names and file.filename not in context.repeated_filenames
        names.add(file.filename)
        seen = history.files.get(file.filename)
        if file.distribution is None or is_duplicate or (seen is None and not _is_listing_recordable(file, context)):
            continue
        # The clock plays no part: what appears only now is the first of its release, or later than the first.
        time = compute_base_time(file, seen, history, _MAX_INSTANT)
        if time is None and seen is not None:
            time = seen.first_seen  # by then it was there
        if time is not None:
            version = file.distribution.version
            first[version] = min(time, first.get(version, time))
    return first


def _is_listing_recordable(file: File, context: PageContext) -> bool:
    """Whether the ledger may learn this entry, as `_is_recordable` will say of its verdict; for no duplicate."""
    faults = find_listing_faults(file, context, is_duplicate=False)
    return all(reason.code not in _UNRECORDABLE_CODES for reason in faults)


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
        terms = compiled.compile_rule(self.policy, self.project.name)
        exhibits = self._gather_all_facts(terms)
        found: list[Verdict] = [None] * len(exhibits)  # type: ignore[list-item]  # each is filled in below
        wheels = _find_wheel_versions(self.project.files) if terms.requires_whole_release else frozenset()
        context, now, continuity, pins = self.context, self.now, self.context.ratchet_state, terms.pins
        for place in _order_by_time(exhibits, terms, context):
            each = exhibits[place]
            if not terms.requires_whole_release:
                # Let go of, since each object alive brings on the collector, which then looks at all that there are:
                # at 40,000 files it takes a third of the time.
                exhibits[place] = None  # type: ignore[call-overload]  # nobody looks there again
            verdict = found[place] = decide_verdict(each, terms, context, now)
            if each.evidence is None:
                if isinstance(verdict, Undecided):
                    continuity.has_unknown_evidence = True
            elif (each.relevant_attestations or context.established_by_file) and isinstance(verdict, Approved):
                # A pin approves "exactly that file", so that it speaks for no other.
                if (pins and each.file.sha256 in pins) or (
                    terms.requires_whole_release and depends_on_wheels(each, wheels)
                ):
                    continue
                if not each.has_familiar_signer:
                    establish_signers(each, terms, context, now)
                if self.collects_approved:
                    self.approved_facts.append(each)
        if terms.requires_whole_release:
            withhold_incomplete_releases(found, exhibits, terms, self.now)
        add_nearest_versions(found)
        self.verdicts = tuple(found)

    def _gather_all_facts(self, rule: CompiledRule) -> list[FileFacts]:
        known, context, now = self.evidence, self.context, self.now
        found = [
            gather_facts(file, known.get((file.filename, file.sha256)), rule, context, now)  # type: ignore[arg-type]  # no digest: no evidence
            for file in self.project.files
        ]
        if len({file.filename for file in self.project.files}) < len(found):
            names: set[str] = set()
            for each in found:
                each.is_duplicate = each.file.filename in names and each.file.filename not in context.repeated_filenames
                names.add(each.file.filename)
        return found


def _order_by_time(all_facts: list[FileFacts], rule: CompiledRule, context: PageContext) -> Iterable[int]:
    """The order of time, wherever what one file establishes can matter to another; else the page's."""
    places = range(len(all_facts))
    if rule.ratchet is RatchetMode.OFF and rule.min_age_attested == rule.min_age:
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


def _find_wheel_versions(files: tuple[File, ...]) -> frozenset[Version]:
    distributions = (file.distribution for file in files)
    return frozenset(each.version for each in distributions if each is not None and each.kind is Kind.WHEEL)
