"""Judging a page: every file's verdict in one self-consistent pass, and what the ledger must learn from it. Pure.

The gate's API. `decide_page` is what it serves by: `judge_page`, then `admit` in the mode that governs the project. An
`Undecided` whose evidence is known waits for the evidence of the page's other `Undecided` files, for the ratchet; once
all evidence is known, nothing is undecided.

What the clock alone changes next on a page is the earliest `changes_at` of all its verdicts (`next_change`): one file's
verdict may rest on another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from packaging.version import Version

from assay.evidence import Attested, Evidence
from assay.policy import compiled
from assay.policy.candidate import Context, Exhibit, IndexFacts, base_time, exhibit
from assay.policy.compiled import Terms, is_denied
from assay.policy.decide import decide
from assay.policy.language.model import Mode, Policy, RatchetMode
from assay.policy.ratchet import builds_on_wheels, facts_of, remember
from assay.policy.release import hold_whole, name_nearest
from assay.policy.verdict import Approved, Code, Undecided, Verdict, Withheld, approve
from assay.ports import Changes, Established, History, Seen
from assay.simple.model import File, Kind, NormalizedName, Project, Sha256

__all__ = [
    "Context",
    "IndexFacts",
    "admit",
    "changes_of",
    "decide_page",
    "is_denied",
    "judge",
    "judge_page",
    "metadata_from_wheel",
    "mode_for",
    "next_change",
]

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_NOT_SEEN = frozenset(
    {Code.BAD_FILENAME, Code.OTHER_PROJECT, Code.URL_MISMATCH, Code.DUPLICATE, Code.NO_SHA256, Code.FOREIGN_HOST}
)
"""Entries whose digest the ledger must not take for the first one of that filename."""


def judge(policy: Policy, file: File, evidence: Evidence | None, context: Context, now: datetime) -> Verdict:
    """The verdict on one file in the circumstances that `context` states, ignoring mode.

    `evidence` is None where it is not known yet. `judge_page` makes the circumstances of a page itself.
    """
    terms = compiled.terms(policy, context.project)
    return decide(exhibit(file, evidence, terms, context, now), terms, context, now)


def judge_page(
    policy: Policy,
    project: Project,
    *,
    index: IndexFacts,
    history: History,
    evidence: Mapping[tuple[str, Sha256], Evidence],
    now: datetime,
    mismatched: frozenset[Sha256] = frozenset(),
) -> tuple[Verdict, ...]:
    """A verdict for each of `project.files`, in their order, ignoring mode.

    Args:
        policy: what is approved.
        project: the page as parsed.
        index: whose page it is.
        history: what the ledger knows of the project on this index.
        evidence: by filename and digest; what is absent is not known yet.
        now: UTC.
        mismatched: wheels whose own METADATA contradicts the index's.
    """
    context = _context(policy, project, index, history, mismatched)
    return _Sitting(policy, project, context, evidence, now).verdicts


def decide_page(
    policy: Policy,
    project: Project,
    *,
    index: IndexFacts,
    history: History,
    evidence: Mapping[tuple[str, Sha256], Evidence],
    now: datetime,
    mismatched: frozenset[Sha256] = frozenset(),
) -> tuple[Verdict, ...]:
    """As `judge_page`, in the mode that governs the project: what the gate serves by."""
    verdicts = judge_page(
        policy, project, index=index, history=history, evidence=evidence, now=now, mismatched=mismatched
    )
    mode = mode_for(policy, project.name)
    if mode is Mode.ENFORCE:
        return verdicts
    return tuple(each if isinstance(each, Undecided) else admit(mode, each) for each in verdicts)


def admit(mode: Mode, verdict: Approved | Withheld) -> Approved | Withheld:
    """What becomes of a verdict in a mode: "audit mode lifts step 6 only"."""
    if mode is Mode.ENFORCE or isinstance(verdict, Approved) or verdict.enforced:
        return verdict
    return approve(
        verdict.file,
        rule=verdict.rule or "",
        evidence=verdict.evidence,
        despite=verdict.reasons,
        notes=("audit mode: it would be withheld",),
        changes_at=verdict.changes_at,
    )


def mode_for(policy: Policy, project: NormalizedName) -> Mode:
    """Whether requirements are enforced for this project."""
    return compiled.terms(policy, project).mode


def metadata_from_wheel(policy: Policy, project: NormalizedName) -> bool:
    """Whether metadata is served only from verified wheels (`metadata = "wheel"`)."""
    return compiled.terms(policy, project).metadata_from_wheel


def next_change(verdicts: Iterable[Verdict]) -> datetime | None:
    """The next instant at which the clock alone could change anything on the page."""
    instants = (each.changes_at for each in verdicts if not isinstance(each, Undecided))
    return min((instant for instant in instants if instant is not None), default=None)


def changes_of(
    policy: Policy,
    project: Project,
    *,
    index: IndexFacts,
    history: History,
    verdicts: Sequence[Verdict],
    evidence: Mapping[tuple[str, Sha256], Evidence],
    now: datetime,
    mismatched: frozenset[Sha256] = frozenset(),
) -> Changes:
    """What the ledger must learn from a judged page before it is answered; the gate adds the provenance digests."""
    files = {
        file.filename: Seen(sha256=file.sha256, first_seen=now, late=history.known)
        for file, verdict in zip(project.files, verdicts, strict=True)
        if file.sha256 is not None and file.filename not in history.files and _is_seen(verdict)
    }
    established: tuple[Established, ...] = ()
    if _may_establish(verdicts, history):
        context = _context(policy, project, index, history, mismatched)
        known = {(each.filename, each.sha256, each.identity) for each in history.established}
        approved = _Sitting(policy, project, context, evidence, now, learning=True).approved
        facts = (fact for each in approved for fact in facts_of(each, context))
        established = tuple(fact for fact in facts if (fact.filename, fact.sha256, fact.identity) not in known)
    is_newer = project.serial is not None and (history.serial is None or project.serial > history.serial)
    return Changes(serial=project.serial if is_newer else None, files=files, established=established)


def _is_seen(verdict: Verdict) -> bool:
    return not isinstance(verdict, Withheld) or all(reason.code not in _NOT_SEEN for reason in verdict.reasons)


def _may_establish(verdicts: Sequence[Verdict], history: History) -> bool:
    known = {(each.filename, each.sha256) for each in history.established}
    return any(
        isinstance(each, Approved)
        and isinstance(each.evidence, Attested)
        and (each.file.filename, each.file.sha256) not in known
        for each in verdicts
    )


def _context(
    policy: Policy, project: Project, index: IndexFacts, history: History, mismatched: frozenset[Sha256]
) -> Context:
    terms = compiled.terms(policy, project.name)
    facts: dict[tuple[str, Sha256 | None], tuple[Established, ...]] = {}
    for fact in history.established:
        key = (fact.filename, fact.sha256)
        facts[key] = (*facts.get(key, ()), fact)
    return Context(
        project=project.name,
        index=index,
        status=project.status,
        history=history,
        repeated=_repeated(project.files),
        releases=_releases(project.files, history) if terms.late_files is not None else {},
        mismatched=mismatched,
        facts=facts,
    )


def _repeated(files: tuple[File, ...]) -> frozenset[str]:
    """Filenames that stand more than once with different digests; having none is a difference."""
    if len({file.filename for file in files}) == len(files):
        return frozenset()
    counts = Counter(file.filename for file in files)
    digests: dict[str, set[Sha256 | None]] = {}
    for file in files:
        if counts[file.filename] > 1:
            digests.setdefault(file.filename, set()).add(file.sha256)
    return frozenset(name for name, found in digests.items() if len(found) > 1 or None in found)


def _releases(files: tuple[File, ...], history: History) -> dict[Version, datetime]:
    """When the first file of each version appeared, so far as pages tell."""
    first: dict[Version, datetime] = {}
    for file in files:
        # The clock plays no part: what appears only now is the first of its release, or later than the first.
        seen = history.files.get(file.filename)
        time = base_time(file, seen, history, _LAST)
        if time is None and seen is not None:
            time = seen.first_seen  # by then it was there
        if file.distribution is not None and time is not None:
            version = file.distribution.version
            first[version] = min(time, first.get(version, time))
    return first


@dataclass(slots=True)
class _Sitting:
    """One judgement of one page."""

    policy: Policy
    project: Project
    context: Context
    evidence: Mapping[tuple[str, Sha256], Evidence]
    now: datetime
    learning: bool = False
    """Whether anybody asks for `approved`."""
    verdicts: tuple[Verdict, ...] = ()
    approved: list[Exhibit] = field(default_factory=list)
    """Those that may establish somebody, in the order of time."""

    def __post_init__(self) -> None:
        terms = compiled.terms(self.policy, self.project.name)
        exhibits = self._exhibits(terms)
        found: list[Verdict] = [None] * len(exhibits)  # type: ignore[list-item]  # each is filled in below
        wheels = _wheels(self.project.files) if terms.whole else frozenset()
        context, now, continuity, pins = self.context, self.now, self.context.continuity, terms.pins
        for place in _in_order(exhibits, terms, context):
            each = exhibits[place]
            if not terms.whole:
                # Let go of, since each object alive brings on the collector, which then looks at all that there are:
                # at 40,000 files it takes a third of the time.
                exhibits[place] = None  # type: ignore[call-overload]  # nobody looks there again
            verdict = found[place] = decide(each, terms, context, now)
            if each.evidence is None:
                if isinstance(verdict, Undecided):
                    continuity.open = True
            elif (each.counted or context.facts) and isinstance(verdict, Approved):
                # A pin approves "exactly that file", so that it speaks for no other.
                if (pins and each.file.sha256 in pins) or (terms.whole and builds_on_wheels(each, wheels)):
                    continue
                if not each.familiar:
                    remember(each, terms, context, now)
                if self.learning:
                    self.approved.append(each)
        if terms.whole:
            hold_whole(found, exhibits, terms, self.now)
        name_nearest(found)
        self.verdicts = tuple(found)

    def _exhibits(self, terms: Terms) -> list[Exhibit]:
        known, context, now = self.evidence, self.context, self.now
        found = [
            exhibit(file, known.get((file.filename, file.sha256)), terms, context, now)  # type: ignore[arg-type]  # no digest: no evidence
            for file in self.project.files
        ]
        if len({file.filename for file in self.project.files}) < len(found):
            names: set[str] = set()
            for each in found:
                each.again = each.file.filename in names and each.file.filename not in context.repeated
                names.add(each.file.filename)
        return found


def _in_order(exhibits: list[Exhibit], terms: Terms, context: Context) -> Iterable[int]:
    """The order of time, wherever what one file establishes can matter to another; else the page's."""
    places = range(len(exhibits))
    if terms.ratchet is RatchetMode.OFF and terms.min_age_attested == terms.min_age:
        return places
    if not context.facts and not any(each.counted for each in exhibits):
        unknown = sum(each.evidence is None for each in exhibits)
        if unknown in {0, len(exhibits)}:
            return places
    filenames = [each.file.filename for each in exhibits]
    moments = [_moment(each) for each in exhibits]
    # Two stable sorts, because comparing pairs costs more than both: ties go by filename, not by the page's order.
    return sorted(sorted(places, key=filenames.__getitem__), key=moments.__getitem__)


def _moment(each: Exhibit) -> datetime:
    """Where a file stands in time: as early as it may be while its evidence is not known, else as late."""
    if each.time is not None:
        return each.time
    return _FIRST if each.evidence is None else _LAST


def _wheels(files: tuple[File, ...]) -> frozenset[Version]:
    distributions = (file.distribution for file in files)
    return frozenset(each.version for each in distributions if each is not None and each.kind is Kind.WHEEL)
