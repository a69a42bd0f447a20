"""The judgement of one page: without evidence, with it, and what the ledger must record before the page is served.

Owns the order of these steps. `policy` has the verdicts; the gate decides whether a `JudgedPage` is still current.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from assay.errors import LedgerError
from assay.evidence import Evidence, Forged
from assay.files.wheel_metadata import WheelMetadata, apply_own_metadata, find_mismatched
from assay.gate import absent_project
from assay.gate.judged_page import Dependencies, JudgedPage, index_by_location
from assay.indexes import IndexSettings, allowed_file_hosts
from assay.policy.judge import IndexFacts, derive_ledger_changes, find_next_change, judge_page_in_mode
from assay.policy.language.model import Policy, Showing
from assay.policy.reasons import make_tombstones
from assay.policy.verdict import Approved, Undecided, Verdict, Withheld
from assay.ports import Flights, HistoryChanges, IndexPage, Ledger, ProjectHistory
from assay.provenance.documents import FileKey, file_key
from assay.provenance.resolver import Resolution
from assay.provenance.service import ProvenanceService
from assay.render import PageListing
from assay.simple.model import File, NormalizedName, Project, Sha256
from assay.telemetry import tracing
from assay.telemetry.metrics import VERDICTS

_MAX_ROUNDS = 20
"""Times that a page is judged because another writer has changed the project's history meanwhile."""
_OFFLOAD_MIN_FILES = 400
"""Files of a page from which on judging takes milliseconds."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A page, a policy and an instant: all that verdicts follow from but history and evidence."""

    policy: Policy
    page: IndexPage
    project: Project
    """As the page has it, with each known wheel's own METADATA."""
    mismatched_wheels: frozenset[Sha256]
    dependencies: Dependencies
    history: ProjectHistory
    now: datetime

    @property
    def facts(self) -> IndexFacts:
        return IndexFacts(name=self.page.index.name, hosts=allowed_file_hosts(self.page.index))

    async def decide(self, evidence: Mapping[FileKey, Evidence]) -> tuple[Verdict, ...]:
        return await _offload_if_large(
            self.project,
            partial(
                judge_page_in_mode,
                self.policy,
                self.project,
                index=self.facts,
                history=self.history,
                now=self.now,
                mismatched_wheels=self.mismatched_wheels,
                evidence=evidence,
            ),
        )

    async def derive_changes(
        self, verdicts: tuple[Verdict, ...], evidence: Mapping[FileKey, Evidence]
    ) -> HistoryChanges:
        return await _offload_if_large(
            self.project,
            partial(
                derive_ledger_changes,
                self.policy,
                self.project,
                index=self.facts,
                history=self.history,
                verdicts=verdicts,
                now=self.now,
                evidence=evidence,
                mismatched_wheels=self.mismatched_wheels,
            ),
        )


class PageJudge:
    """Judges pages for one view.

    The ledger is that of all views, because it holds facts: an approval by a lax policy cannot loosen a strict one. A
    publisher is established only through a file that the policy in hand approves in the same sitting
    (`policy.judge`), and whose signature that policy, where it sees it, counts
    (`policy.signers.find_signers`). First digests, first sights, serials and evidence are what the index said and
    what was proven, whoever asked.
    """

    def __init__(
        self,
        *,
        view: str,
        provenance: ProvenanceService,
        wheels: WheelMetadata,
        ledger: Ledger,
        flights: Flights,
        clock: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._provenance = provenance
        self._wheels = wheels
        self._ledger = ledger
        self._flights = flights
        self._clock = clock

    def get_dependencies(
        self, policy: Policy, index: IndexSettings, name: NormalizedName, *, ledger_version: str | int
    ) -> Dependencies:
        """Return what the verdicts on a project depend on now, besides its page and the clock."""
        return {
            "policy": policy.digest,
            "roots": self._provenance.resolver.roots_digest,
            "wheels": self._wheels.get_facts_version(index, name),
            "ledger": ledger_version,
        }

    async def judge(self, policy: Policy, page: IndexPage) -> JudgedPage:
        """Return every file's verdict, after the ledger has learned what it must.

        Raises:
            AssayError: evidence is needed and not to be had now, or the ledger cannot be read or written.
        """
        index, project = page.index, page.project
        with tracing.span("judge", index=index.name, project=project.name, files=len(project.files)):
            for _ in range(_MAX_ROUNDS):
                # Where another view has judged this project meanwhile, what it saw first is the first for this one too.
                history = await self._ledger.get_history(index.name, project.name)
                if (judged := await self._judge(policy, page, history)) is not None:
                    return judged
        raise LedgerError(f"the history of {project.name} changed {_MAX_ROUNDS} times while its page was judged")

    async def _judge(self, policy: Policy, page: IndexPage, history: ProjectHistory) -> JudgedPage | None:
        """Return the verdicts, or None if the ledger has learned more than `history` meanwhile."""
        index, name = page.index, page.project.name
        now = self._clock()
        dependencies = self.get_dependencies(policy, index, name, ledger_version=history.version)
        if page.is_absent:
            return absent_project.make_absent_page(policy, page, dependencies)
        facts = await self._wheels.load_facts(index, name)
        case = _Case(
            policy=policy,
            page=page,
            project=apply_own_metadata(page.project, facts),
            mismatched_wheels=find_mismatched(page.project, facts),
            dependencies=dependencies,
            history=history,
            now=now,
        )
        verdicts = await case.decide({})
        if not any(isinstance(verdict, Undecided) for verdict in verdicts):
            return await self._conclude(case, verdicts, Resolution())
        # Apart from the page's flight, so that a view that needs no evidence does not wait for one that does.
        async with self._flights.flight(f"evidence:{index.name}:{name}", _never_done):
            latest = await self._ledger.get_history(index.name, name)
            if not history.has_same_facts(latest):
                # Not left to the next round: of many views, each that records something would cost the others one.
                case = replace(case, history=latest, now=self._clock())
                verdicts = await case.decide({})
            return await self._conclude(case, *await self._decide_with_evidence(case, verdicts))

    async def _decide_with_evidence(
        self, case: _Case, verdicts: tuple[Verdict, ...]
    ) -> tuple[tuple[Verdict, ...], Resolution]:
        found, asked = Resolution(), set[tuple[str, FileKey]]()
        while wanted := await _offload_if_large(case.project, partial(_find_wanted, verdicts, asked)):
            found = found.join(await self._provenance.resolve(case.page, wanted, case.history))
            if found.failures:
                # Nothing is judged without the evidence that it needs.
                raise next(iter(found.failures.values()))
            verdicts = await case.decide(found.merge())
        return verdicts, found

    async def _conclude(self, case: _Case, verdicts: tuple[Verdict, ...], found: Resolution) -> JudgedPage | None:
        """Return the verdicts once the ledger has learned from them; None if it knows more than they go by."""
        page, project = case.page, case.project
        decided = tuple(verdict for verdict in verdicts if not isinstance(verdict, Undecided))
        if len(decided) != len(verdicts):
            raise RuntimeError(f"{project.name}: a file is undecided although its evidence is known")
        evidence = found.merge()
        changes = replace(
            await case.derive_changes(verdicts, evidence),
            evidence=_find_changed_documents(case.history, found.index_documents()),
        )
        latest = await self._update_ledger(page, case.history, changes)
        if latest is None:
            return None
        _count_verdicts(self._view, decided)
        return JudgedPage(
            page=page,
            dependencies={**case.dependencies, "ledger": latest.version},
            has_failed_evidence=any(isinstance(each, Forged) for each in evidence.values()),
            listing=_make_listing(project, case.policy, decided),
            by_location=index_by_location(decided),
            valid_until=find_next_change(decided),
        )

    async def _update_ledger(
        self, page: IndexPage, history: ProjectHistory, changes: HistoryChanges
    ) -> ProjectHistory | None:
        """Record `changes` if the ledger still knows exactly `history`; return what it knows now, else None."""
        index, name = page.index.name, page.project.name
        if not changes:
            latest = await self._ledger.get_history(index, name)
            return latest if history.has_same_facts(latest) else None
        # Written before the page is answered: what must never be forgotten is not lost with this process.
        return await self._ledger.record(index, name, changes, known=history)


async def _never_done() -> bool:
    """Return False: each view has verdicts of its own to reach, and finds at hand what another has fetched."""
    return False


async def _offload_if_large(project: Project, work: Callable[[], _T]) -> _T:
    """Pure work on a page: in place for most, off the event loop for the few with thousands of files."""
    return work() if len(project.files) < _OFFLOAD_MIN_FILES else await asyncio.to_thread(work)


def _find_wanted(verdicts: Sequence[Verdict], asked: set[tuple[str, FileKey]]) -> dict[str, list[File]]:
    """Return, by the name of a source, the undecided files that it is wanted for and was not asked about yet.

    Each is added to `asked`, so that a source is asked about a file once.
    """
    wanted: dict[str, list[File]] = {}
    for verdict in verdicts:
        for source in verdict.wants if isinstance(verdict, Undecided) else ():
            if (question := (source, file_key(verdict.file))) not in asked:
                asked.add(question)
                wanted.setdefault(source, []).append(verdict.file)
    return wanted


def _make_listing(project: Project, policy: Policy, verdicts: tuple[Approved | Withheld, ...]) -> PageListing:
    return PageListing(
        project=project,
        approved=tuple(verdict for verdict in verdicts if isinstance(verdict, Approved)),
        withheld=tuple(verdict for verdict in verdicts if isinstance(verdict, Withheld)),
        tombstones=make_tombstones(project, verdicts) if policy.withheld is Showing.EXPLAIN else (),
        show_withheld=policy.show_withheld,
    )


def _count_verdicts(view: str, verdicts: tuple[Approved | Withheld, ...]) -> None:
    """For metrics: the deciding reason of each, or the first that was lifted."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for verdict in verdicts:
        if isinstance(verdict, Approved):
            lifted = verdict.despite[0].code.value if verdict.despite else ""
            counted["lifted" if lifted else "approved", verdict.rule, lifted] += 1
        else:
            counted["withheld", verdict.rule or "", verdict.reasons[0].code.value] += 1
    for labels, count in counted.items():
        VERDICTS.labels(view, *labels).inc(count)


def _find_changed_documents(history: ProjectHistory, documents: Mapping[FileKey, Sha256]) -> dict[Sha256, str]:
    """File digests whose provenance document is not the one the ledger knows."""
    return {digest: document for (_, digest), document in documents.items() if history.evidence.get(digest) != document}
