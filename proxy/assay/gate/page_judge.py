"""Judgement of one page in steps: without evidence, then with evidence, then the record in the ledger.

This module owns the order of the steps. `policy` computes the verdicts; the gate decides if a `JudgedPage` is still
current.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from assay import telemetry
from assay.errors import LedgerError
from assay.evidence import INDEX_SOURCE, Evidence, Forged
from assay.files.failed_metadata import FailedMetadata
from assay.files.wheel_metadata import WheelMetadata, apply_own_metadata, find_mismatched
from assay.gate import absent_project
from assay.gate.hidden_versions import HiddenReport, HiddenVersion, find_hidden_versions
from assay.gate.judged_page import Dependencies, JudgedPage, index_by_location
from assay.gate.ledger_grace import require_confirmed
from assay.gate.page_advisories import PageAdvisories, ProjectAdvisories
from assay.indexes import IndexSettings, allowed_file_hosts
from assay.policy.first_sight import find_clock_corrections
from assay.policy.judge import (
    Answered,
    IndexFacts,
    SourceFacts,
    derive_ledger_changes,
    find_mode,
    find_next_change,
    find_settled_withheld,
    judge_page_in_mode,
)
from assay.policy.language.model import Mode, Policy, Showing
from assay.policy.shown_advisories import ShownAdvisory, select_shown
from assay.policy.tombstones import make_tombstones
from assay.policy.verdict import Approved, Undecided, Verdict, Withheld
from assay.ports import Flights, HistoryChanges, IndexPage, Ledger, ProjectHistory
from assay.provenance.collector import CollectedEvidence
from assay.provenance.documents import FileEvidence, FileKey, file_key
from assay.provenance.failures import DocumentFailure
from assay.provenance.resolver import Resolution
from assay.provenance.service import ProvenanceService
from assay.render import PageListing
from assay.simple.model import File, NormalizedName, Project, Sha256
from assay.telemetry import tracing
from assay.telemetry.metrics import VERDICTS

_MAX_ROUNDS = 20
"""Limit on the attempts to judge a page. An attempt fails if another writer changes the project's history meanwhile."""
_OFFLOAD_MIN_FILES = 400
"""Smallest number of files for which a page is judged in a thread: judging it takes milliseconds."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """All inputs of the verdicts on a page except the evidence."""

    policy: Policy
    page: IndexPage
    project: Project
    """Project on the page, with two changes. Failed promises of METADATA are left out (`FailedMetadata`). For inspected
    wheels, the digest of the METADATA in the wheel replaces the METADATA digest on the page."""
    mismatched_wheels: frozenset[Sha256]
    dependencies: Dependencies
    history: ProjectHistory
    advisories: ProjectAdvisories
    now: datetime
    sources: tuple[SourceFacts, ...]

    @property
    def facts(self) -> IndexFacts:
        return IndexFacts(name=self.page.index.name, hosts=allowed_file_hosts(self.page.index))

    async def offload_if_large(self, work: Callable[[], _T]) -> _T:
        """Return the result of pure work on the page; run it in a thread if it has many files or advisories."""
        # A comparison with a range's event takes about a hundredth of the time for a file.
        each_file = 1 + sum(1 + each.event_count // 100 for each in self.advisories.records)
        is_large = len(self.project.files) * each_file >= _OFFLOAD_MIN_FILES
        return await asyncio.to_thread(work) if is_large else work()

    async def decide(self, found: Resolution) -> tuple[Verdict, ...]:
        return await self.offload_if_large(
            partial(
                judge_page_in_mode,
                self.policy,
                self.project,
                index=self.facts,
                history=self.history,
                now=self.now,
                mismatched_wheels=self.mismatched_wheels,
                advisories=self.advisories.records,
                sources=self.sources,
                evidence=found.merge(),
                answered=self.list_answered(found),
            ),
        )

    def list_answered(self, found: Resolution) -> Answered:
        """Return the questions to sources beside the index that need not be asked again for the verdicts, by file.

        In audit mode, a file is approved whatever the answer is, so a source that fails does not delay it.
        """
        mode = find_mode(self.policy, self.project.name)
        return found.list_answered(with_failures=mode is Mode.AUDIT)

    async def derive_changes(
        self, verdicts: tuple[Verdict, ...], evidence: Mapping[FileKey, Evidence], found: Resolution
    ) -> HistoryChanges:
        return await self.offload_if_large(
            partial(
                derive_ledger_changes,
                self.policy,
                self.project,
                url=self.page.index.url,
                is_rolled_back=self.page.is_rolled_back
                or self.history.is_before_forgotten_serial(self.page.confirmed_at),
                index=self.facts,
                history=self.history,
                verdicts=verdicts,
                now=self.now,
                evidence=evidence,
                mismatched_wheels=self.mismatched_wheels,
                advisories=self.advisories.records,
                sources=self.sources,
                answered=self.list_answered(found),
            ),
        )


class PageJudge:
    """Judge of pages for one view.

    All views share one ledger. This is safe because the ledger has facts and no verdicts, so an approval by a lax
    policy cannot weaken a strict one. First digests, first sights and serials are statements of the index. Evidence is
    the result of verification. Both are the same for every view. A file establishes its publisher only under two
    conditions: the ratchet finds no fault with the file in any mode, and the judging policy counts the signature of the
    file (`policy.judge`).
    """

    def __init__(
        self,
        *,
        view: str,
        provenance: ProvenanceService,
        wheels: WheelMetadata,
        failed_metadata: FailedMetadata,
        advisories: PageAdvisories,
        ledger: Ledger,
        flights: Flights,
        clock: Callable[[], datetime],
        evidence_timeout: timedelta,
        withheld: Showing | None = None,
    ) -> None:
        self._view = view
        self._withheld = withheld
        self._evidence_timeout_seconds = evidence_timeout.total_seconds()
        self._provenance = provenance
        self._wheels = wheels
        self._failed_metadata = failed_metadata
        self._advisories = advisories
        self._ledger = ledger
        self._flights = flights
        self._clock = clock

    def get_dependencies(
        self, policy: Policy, index: IndexSettings, name: NormalizedName, *, ledger_version: str | int
    ) -> Dependencies:
        """Return the current digest or version of each input of verdicts, except for the page and the clock."""
        return {
            "policy": policy.digest,
            "roots": self._provenance.resolver.roots_digest,
            "evidence": self._provenance.resolver.local_version,
            "wheels": self._wheels.get_facts_version(index, name),
            "metadata": self._failed_metadata.get_version(index, name),
            "advisories": self._advisories.get_version(index, name),
            "ledger": ledger_version,
        }

    def choose_showing(self, policy: Policy) -> Showing:
        """Return the listing of withheld versions on pages: that of the view, or else that of its policy."""
        return self._withheld or policy.withheld

    async def judge(self, policy: Policy, page: IndexPage) -> JudgedPage:
        """Judge every file of a page; return the judged page after the ledger has durably recorded the new facts.

        Raises:
            AssayError: required evidence cannot be obtained now, or the ledger cannot be read or written.
        """
        index, project = page.index, page.project
        with tracing.span("judge", index=index.name, project=project.name, files=len(project.files)):
            for _ in range(_MAX_ROUNDS):
                # Read again in each round: if another view recorded first digests meanwhile, they bind this view too.
                history = await self._correct_times(index, project.name)
                if (judged := await self._judge(policy, page, history)) is not None:
                    return judged
        raise LedgerError(f"the history of {project.name} changed {_MAX_ROUNDS} times while its page was judged")

    async def note_rollback(self, index: IndexSettings, name: NormalizedName, history: ProjectHistory) -> None:
        """Record that the index sends a lower serial from now on, unless an earlier time is recorded.

        If another writer was faster, nothing is written, and the next renewal of the page records it.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        now = self._clock()
        if history.rollback_since is None or history.rollback_since > now:
            await self._ledger.record(index.name, name, HistoryChanges(rollback_since=now), known=history)

    async def _correct_times(self, index: IndexSettings, name: NormalizedName) -> ProjectHistory:
        """Return the ledger's facts about a project, after first-seen times later than now were set to now.

        Raises:
            LedgerError: the ledger cannot be read or written.
        """
        history = await self._ledger.get_history(index.name, name)
        corrected = find_clock_corrections(history, self._clock())
        if not corrected:
            return history
        recorded = await self._ledger.record(index.name, name, HistoryChanges(corrected_times=corrected), known=history)
        if recorded is None:  # another writer was faster; the judgement ends with a comparison of the facts
            return await self._ledger.get_history(index.name, name)
        telemetry.warning("clock-went-back", index=index.name, project=name, files=len(corrected))
        return recorded

    async def _judge(self, policy: Policy, page: IndexPage, history: ProjectHistory) -> JudgedPage | None:
        """Return the judged page, or None if the ledger's facts no longer match `history`."""
        index, name = page.index, page.project.name
        await self._failed_metadata.load(index, name)
        now = self._clock()
        dependencies = self.get_dependencies(policy, index, name, ledger_version=history.version)
        if page.is_absent:
            return absent_project.make_absent_page(policy, self.choose_showing(policy), page, dependencies)
        advisories = await self._advisories.find(index, name)  # those of `dependencies`: nothing was awaited since
        facts = await self._wheels.load_facts(index, name)
        case = _Case(
            policy=policy,
            page=page,
            project=apply_own_metadata(self._failed_metadata.withdraw(index, page.project), facts),
            mismatched_wheels=find_mismatched(page.project, facts),
            dependencies=dependencies,
            history=history,
            advisories=advisories,
            now=now,
            sources=self._provenance.resolver.source_facts,
        )
        verdicts = await case.decide(Resolution())
        if not any(isinstance(verdict, Undecided) for verdict in verdicts):
            return await self._conclude(case, verdicts, Resolution())
        # A flight apart from the page's, so that a view that needs no evidence does not wait for one that does.
        async with self._flights.flight(f"evidence:{index.name}:{name}", _never_done):
            latest = await self._ledger.get_history(index.name, name)
            if not history.has_same_facts(latest):
                # Judged again here and not in the next round: with many views, each view that records something would
                # cost all others a round.
                case = replace(case, history=latest, now=self._clock())
                verdicts = await case.decide(Resolution())
            return await self._conclude(case, *await self._decide_with_evidence(case, verdicts, Resolution()))

    async def preview(
        self, policy: Policy, page: IndexPage, evidence: Mapping[FileKey, Evidence]
    ) -> tuple[Verdict, ...]:
        """Judge a page that is not published yet; record nothing.

        Args:
            policy: the policy.
            page: the page as it would be after an upload.
            evidence: evidence about the uploaded file, which no source offers yet.

        Raises:
            LedgerUnavailableError: the database of the ledger is away.
            AssayError: required evidence about other files cannot be obtained now.
        """
        index, name = page.index, page.project.name
        history = await self._correct_times(index, name)
        require_confirmed(history)
        facts = await self._wheels.load_facts(index, name)
        advisories = await self._advisories.find(index, name)
        case = _Case(
            policy=policy,
            page=page,
            project=apply_own_metadata(page.project, facts),
            mismatched_wheels=find_mismatched(page.project, facts),
            dependencies=self.get_dependencies(policy, index, name, ledger_version=history.version),
            history=history,
            now=self._clock(),
            advisories=advisories,
            sources=self._provenance.resolver.source_facts,
        )
        own = {key: FileEvidence(evidence=each, document=None) for key, each in evidence.items()}
        known = Resolution(by_source={INDEX_SOURCE: CollectedEvidence(by_file=own)})
        verdicts, _ = await self._decide_with_evidence(case, await case.decide(known), known)
        return verdicts

    async def _decide_with_evidence(
        self, case: _Case, verdicts: tuple[Verdict, ...], known: Resolution
    ) -> tuple[tuple[Verdict, ...], Resolution]:
        """Ask for the evidence that can change the verdicts.

        Args:
            case: the page with its facts.
            verdicts: verdicts from `known`.
            known: evidence from the index that is known already. It is not asked for again.
        """
        found = known
        asked = {(name, key) for name, each in known.by_source.items() for key in each.by_file}
        started = asyncio.get_running_loop().time()
        while found.is_complete and (
            wanted := await case.offload_if_large(partial(_find_wanted, case, verdicts, asked))
        ):
            seconds = self._evidence_timeout_seconds
            if INDEX_SOURCE not in wanted:
                # Files that are approved without these sources must not wait longer than for the index alone.
                seconds = max(0.0, started + seconds - asyncio.get_running_loop().time())
            found = found.join(await self._provenance.resolve(case.page, wanted, case.history, timeout_seconds=seconds))
            verdicts = await case.decide(found)
        return verdicts, found

    async def _conclude(self, case: _Case, verdicts: tuple[Verdict, ...], found: Resolution) -> JudgedPage | None:
        """Record the new facts and return the judged page; None if the ledger no longer matches the case's history."""
        page, project = case.page, case.project
        decided = tuple(verdict for verdict in verdicts if not isinstance(verdict, Undecided))
        undecided = tuple(verdict for verdict in verdicts if isinstance(verdict, Undecided))
        failures = _find_failures(undecided, found)
        if found.is_complete and len(failures) < len({verdict.file.location for verdict in undecided}):
            raise RuntimeError(f"{project.name}: a file is undecided although its evidence is known")
        evidence = found.merge()
        changes = replace(
            await case.derive_changes(verdicts, evidence, found),
            evidence=_find_changed_documents(case.history, found.index_documents()),
        )
        showing = self.choose_showing(case.policy)
        listing, hidden = await case.offload_if_large(partial(_list_versions, case, showing, verdicts))
        latest = await self._update_ledger(page, case.history, changes)
        if latest is None:
            return None
        _count_verdicts(self._view, verdicts)
        return JudgedPage(
            page=page,
            dependencies={**case.dependencies, "ledger": latest.version},
            is_confirmed=latest.is_confirmed,
            has_failed_evidence=bool(undecided) or any(isinstance(each, Forged) for each in evidence.values()),
            listing=listing,
            hidden=HiddenReport(versions=hidden) if hidden else None,
            by_location=index_by_location(verdicts),
            advisories_digest=case.advisories.digest,
            valid_until=_find_valid_until(decided, found, listing.advisories, case.now),
            failures=failures,
            sources=tuple(sorted(found.by_source)),
        )

    async def _update_ledger(
        self, page: IndexPage, history: ProjectHistory, changes: HistoryChanges
    ) -> ProjectHistory | None:
        """Record `changes` and return the new history; do nothing and return None if `history` is outdated."""
        index, name = page.index.name, page.project.name
        if not changes:
            latest = await self._ledger.get_history(index, name)
            return latest if history.has_same_facts(latest) else None
        # Written before the page is served, so that a crash cannot lose facts that a served page relied on.
        return await self._ledger.record(index, name, changes, known=history)


async def _never_done() -> bool:
    """Return False, because each view must judge the page itself. It reuses evidence that other views have recorded."""
    return False


def _find_wanted(case: _Case, verdicts: Sequence[Verdict], asked: set[tuple[str, FileKey]]) -> dict[str, list[File]]:
    """Return the files whose evidence must be fetched next, by the name of the evidence source.

    First, return the undecided files. If a file remains undecided after all sources were asked about the undecided
    files, return withheld files. The ratchet needs their evidence, because they could establish a publisher.

    Args:
        case: inputs of the verdicts.
        verdicts: the current verdicts.
        asked: pairs of source and file that were returned before. They are left out, so that each source is asked only
            once about a file. The new pairs are added.
    """
    undecided = [verdict for verdict in verdicts if isinstance(verdict, Undecided)]
    questions = [(source, verdict.file) for verdict in undecided for source in verdict.wants]
    wanted = _select_unasked(questions, asked)
    if undecided and not wanted:
        withheld = find_settled_withheld(case.policy, case.project.name, verdicts, case.now)
        wanted = _select_unasked([(INDEX_SOURCE, file) for file in withheld], asked)
    return wanted


def _select_unasked(questions: Sequence[tuple[str, File]], asked: set[tuple[str, FileKey]]) -> dict[str, list[File]]:
    wanted: dict[str, list[File]] = {}
    for source, file in questions:
        if (question := (source, file_key(file))) not in asked:
            asked.add(question)
            wanted.setdefault(source, []).append(file)
    return wanted


def _find_valid_until(
    verdicts: Sequence[Approved | Withheld], found: Resolution, shown: Sequence[ShownAdvisory], now: datetime
) -> datetime | None:
    """Return the next instant at which time changes a verdict or the page, or a failed document may be fetched again.

    Ignore failed documents while evidence is still being collected. At the end of the collection, a notice makes the
    gate judge the page again.
    """
    change = find_next_change(verdicts)
    next_try = found.next_try if found.is_complete else None
    ends = (each.ignored_until for each in shown)
    instants = (change, next_try if next_try is not None and next_try > now else None, *ends)
    return min((instant for instant in instants if instant is not None), default=None)


def _find_failures(undecided: Sequence[Undecided], found: Resolution) -> dict[str, DocumentFailure]:
    """Return the failures that prevent decisions, by the location of the undecided file.

    If the result has no failure for an undecided file, the file is still being decided. If the file's own provenance
    document is known, the ratchet needs the document of an earlier file. The failure for the file is then the failure
    to fetch that document.
    """
    own = found.failures
    earlier = min(own.values(), key=lambda each: each.retry_at, default=None) if found.is_complete else None
    failures = ((each.file.location, own.get(file_key(each.file), earlier)) for each in undecided)
    return {location: failure for location, failure in failures if failure is not None}


def _list_versions(
    case: _Case, showing: Showing, verdicts: tuple[Verdict, ...]
) -> tuple[PageListing, tuple[HiddenVersion, ...]]:
    """Return the page's listing, and the versions that installers may pass over in silence."""
    listing = PageListing(
        project=case.project,
        undecided=tuple(verdict.file for verdict in verdicts if isinstance(verdict, Undecided)),
        approved=tuple(verdict for verdict in verdicts if isinstance(verdict, Approved)),
        withheld=tuple(verdict for verdict in verdicts if isinstance(verdict, Withheld)),
        tombstones=make_tombstones(showing, verdicts),
        show_withheld=case.policy.show_withheld,
        advisories=select_shown(case.policy, case.project.name, case.project.files, case.advisories.records, case.now),
    )
    return listing, find_hidden_versions(verdicts) if listing.withheld else ()


def _count_verdicts(view: str, verdicts: Sequence[Verdict]) -> None:
    """Count the verdicts in metrics, by rule and first reason. For an approved file, count the first lifted reason."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for verdict in verdicts:
        if isinstance(verdict, Undecided):
            counted["undecided", "", ""] += 1
        elif isinstance(verdict, Approved):
            lifted = verdict.despite[0].code.value if verdict.despite else ""
            counted["lifted" if lifted else "approved", verdict.rule, lifted] += 1
        else:
            counted["withheld", verdict.rule or "", verdict.reasons[0].code.value] += 1
    for labels, count in counted.items():
        VERDICTS.labels(view, *labels).inc(count)


def _find_changed_documents(history: ProjectHistory, documents: Mapping[FileKey, Sha256]) -> dict[Sha256, str]:
    """Return the provenance documents that differ from those in the ledger, as document digests by file digest.

    Documents that an operator declared wrong are left out.
    """
    return {
        digest: document
        for (_, digest), document in documents.items()
        if history.evidence.get(digest) != document and not history.forgotten.has_document(digest, document)
    }
