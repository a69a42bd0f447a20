"""Judgement of a page: the verdicts on all of its files, and the facts that the ledger must record. Pure.

The gate calls this module, and serves files by `judge_page_in_mode`. This function calls `judge_page`, and then
`apply_mode` with the mode of the project. A file can be `Undecided` although its own evidence is known, because the
ratchet needs the evidence of earlier files of the page. When the evidence of all files is known, no file is undecided.

The `changes_at` of a verdict is the next instant at which time alone changes it. The change may affect the verdicts on
other files. Time alone therefore changes a page no earlier than the earliest `changes_at` of all its verdicts
(`find_next_change`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from typing import TypeAlias

from assay.advisories.model import Advisory
from assay.evidence import Attested, Evidence, PublisherIdentity
from assay.policy import compiled
from assay.policy.candidate import FileFacts, IndexFacts, PageContext, SourceFacts
from assay.policy.checks import find_duplicates
from assay.policy.compiled import CompiledRule, is_denied
from assay.policy.continuity import Continuity
from assay.policy.decide import decide_verdict, gather_facts_under
from assay.policy.language.model import Mode, Policy
from assay.policy.language.times import add_duration
from assay.policy.nearest_version import add_nearest_versions
from assay.policy.release_lines import recall_release_lines, record_release_line
from assay.policy.signers import assess_continuity, derive_file_signers, establish_signers
from assay.policy.verdict import MISLISTED_CODES, Approved, ReasonCode, Undecided, Verdict, Withheld, approve
from assay.ports import EstablishedPublisher, FileSigner, ForgottenKind, HistoryChanges, ProjectHistory, SeenFile
from assay.simple.model import File, NormalizedName, Project, Sha256

__all__ = [
    "Answered",
    "IndexFacts",
    "PageContext",
    "SourceFacts",
    "apply_mode",
    "derive_ledger_changes",
    "find_mode",
    "find_next_change",
    "find_settled_withheld",
    "is_denied",
    "judge_file",
    "judge_page",
    "judge_page_in_mode",
    "requires_wheel_metadata",
]

Answered: TypeAlias = Mapping[tuple[str, Sha256], frozenset[str]]
"""Questions that evidence sources beside the index have answered, by filename and digest."""

_MIN_INSTANT = datetime.min.replace(tzinfo=UTC)
_MAX_INSTANT = datetime.max.replace(tzinfo=UTC)


def judge_file(policy: Policy, file: File, evidence: Evidence | None, context: PageContext, now: datetime) -> Verdict:
    """Return the verdict on one file, as if in enforce mode.

    `context` has the facts about the file's page; `judge_page` makes its own. `evidence` is None while the evidence of
    the file is not known.
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
    advisories: tuple[Advisory, ...] = (),
    sources: tuple[SourceFacts, ...] = (),
    answered: Answered | None = None,
) -> tuple[Verdict, ...]:
    """Return a verdict for each of `project.files`, in their order, as if in enforce mode.

    Args:
        policy: the policy of the view.
        project: the parsed page.
        index: the index that the page comes from.
        history: facts of the ledger about the project on this index.
        evidence: evidence by filename and digest; absent evidence is not known yet.
        now: the current time, UTC.
        mismatched_wheels: digests of wheels whose own METADATA differs from the metadata of the index.
        advisories: advisories about the project; empty if the index is not of PyPI's ecosystem.
        sources: evidence sources beside the index.
        answered: questions that these sources have answered, by filename and digest; their answers are in `evidence`.
    """
    context = _build_context(
        project, index, history, mismatched_wheels, advisories=advisories, sources=sources, answered=answered
    )
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
    advisories: tuple[Advisory, ...] = (),
    sources: tuple[SourceFacts, ...] = (),
    answered: Answered | None = None,
) -> tuple[Verdict, ...]:
    """Return the verdicts of `judge_page` after applying the mode of the project; the gate serves files by these."""
    verdicts = judge_page(
        policy,
        project,
        index=index,
        history=history,
        evidence=evidence,
        now=now,
        mismatched_wheels=mismatched_wheels,
        advisories=advisories,
        sources=sources,
        answered=answered,
    )
    mode = find_mode(policy, project.name)
    if mode is Mode.ENFORCE:
        return verdicts
    return tuple(each if isinstance(each, Undecided) else apply_mode(mode, each) for each in verdicts)


def apply_mode(mode: Mode, verdict: Approved | Withheld) -> Approved | Withheld:
    """Return the verdict in a mode. Audit mode approves files that only requirements (step 6) withhold."""
    if mode is Mode.ENFORCE or isinstance(verdict, Approved) or verdict.enforced:
        return verdict
    return approve(
        verdict.file,
        rule=verdict.rule or "",
        evidence=verdict.evidence,
        lifted_reasons=verdict.reasons,
        notes=("audit mode: this file would be withheld",),
        changes_at=verdict.changes_at,
    )


def find_mode(policy: Policy, project: NormalizedName) -> Mode:
    """Return the mode that governs a project: that of its rule, or else that of the policy."""
    return compiled.compile_rule(policy, project).mode


def requires_wheel_metadata(policy: Policy, project: NormalizedName) -> bool:
    """Return whether a project's metadata is served only from verified wheels (`metadata = "wheel"`)."""
    return compiled.compile_rule(policy, project).requires_wheel_metadata


def find_next_change(verdicts: Iterable[Verdict]) -> datetime | None:
    """Return the next instant at which time alone could change a verdict of the page; None if no verdict changes."""
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
    advisories: tuple[Advisory, ...] = (),
    sources: tuple[SourceFacts, ...] = (),
    answered: Answered | None = None,
    url: str | None = None,
    is_rolled_back: bool = False,
) -> HistoryChanges:
    """Return the facts that the ledger must record before a judged page is served.

    `verdicts` is the result of `judge_page_in_mode` for the same arguments. The returned facts lack the digests of
    provenance documents, which the gate adds. `url` is that of the index. `is_rolled_back` is true if the serial of the
    page must not be recorded: the index last sent a page with a lower serial, or the serial was forgotten since.
    """
    files = {
        file.filename: SeenFile(sha256=file.sha256, first_seen=now, late=history.known)
        for file, verdict in zip(project.files, verdicts, strict=True)
        if file.sha256 is not None
        and file.filename not in history.files
        and not history.forgotten.has_digest(file.filename, file.sha256)
        and _is_recordable(verdict)
    }
    signers: tuple[FileSigner, ...] = ()
    publishers: tuple[EstablishedPublisher, ...] = ()
    if _may_establish_publisher(policy, project.name, verdicts, history, now):
        context = _build_context(
            project, index, history, mismatched_wheels, advisories=advisories, sources=sources, answered=answered
        )
        known = {(each.filename, each.sha256, each.identity) for each in history.signers}
        accepted = _PageJudgement(policy, project, context, evidence, now, collects_accepted=True).accepted_facts
        facts = (fact for each in accepted for fact in derive_file_signers(each, context))
        signers = tuple(fact for fact in facts if (fact.filename, fact.sha256, fact.identity) not in known)
        recorded = {each.identity for each in history.publishers}
        settled = context.ratchet_state.list_settled(now)
        publishers = tuple(each for each in settled if each.identity not in recorded)
    is_same = (project.serial, url, None) == (history.serial, history.serial_url, history.rollback_since)
    if project.serial is None or is_same or is_rolled_back or history.is_rollback(project.serial, url, now):
        return HistoryChanges(files=files, signers=signers, publishers=publishers)
    return HistoryChanges(
        serial=project.serial,
        serial_url=url,
        replaces_serial=True,
        files=files,
        signers=signers,
        publishers=publishers,
    )


def _is_recordable(verdict: Verdict) -> bool:
    return not isinstance(verdict, Withheld) or all(reason.code not in MISLISTED_CODES for reason in verdict.reasons)


def _may_establish_publisher(
    policy: Policy, name: NormalizedName, verdicts: Sequence[Verdict], history: ProjectHistory, now: datetime
) -> bool:
    """Return True if the page may add a signer or a publisher to the ledger, False if it certainly adds none."""
    known = {(each.filename, each.sha256) for each in history.signers}
    if any(
        not isinstance(each, Undecided)
        and isinstance(each.evidence, Attested)
        and not (isinstance(each, Withheld) and each.enforced)
        and (each.file.filename, each.file.sha256) not in known
        for each in verdicts
    ):
        return True
    recorded = {each.identity for each in history.publishers}
    settle_time = compiled.compile_rule(policy, name).ratchet_settle
    forgotten_at = history.forgotten.find_last_time(ForgottenKind.PUBLISHERS)
    return any(
        each.identity not in recorded
        and add_duration(each.logged, settle_time) <= now
        and (forgotten_at is None or each.logged > forgotten_at)
        for each in history.signers
    )


def _build_context(
    project: Project,
    index: IndexFacts,
    history: ProjectHistory,
    mismatched_wheels: frozenset[Sha256],
    *,
    advisories: tuple[Advisory, ...],
    sources: tuple[SourceFacts, ...],
    answered: Answered | None,
) -> PageContext:
    facts: dict[tuple[str, Sha256 | None], tuple[FileSigner, ...]] = {}
    for fact in history.signers:
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
        advisories=advisories,
        sources=sources,
        answered=answered or {},
        signers_by_file=facts,
    )


def _find_repeated_filenames(files: tuple[File, ...]) -> frozenset[str]:
    """Return the filenames that the page lists more than once with different digests.

    Entries without a SHA-256 are not compared. A malformed entry, or an entry with a malformed digest, counts as
    different from every other entry.
    """
    if len({file.filename for file in files}) == len(files):
        return frozenset()
    counts = Counter(file.filename for file in files)
    digests: dict[str, set[Sha256 | None]] = {}
    for file in files:
        is_malformed = file.problem is not None or any(algorithm == "sha256" for algorithm, _ in file.hashes)
        if counts[file.filename] > 1 and (file.sha256 is not None or is_malformed):
            digests.setdefault(file.filename, set()).add(file.sha256)
    return frozenset(name for name, found in digests.items() if len(found) > 1 or None in found)


@dataclass(slots=True)
class _PageJudgement:
    """Judgement of one page, made on construction."""

    policy: Policy
    project: Project
    context: PageContext
    evidence: Mapping[tuple[str, Sha256], Evidence]
    now: datetime
    collects_accepted: bool = False
    """True if `accepted_facts` must be filled."""
    verdicts: tuple[Verdict, ...] = ()
    accepted_facts: list[FileFacts] = field(default_factory=list)
    """Facts of the files that may establish a publisher, in order of time."""
    _waiting: list[tuple[datetime, PublisherIdentity, datetime]] = field(default_factory=list)
    """Heap of publishers that are not admitted yet. Files are judged in order of time. A publisher is admitted when the
    judgement reaches the time in `EstablishedPublisher.existed`."""

    def __post_init__(self) -> None:
        rule = compiled.compile_rule(self.policy, self.project.name)
        all_facts = self._gather_all_facts(rule)
        found: list[Verdict] = [None] * len(all_facts)  # type: ignore[list-item]  # each is assigned below
        releases = rule.checks.releases
        context, now, state = self.context, self.now, self.context.ratchet_state
        if rule.compares_lines:
            recall_release_lines(context, rule.ratchet_settle)
        self._wait_for(context.history.publishers)
        places, moments = _order_by_time(all_facts, context)
        if moments is None:
            self._admit_until(_MAX_INSTANT, rule)
        for place in places:
            each = all_facts[place]
            if not releases:
                # Drop the reference. Live objects trigger the cycle collector, which then visits all of them; at 40,000
                # files this takes a third of the time.
                all_facts[place] = None  # type: ignore[call-overload]  # not read again
            if self._waiting and moments is not None:
                self._admit_until(moments[place], rule)
            verdict = found[place] = decide_verdict(each, rule, context, now)
            if isinstance(verdict, Undecided) or each.evidence is None:
                state.has_unknown_evidence |= _has_unknown_evidence(verdict, rule.ratchet_settle, now)
            elif (each.relevant_attestations or context.signers_by_file) and self._is_accepted(each, verdict, rule):
                self._establish(each, rule)
        self._admit_until(_MAX_INSTANT, rule)
        for check in releases:
            check.withhold(found, all_facts, partial(self._is_exempt, rule))
        add_nearest_versions(found)
        self.verdicts = tuple(found)

    def _establish(self, facts: FileFacts, rule: CompiledRule) -> None:
        """Establish the signers of an accepted file as publishers."""
        if rule.compares_lines:
            record_release_line(facts, self.context, rule.ratchet_settle, self.now)
        self._wait_for(establish_signers(facts, rule.ratchet_settle, self.context, self.now))
        if self.collects_accepted:
            self.accepted_facts.append(facts)

    def _wait_for(self, publishers: Iterable[EstablishedPublisher]) -> None:
        """Add publishers to the heap, from which `_admit_until` admits them later."""
        for each in publishers:
            heappush(self._waiting, (each.existed, each.identity, each.logged))

    def _admit_until(self, moment: datetime, rule: CompiledRule) -> None:
        """Admit the publishers in the heap whose `existed` is not after `moment`, in order of time."""
        while self._waiting and self._waiting[0][0] <= moment:
            existed, identity, logged = heappop(self._waiting)
            publisher = EstablishedPublisher(identity=identity, logged=logged, existed=existed)
            self.context.ratchet_state.admit(publisher, rule.ratchet_settle, self.now)

    def _is_accepted(self, facts: FileFacts, verdict: Verdict, rule: CompiledRule) -> bool:
        """Return whether a file may establish its signers as publishers.

        The file's attestations must meet the rule. The ratchet must find no fault with the file, even if the mode is
        audit, or `ratchet` is ``warn`` or ``off``. Other requirements, such as `types` or `yanked`, decide what is
        served but not what is established. If a pin or a waiver lets the file in, the file establishes no publisher.
        """
        if isinstance(verdict, Approved):
            if verdict.despite or (rule.pins and facts.file.sha256 in rule.pins):
                return False
        elif isinstance(verdict, Undecided) or verdict.enforced or facts.provenance_failures:
            return False
        if facts.has_familiar_signer:
            return True
        return assess_continuity(facts, self.context, self.now) in {Continuity.KEPT, Continuity.EXEMPT}

    def _gather_all_facts(self, rule: CompiledRule) -> list[FileFacts]:
        known, context, now = self.evidence, self.context, self.now
        found = [
            gather_facts_under(rule, file, known.get((file.filename, file.sha256)), context, now)  # type: ignore[arg-type]  # a file without a digest has no evidence
            for file in self.project.files
        ]
        for place in context.compute_once(find_duplicates):
            found[place].is_duplicate = True
        return found

    def _is_exempt(self, rule: CompiledRule, facts: FileFacts, code: ReasonCode) -> bool:
        """Return whether a file must not be withheld because of the verdicts on other files.

        This is so if a pin approves the file, or if a waiver for the file lifts reasons with `code`.
        """
        return facts.file.sha256 in rule.pins or any(
            code in each.lifted_codes and each.expires > self.now and each.covers(facts.file, facts.effective_time)
            for each in rule.waivers
        )


def find_settled_withheld(
    policy: Policy, project: NormalizedName, verdicts: Sequence[Verdict], now: datetime
) -> list[File]:
    """Return the withheld files whose evidence is unknown and could establish a publisher, in the order of the page.

    These files stay withheld, whatever their evidence is. The evidence is needed only for other files: the ratchet
    cannot decide a later file until the publishers are known that these files establish.
    """
    settle_time = compiled.compile_rule(policy, project).ratchet_settle
    return [each.file for each in verdicts if _may_have_established(each, settle_time, now)]


def _has_unknown_evidence(verdict: Verdict, settle_time: timedelta, now: datetime) -> bool:
    """Return whether evidence that is not known yet may have established a publisher by now."""
    return isinstance(verdict, Undecided) or _may_have_established(verdict, settle_time, now)


def _may_have_established(verdict: Verdict, settle_time: timedelta, now: datetime) -> bool:
    """Return whether a verdict is on a withheld file whose unknown evidence may have established a publisher by now."""
    if not isinstance(verdict, Withheld) or verdict.enforced or verdict.evidence is not None:
        return False
    uploaded = verdict.file.upload_time
    return uploaded is None or add_duration(uploaded, settle_time) <= now


def _order_by_time(all_facts: list[FileFacts], context: PageContext) -> tuple[Iterable[int], Sequence[datetime] | None]:
    """Return the positions on the page in order of time, and the time of each position.

    If no file can affect the verdict on another file, the order does not matter. Then return the positions in the order
    of the page, and None.
    """
    places = range(len(all_facts))
    if not context.signers_by_file and not any(each.relevant_attestations for each in all_facts):
        unknown = sum(each.evidence is None for each in all_facts)
        if unknown in {0, len(all_facts)}:
            return places, None
    filenames = [each.file.filename for each in all_facts]
    moments = [_sort_time(each) for each in all_facts]
    # Sort by time, then by filename, not by the order of the page. Two stable sorts are faster than comparing pairs.
    return sorted(sorted(places, key=filenames.__getitem__), key=moments.__getitem__), moments


def _sort_time(facts: FileFacts) -> datetime:
    """Return the effective time of a file, or a substitute for sorting if the effective time is unknown.

    If the evidence is not known yet, the substitute is the earliest possible instant. Otherwise it is the latest one.
    """
    if facts.effective_time is not None:
        return facts.effective_time
    return _MIN_INSTANT if facts.evidence is None else _MAX_INSTANT
