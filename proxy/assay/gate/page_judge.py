"""One page judged once: without evidence, with it, and what the ledger must learn before anybody is answered.

Owns the order of these steps. What the verdicts are is policy's; what a `Judged` is good for is the gate's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from assay.caching.keyed_lock import Turns
from assay.evidence import Evidence, Forged
from assay.files.wheel_metadata import Wheels, mismatched, offered
from assay.gate import absent_project
from assay.gate.judged_page import Judged, by_location
from assay.indexes import hosts
from assay.policy.judge import IndexFacts, changes_of, decide_page, next_change
from assay.policy.language.model import Policy, Showing
from assay.policy.reasons import tombstones
from assay.policy.verdict import Approved, Undecided, Withheld
from assay.ports import Changes, History, Ledger, Page
from assay.provenance.documents import FileKey, Proof
from assay.provenance.resolver import Proofs
from assay.render import ApprovedPage
from assay.simple.model import Project, Sha256
from assay.telemetry import tracing
from assay.telemetry.metrics import VERDICTS

_OFF_LOOP = 400
"""Files of a page from which on judging takes milliseconds."""

_T = TypeVar("_T")


class Court:
    """Judges pages for one view.

    The ledger is that of all views, because it holds facts: an approval by a lax policy cannot loosen a strict one. A
    publisher is established only through a file that the policy in hand approves in the same sitting (`policy.judge`),
    and whose signature that policy, where it sees it, counts (`policy.ratchet.identities`). First digests, first
    sights, serials and evidence are what the index said and what was proven, whoever asked.
    """

    def __init__(
        self,
        *,
        view: str,
        proofs: Proofs,
        ledger: Ledger,
        wheels: Wheels,
        turns: Turns,
        clock: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._proofs = proofs
        self._ledger = ledger
        self._wheels = wheels
        self._turns = turns
        self._clock = clock

    async def judge(self, policy: Policy, page: Page, history: History) -> Judged:
        """Every file's verdict, after the ledger has learned what it must.

        Raises:
            AssayError: evidence is needed and not to be had now, or the ledger takes nothing.
        """
        with tracing.span("judge", index=page.index.name, project=page.project.name, files=len(page.project.files)):
            return await self._judged(policy, page, history)

    async def _judged(self, policy: Policy, page: Page, history: History) -> Judged:
        roots, now, index = self._proofs.roots_digest, self._clock(), page.index
        news = self._wheels.news(index, page.project.name)
        if page.reserved:
            return absent_project.judged(policy, page, roots=roots, news=news)
        facts = await self._wheels.facts(index, page.project.name)
        project, wrong = offered(page.project, facts), mismatched(page.project, facts)
        about = IndexFacts(name=index.name, hosts=hosts(index))
        decide = partial(decide_page, policy, project, index=about, history=history, now=now, mismatched=wrong)
        verdicts = await _away_if_long(project, partial(decide, evidence={}))
        proofs: dict[FileKey, Proof] = {}
        evidence: dict[FileKey, Evidence] = {}
        if needed := [verdict.file for verdict in verdicts if isinstance(verdict, Undecided)]:
            proofs = await self._proofs.of(page, needed, history)
            evidence = {key: proof.evidence for key, proof in proofs.items()}
            verdicts = await _away_if_long(project, partial(decide, evidence=evidence))
        decided = tuple(verdict for verdict in verdicts if not isinstance(verdict, Undecided))
        if len(decided) != len(verdicts):
            raise RuntimeError(f"{project.name}: a file is undecided although its evidence is known")
        learn = partial(changes_of, policy, project, index=about, history=history, verdicts=verdicts, now=now)
        changes = await _away_if_long(project, partial(learn, evidence=evidence, mismatched=wrong))
        documents = {key: proof.document for key, proof in proofs.items() if proof.document is not None}
        changes = replace(changes, evidence=_news(history, documents))
        if (latest := await self._learned(page, history, changes)) != history:
            # Another view judged this project meanwhile: what it saw first is the first for this one too.
            return await self._judged(policy, page, latest)
        _count(self._view, decided)
        return Judged(
            page=page,
            policy=policy.digest,
            roots=roots,
            news=news,
            doubtful=any(isinstance(found, Forged) for found in evidence.values()),
            listed=_listed(project, policy, decided),
            by_location=by_location(decided),
            until=next_change(decided),
        )

    async def _learned(self, page: Page, history: History, changes: Changes) -> History:
        """Let the ledger learn, if it knows what it knew; what it knew until now."""
        async with self._turns.turn((page.index.name, page.project.name)):
            latest = await self._ledger.history(page.index.name, page.project.name)
            if changes and latest == history:
                # Written before the page is answered: what must never be forgotten is not lost with this process.
                await self._ledger.record(page.index.name, page.project.name, changes)
        return latest


async def _away_if_long(project: Project, work: Callable[[], _T]) -> _T:
    """Pure work on a page: in place for most, off the event loop for the few with thousands of files."""
    return work() if len(project.files) < _OFF_LOOP else await asyncio.to_thread(work)


def _listed(project: Project, policy: Policy, decided: tuple[Approved | Withheld, ...]) -> ApprovedPage:
    return ApprovedPage(
        project=project,
        approved=tuple(verdict for verdict in decided if isinstance(verdict, Approved)),
        withheld=tuple(verdict for verdict in decided if isinstance(verdict, Withheld)),
        tombstones=tombstones(project, decided) if policy.withheld is Showing.EXPLAIN else (),
        show_withheld=policy.show_withheld,
    )


def _count(view: str, decided: tuple[Approved | Withheld, ...]) -> None:
    """For metrics: the deciding reason of each, or the first that was lifted."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for verdict in decided:
        if isinstance(verdict, Approved):
            lifted = verdict.despite[0].code.value if verdict.despite else ""
            counted["lifted" if lifted else "approved", verdict.rule, lifted] += 1
        else:
            counted["withheld", verdict.rule or "", verdict.reasons[0].code.value] += 1
    for labels, count in counted.items():
        VERDICTS.labels(view, *labels).inc(count)


def _news(history: History, documents: Mapping[FileKey, Sha256]) -> dict[Sha256, str]:
    """File digests whose provenance document is not the one the ledger knows."""
    return {digest: document for (_, digest), document in documents.items() if history.evidence.get(digest) != document}
