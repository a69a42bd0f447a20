"""The one door: every route asks here, and gets the same verdict for the same file at the same moment.

Owns the flow page → judge → evidence → judge → ledger, the flights (one for each project, which belong to the proxy and
not to a request) and the judged pages in memory. It speaks no HTTP and renders nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from packaging.version import InvalidVersion, Version

from proxy import telemetry
from proxy.errors import (
    AssayError,
    FileNotListedError,
    NotYetError,
    ProjectNotFoundError,
    ProvenanceNotFoundError,
)
from proxy.evidence import Evidence
from proxy.gate.contents import Content, FileContents
from proxy.gate.judged import Judged, by_location
from proxy.gate.metadata import Metadata
from proxy.gate.pages import Page, Pages
from proxy.gate.proofs import FileKey, Proof, Proofs
from proxy.indexes import Indexes, IndexSettings, hosts
from proxy.policy.judge import IndexFacts, changes_of, decide_page, next_change
from proxy.policy.model import Policy, Showing
from proxy.policy.reasons import tombstones
from proxy.policy.verdict import Approved, Undecided, Withheld
from proxy.ports import History, Ledger
from proxy.render import ApprovedPage
from proxy.simple.filename import possible_projects
from proxy.simple.model import File, NormalizedName, Project, Sha256
from proxy.telemetry.metrics import VERDICTS
from proxy.upstream import Validators

_MOST_FILES_IN_MEMORY = 60_000
_OFF_LOOP = 400
"""Files of a page from which on judging takes milliseconds."""

_T = TypeVar("_T")
_LONGEST_GRACE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How long a request waits for a page that is being worked out."""

    patience: timedelta = timedelta(seconds=10)


class WithheldError(AssayError):
    """A file that policy withholds was asked for; carries the verdict with its reasons."""

    def __init__(self, withheld: Withheld) -> None:
        super().__init__(f"{withheld.file.filename} is withheld")
        self.withheld = withheld


class Gate:
    """Pages, files, metadata and provenance, each through the same verdict."""

    def __init__(
        self,
        *,
        indexes: Indexes,
        policy: Policy,
        pages: Pages,
        proofs: Proofs,
        contents: FileContents,
        metadata: Metadata,
        ledger: Ledger,
        clock: Callable[[], datetime],
        settings: GateSettings | None = None,
    ) -> None:
        self.policy = policy
        """Replaced as a whole on reload; the next request obeys it."""
        self._indexes = indexes
        self._pages = pages
        self._proofs = proofs
        self._contents = contents
        self._metadata = metadata
        self._ledger = ledger
        self._clock = clock
        self._settings = settings or GateSettings()
        self._judged: OrderedDict[NormalizedName, Judged] = OrderedDict()
        self._files = 0
        self._flights: dict[NormalizedName, asyncio.Task[Judged]] = {}

    async def page(self, name: NormalizedName) -> Judged:
        """The judged page of a project.

        Raises:
            ProjectNotFoundError: the catch-all index has no such project, or no index covers the name.
            NotYetError: it is still being worked out; the work goes on.
            AssayError: it cannot be had now.
        """
        return await self._page(name, self._settings.patience.total_seconds())

    async def _page(self, name: NormalizedName, patience: float | None) -> Judged:
        while True:
            judged = self._judged.get(name)
            if judged is not None and self._is_current(judged):
                self._judged.move_to_end(name)
                return judged
            if name not in self._flights:
                self._flights[name] = flight = asyncio.create_task(self._fly(name), name=f"page {name}")
                flight.add_done_callback(lambda done: self._landed(name, done))
            if judged is not None and self._is_current(judged, overdue=_grace(judged)):
                return judged
            flight = self._flights[name]
            done, _ = await asyncio.wait({flight}, timeout=patience)
            if not done:
                raise NotYetError(f"the page of {name} is being worked out: its files are being verified; ask again")
            judged = flight.result()
            # A flight that began before a reload may end after it: whoever asks now is answered by the new policy.
            if judged.policy == self.policy.digest:
                return judged

    async def file(self, location: str) -> Approved | Withheld:
        """The verdict on the file at a location (``host/path``, decoded once).

        Raises:
            FileNotListedError: no page lists it.
            AssayError: the page that would list it cannot be had now.
        """
        return (await self._find(location))[1]

    @asynccontextmanager
    async def content(self, approved: Approved) -> AsyncIterator[Content]:
        """The bytes of an approved file."""
        name = _project_of(approved)

        async def still_approved() -> None:
            # However long it takes: the client has its head and waits for the tail, there is nothing to be asked again.
            verdict = (await self._page(name, None)).by_location.get(approved.file.location)
            if isinstance(verdict, Withheld):
                raise WithheldError(verdict)
            if verdict is None or verdict.file.sha256 != approved.file.sha256:
                raise FileNotListedError(f"{approved.file.filename} is not listed any more")

        async with self._contents.of(approved, self._owner(name), still_approved) as content:
            yield content

    async def metadata(self, approved: Approved) -> bytes:
        """The METADATA beside an approved file, with the digest that the page gives.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            UpstreamError: it cannot be had.
        """
        return await self._metadata.of(approved, self._owner(_project_of(approved)))

    async def provenance(self, name: NormalizedName, version: str, filename: str) -> bytes:
        """An approved file's provenance document, its bytes unchanged.

        Raises:
            WithheldError: the file is withheld, and so is what speaks for it.
            ProvenanceNotFoundError: no such file, or no provenance for it.
        """
        judged = await self.page(name)
        verdicts = [
            verdict
            for verdict in judged.by_location.values()
            if verdict.file.filename == filename and _is_version(verdict.file, version)
        ]
        for verdict in verdicts:
            if isinstance(verdict, Withheld):
                raise WithheldError(verdict)
        for verdict in verdicts:
            document = await self._proofs.document(judged.page.index, name, verdict.file)
            if document is not None:
                return document
        raise ProvenanceNotFoundError(f"No provenance available for {filename}")

    def in_memory(self) -> tuple[Judged, ...]:
        """The judged pages that are remembered, for counts; some may be due to be judged anew."""
        return tuple(self._judged.values())

    async def close(self) -> None:
        """End what is in the air."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._pages.close()

    def _is_current(self, judged: Judged, *, overdue: timedelta = timedelta(0)) -> bool:
        now = self._clock()
        fresh = abs(now - judged.page.checked) < judged.page.index.freshness.page + overdue
        return fresh and judged.holds(policy=self.policy.digest, roots=self._proofs.roots_digest, now=now)

    def _owner(self, name: NormalizedName) -> IndexSettings:
        index = self._indexes.owner(name)
        if index is None:
            raise ProjectNotFoundError(f"no index of this proxy covers the name {name}")
        return index

    def _landed(self, name: NormalizedName, flight: asyncio.Task[Judged]) -> None:
        del self._flights[name]
        if not flight.cancelled() and (error := flight.exception()) is not None and not isinstance(error, AssayError):
            telemetry.failure("page-failed", error, project=name)

    async def _fly(self, name: NormalizedName) -> Judged:
        index = self._owner(name)
        history = await self._ledger.history(index.name, name)
        page = await self._pages.current(index, name, newest_serial=history.serial)
        if page is None:
            self._forget(name)
            if self._indexes.is_catch_all(index):
                raise ProjectNotFoundError(f"{index.name} has no project {name}")
            page = self._reserved(index, name)
        known = self._judged.get(name)
        if (
            known is not None
            and known.page.version == page.version
            and known.holds(policy=self.policy.digest, roots=self._proofs.roots_digest, now=self._clock())
        ):
            return self._remember(name, replace(known, page=page))
        return self._remember(name, await self._judge(page, history))

    async def _judge(self, page: Page, history: History) -> Judged:
        policy, roots, now = self.policy, self._proofs.roots_digest, self._clock()
        facts = IndexFacts(name=page.index.name, hosts=hosts(page.index))
        project = page.project
        decide = partial(decide_page, policy, project, index=facts, history=history, now=now)
        verdicts = await _away_if_long(project, partial(decide, evidence={}))
        proofs: dict[FileKey, Proof] = {}
        evidence: dict[FileKey, Evidence] = {}
        if needed := [verdict.file for verdict in verdicts if isinstance(verdict, Undecided)]:
            proofs = await self._proofs.of(page.index, project.name, needed, history)
            evidence = {key: proof.evidence for key, proof in proofs.items()}
            verdicts = await _away_if_long(project, partial(decide, evidence=evidence))
        decided = tuple(verdict for verdict in verdicts if not isinstance(verdict, Undecided))
        if len(decided) != len(verdicts):
            raise RuntimeError(f"{project.name}: a file is undecided although its evidence is known")
        learn = partial(changes_of, policy, project, index=facts, history=history, verdicts=verdicts, now=now)
        changes = await _away_if_long(project, partial(learn, evidence=evidence))
        documents = {key: proof.document for key, proof in proofs.items() if proof.document is not None}
        changes = replace(changes, evidence=_news(history, documents))
        if changes:
            # Written before the page is answered: what must never be forgotten is not lost with this process.
            await self._ledger.record(page.index.name, project.name, changes)
        _count(decided)
        return Judged(
            page=page,
            policy=policy.digest,
            roots=roots,
            listed=_listed(page, policy, decided),
            by_location=by_location(decided),
            until=next_change(decided),
        )

    def _reserved(self, index: IndexSettings, name: NormalizedName) -> Page:
        """An empty page for a name that its index reserves and does not have: a 404 would send uv elsewhere."""
        project = Project(name=name, files=(), api_version=(1, 4))
        return Page(index=index, project=project, version="", checked=self._clock(), validators=Validators())

    async def _find(self, location: str) -> tuple[Judged, Approved | Withheld]:
        host, _, path = location.partition("/")
        failure: AssayError | None = None
        for name in possible_projects(path.rpartition("/")[2]):
            index = self._indexes.owner(name)
            if index is None or host.lower() not in hosts(index):
                continue
            try:
                judged = await self.page(name)
            except ProjectNotFoundError:
                continue
            except AssayError as error:
                failure = error
                continue
            if (verdict := judged.by_location.get(location)) is not None:
                return judged, verdict
        if failure is not None:
            raise failure
        raise FileNotListedError(f"no page of this proxy lists {location}")

    def _remember(self, name: NormalizedName, judged: Judged) -> Judged:
        self._forget(name)
        self._judged[name] = judged
        self._files += 1 + len(judged.page.project.files)
        while self._files > _MOST_FILES_IN_MEMORY and len(self._judged) > 1:
            self._forget(next(iter(self._judged)))
        return judged

    def _forget(self, name: NormalizedName) -> None:
        judged = self._judged.pop(name, None)
        if judged is not None:
            self._files -= 1 + len(judged.page.project.files)


async def _away_if_long(project: Project, work: Callable[[], _T]) -> _T:
    """Pure work on a page: in place for most, off the event loop for the few with thousands of files."""
    return work() if len(project.files) < _OFF_LOOP else await asyncio.to_thread(work)


def _grace(judged: Judged) -> timedelta:
    """How long past its freshness a page is served while one renewal runs in the background.

    A page that is asked for more than once a minute never waits for its index; for one that is not, a minute is no
    reason to be late. Nothing for a page that is stale already: what it says of itself must be said again.
    """
    return timedelta(0) if judged.page.stale else min(_LONGEST_GRACE, judged.page.index.freshness.page / 10)


def _listed(page: Page, policy: Policy, decided: tuple[Approved | Withheld, ...]) -> ApprovedPage:
    return ApprovedPage(
        project=page.project,
        approved=tuple(verdict for verdict in decided if isinstance(verdict, Approved)),
        withheld=tuple(verdict for verdict in decided if isinstance(verdict, Withheld)),
        tombstones=tombstones(page.project, decided) if policy.withheld is Showing.EXPLAIN else (),
        show_withheld=policy.show_withheld,
    )


def _count(decided: tuple[Approved | Withheld, ...]) -> None:
    """For metrics: the deciding reason of each, or the first that was lifted."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for verdict in decided:
        if isinstance(verdict, Approved):
            lifted = verdict.despite[0].code.value if verdict.despite else ""
            counted["lifted" if lifted else "approved", verdict.rule, lifted] += 1
        else:
            counted["withheld", verdict.rule or "", verdict.reasons[0].code.value] += 1
    for labels, count in counted.items():
        VERDICTS.labels(*labels).inc(count)


def _news(history: History, documents: Mapping[FileKey, Sha256]) -> dict[Sha256, str]:
    """File digests whose provenance document is not the one the ledger knows."""
    return {digest: document for (_, digest), document in documents.items() if history.evidence.get(digest) != document}


def _project_of(approved: Approved) -> NormalizedName:
    if approved.file.distribution is None:
        raise RuntimeError(f"{approved.file.filename} was approved although it does not parse")
    return approved.file.distribution.project


def _is_version(file: File, version: str) -> bool:
    if file.distribution is None:
        return False
    try:
        return Version(version) == file.distribution.version
    except InvalidVersion:
        return False
