"""One page judged once: without evidence, with it, and what the ledger must learn before anybody is answered.

Owns the order of these steps. What the verdicts are is policy's; what a `JudgedPage` is good for is the gate's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from assay.caching.keyed_lock import KeyedLock
from assay.evidence import Evidence, Forged
from assay.files.wheel_metadata import WheelMetadata, apply_own_metadata, find_mismatched
from assay.gate import absent_project
from assay.gate.judged_page import JudgedPage, index_by_location
from assay.indexes import allowed_file_hosts
from assay.policy.judge import IndexFacts, derive_ledger_changes, find_next_change, judge_page_in_mode
from assay.policy.language.model import Policy, Showing
from assay.policy.reasons import make_tombstones
from assay.policy.verdict import Approved, Undecided, Verdict, Withheld
from assay.ports import HistoryChanges, IndexPage, Ledger, ProjectHistory
from assay.provenance.documents import FileKey, file_key
from assay.provenance.resolver import ProvenanceResolver, Resolution
from assay.render import PageListing
from assay.simple.model import File, Project, Sha256
from assay.telemetry import tracing
from assay.telemetry.metrics import VERDICTS

_OFFLOAD_MIN_FILES = 400
"""Files of a page from which on judging takes milliseconds."""

_T = TypeVar("_T")


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
        provenance_resolver: ProvenanceResolver,
        ledger: Ledger,
        wheel_metadata: WheelMetadata,
        project_locks: KeyedLock,
        clock: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._provenance = provenance_resolver
        self._ledger = ledger
        self._wheels = wheel_metadata
        self._locks = project_locks
        self._clock = clock

    async def judge(self, policy: Policy, page: IndexPage, history: ProjectHistory) -> JudgedPage:
        """Every file's verdict, after the ledger has learned what it must.

        Raises:
            AssayError: evidence is needed and not to be had now, or the ledger takes nothing.
        """
        with tracing.span("judge", index=page.index.name, project=page.project.name, files=len(page.project.files)):
            return await self._judge(policy, page, history)

    async def _judge(self, policy: Policy, page: IndexPage, history: ProjectHistory) -> JudgedPage:
        roots, now, index = self._provenance.roots_digest, self._clock(), page.index
        news = self._wheels.get_facts_version(index, page.project.name)
        if page.is_absent:
            return absent_project.make_absent_page(policy, page, roots_digest=roots, facts_version=news)
        facts = await self._wheels.load_facts(index, page.project.name)
        project, wrong = apply_own_metadata(page.project, facts), find_mismatched(page.project, facts)
        about = IndexFacts(name=index.name, hosts=allowed_file_hosts(index))
        decide = partial(
            judge_page_in_mode, policy, project, index=about, history=history, now=now, mismatched_wheels=wrong
        )
        verdicts = await _offload_if_large(project, partial(decide, evidence={}))
        found, evidence = Resolution(), dict[FileKey, Evidence]()
        asked: set[tuple[str, FileKey]] = set()
        while wanted := _find_wanted(verdicts, asked):
            found = found.join(await self._provenance.resolve(page, wanted, history))
            if found.failures:
                # Nothing is judged without the evidence that it needs.
                raise next(iter(found.failures.values()))
            evidence = found.merge()
            verdicts = await _offload_if_large(project, partial(decide, evidence=evidence))
        decided = tuple(verdict for verdict in verdicts if not isinstance(verdict, Undecided))
        if len(decided) != len(verdicts):
            raise RuntimeError(f"{project.name}: a file is undecided although its evidence is known")
        learn = partial(
            derive_ledger_changes, policy, project, index=about, history=history, verdicts=verdicts, now=now
        )
        changes = await _offload_if_large(project, partial(learn, evidence=evidence, mismatched_wheels=wrong))
        changes = replace(changes, evidence=_find_changed_documents(history, found.index_documents()))
        if (latest := await self._update_ledger(page, history, changes)) != history:
            # Another view judged this project meanwhile: what it saw first is the first for this one too.
            return await self._judge(policy, page, latest)
        _count_verdicts(self._view, decided)
        return JudgedPage(
            page=page,
            policy_digest=policy.digest,
            roots_digest=roots,
            facts_version=news,
            has_failed_evidence=any(isinstance(each, Forged) for each in evidence.values()),
            listing=_make_listing(project, policy, decided),
            by_location=index_by_location(decided),
            valid_until=find_next_change(decided),
        )

    async def _update_ledger(self, page: IndexPage, history: ProjectHistory, changes: HistoryChanges) -> ProjectHistory:
        """Let the ledger learn, if it knows what it knew; what it knew until now."""
        async with self._locks.acquire((page.index.name, page.project.name)):
            latest = await self._ledger.get_history(page.index.name, page.project.name)
            if changes and latest == history:
                # Written before the page is answered: what must never be forgotten is not lost with this process.
                await self._ledger.record(page.index.name, page.project.name, changes)
        return latest


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
