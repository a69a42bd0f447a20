"""Tests of judging with several evidence sources: only wanted sources are asked, and none of them is skipped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from assay.advisories.in_force import AdvisoriesInForce
from assay.caching.flights import ProcessFlights
from assay.errors import LedgerError, UpstreamUnavailableError
from assay.evidence import INDEX_SOURCE, Attested, Evidence
from assay.files.failed_metadata import FailedMetadata
from assay.files.wheel_metadata import WheelMetadata
from assay.gate import page_judge
from assay.gate.judged_page import JudgedPage
from assay.gate.page_advisories import PageAdvisories
from assay.gate.page_judge import PageJudge
from assay.policy.judge import judge_page_in_mode
from assay.policy.verdict import Approved, Undecided, Verdict
from assay.ports import HistoryChanges, Ledger, ProjectHistory
from assay.provenance.documents import file_key
from assay.provenance.service import ProvenanceService
from assay.simple.model import File, Sha256
from assay.store.ledger.rows import merge_changes
from tests.unit.policy.factories import NOW, a_file, a_policy
from tests.unit.provenance.factories import MemoryRecords, ScriptedSource, index_source, make_page, make_resolver

REVIEWS = "reviews"
REVIEWED, PLAIN = a_file("1.0"), a_file("2.0")
POLICY = a_policy('attestations = "required"\npublishers = "any"\nratchet = "off"')


class RememberedChanges:
    """Ledger without history that collects the recorded changes."""

    def __init__(self) -> None:
        self.changes: list[HistoryChanges] = []

    async def get_history(self, *_key: object) -> ProjectHistory:
        await asyncio.sleep(0)
        return ProjectHistory()

    async def record(
        self, _index: str, _project: str, changes: HistoryChanges, **_more: object
    ) -> ProjectHistory | None:
        await asyncio.sleep(0)
        self.changes.append(changes)
        return ProjectHistory()


def sources(index_says: bytes | Exception, reviews_say: bytes | Exception) -> tuple[ScriptedSource, ScriptedSource]:
    """Return two sources that both answer for both files."""
    index, reviews = index_source(), ScriptedSource(REVIEWS)
    index.answers = {file.filename: index_says for file in (REVIEWED, PLAIN)}
    reviews.answers = {file.filename: reviews_say for file in (REVIEWED, PLAIN)}
    return index, reviews


async def judge(
    *made: ScriptedSource, ledger: RememberedChanges | None = None, files: Sequence[File] = (REVIEWED, PLAIN)
) -> JudgedPage:
    service = ProvenanceService(
        resolver=make_resolver(*made),
        revalidator=cast("Any", None),
        notices=cast("Any", None),
        flights=ProcessFlights(),
    )
    judging = PageJudge(
        view="default",
        provenance=service,
        wheels=WheelMetadata(records=MemoryRecords()),
        failed_metadata=FailedMetadata(),
        advisories=PageAdvisories(AdvisoriesInForce()),
        ledger=cast("Ledger", ledger or RememberedChanges()),
        flights=ProcessFlights(),
        clock=lambda: NOW,
        evidence_timeout=timedelta(seconds=5),
    )
    return await judging.judge(POLICY, make_page(*files))


def names_of_sources(evidence: Evidence | None) -> set[str]:
    return {each.source for each in evidence.attestations} if isinstance(evidence, Attested) else set()


@pytest.fixture
def wants_reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the policy want evidence of `REVIEWS` before it decides one of the files."""
    judge_page: Callable[..., tuple[Verdict, ...]] = judge_page_in_mode

    def staged(*case: object, evidence: Mapping[tuple[str, str], Evidence], **more: object) -> tuple[Verdict, ...]:
        def stage(verdict: Verdict) -> Verdict:
            is_open = isinstance(verdict, Undecided) or verdict.file != REVIEWED
            if is_open or REVIEWS in names_of_sources(evidence[file_key(verdict.file)]):
                return verdict
            return Undecided(file=verdict.file, wants=frozenset({REVIEWS}))

        return tuple(stage(verdict) for verdict in judge_page(*case, evidence=evidence, **more))

    monkeypatch.setattr(page_judge, "judge_page_in_mode", staged)


def approved(judged: JudgedPage) -> dict[File, set[str]]:
    """Return the sources of the attestations of each approved file."""
    return {each.file: names_of_sources(each.evidence) for each in judged.verdicts if isinstance(each, Approved)}


async def test_today_only_the_index_is_wanted_so_that_no_other_source_is_asked() -> None:
    index, reviews = sources(b"by acme/widget", UpstreamUnavailableError("down"))
    assert approved(await judge(index, reviews)) == {REVIEWED: {INDEX_SOURCE}, PLAIN: {INDEX_SOURCE}}
    assert (len(index.asked), reviews.asked) == (2, [])


@pytest.mark.usefixtures("wants_reviews")
async def test_a_source_is_asked_for_the_files_that_policy_wants_it_for_after_the_index() -> None:
    index, reviews = sources(b"by acme/widget", b"by acme/reviews")
    ledger = RememberedChanges()
    judged = await judge(index, reviews, ledger=ledger)
    assert approved(judged) == {REVIEWED: {INDEX_SOURCE, REVIEWS}, PLAIN: {INDEX_SOURCE}}
    assert (len(index.asked), reviews.asked) == (2, [REVIEWED.filename])
    (told,) = ledger.changes
    assert len(set(told.evidence.values())) == 1, "the ledger records only the index's documents"
    assert set(told.evidence) == {REVIEWED.sha256, PLAIN.sha256}


@pytest.mark.usefixtures("wants_reviews")
async def test_a_file_is_undecided_without_a_source_that_was_wanted_and_failed_and_others_are_not() -> None:
    down = UpstreamUnavailableError("reviews are down")
    judged = await judge(*sources(b"by acme/widget", down))
    assert approved(judged) == {PLAIN: {INDEX_SOURCE}}
    assert judged.listing.undecided == (REVIEWED,)
    assert {location: failure.problem for location, failure in judged.failures.items()} == {
        REVIEWED.location: "reviews are down"
    }
    assert judged.valid_until == NOW + timedelta(minutes=1), "the next try"


@pytest.mark.usefixtures("wants_reviews")
async def test_a_file_that_stays_undecided_is_a_fault_and_no_source_is_asked_twice() -> None:
    index, reviews = sources(b"by acme/widget", b"forged")
    with pytest.raises(RuntimeError, match="undecided although its evidence is known"):
        await judge(index, reviews)
    assert (len(index.asked), reviews.asked) == (2, [REVIEWED.filename])


async def test_a_ledger_that_always_knows_more_is_an_error_and_no_endless_loop() -> None:
    class AlwaysLate(RememberedChanges):
        async def record(self, _index: str, _project: str, changes: HistoryChanges, **_more: object) -> None:
            await super().record(_index, _project, changes)

    ledger = AlwaysLate()
    with pytest.raises(LedgerError, match="changed 20 times while its page was judged"):
        await judge(*sources(b"by acme/widget", b"by acme/r"), ledger=ledger)
    assert len(ledger.changes) == 20


@pytest.mark.parametrize(("count", "leaves_the_loop"), [(399, False), (400, True)])
async def test_what_to_ask_about_a_large_page_is_found_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, count: int, leaves_the_loop: bool
) -> None:
    find_wanted, threads = page_judge._find_wanted, set[int]()

    def find(
        case: page_judge._Case, verdicts: Sequence[Verdict], asked: set[tuple[str, tuple[str, Sha256]]]
    ) -> dict[str, list[File]]:
        threads.add(threading.get_ident())
        return find_wanted(case, verdicts, asked)

    monkeypatch.setattr(page_judge, "_find_wanted", find)
    files = [a_file(f"{number}.0") for number in range(count)]
    source = index_source()
    source.answers = {file.filename: b"by acme/widget" for file in files}
    assert len(approved(await judge(source, files=files))) == count
    assert (threading.get_ident() not in threads) is leaves_the_loop


class SharedLedger(RememberedChanges):
    """Ledger of one project that records changes only if the writer's history equals its own."""

    def __init__(self) -> None:
        super().__init__()
        self.history = ProjectHistory()
        self.refused = 0

    async def get_history(self, *_key: object) -> ProjectHistory:
        await asyncio.sleep(0)
        return self.history

    async def record(
        self, _index: str, _project: str, changes: HistoryChanges, **more: object
    ) -> ProjectHistory | None:
        await asyncio.sleep(0)
        known = more["known"]
        if not isinstance(known, ProjectHistory) or not self.history.has_same_facts(known):
            self.refused += 1
            return None
        self.changes.append(changes)
        self.history = merge_changes(self.history, changes)
        return self.history


async def test_many_views_that_each_establish_a_publisher_at_once_are_all_served() -> None:
    files = [a_file(f"{number}.0") for number in range(30)]
    source = index_source()
    source.answers = {file.filename: f"by octo/v{number}".encode() for number, file in enumerate(files)}
    ledger, flights = SharedLedger(), ProcessFlights()
    service = ProvenanceService(
        resolver=make_resolver(source),
        revalidator=cast("Any", None),
        notices=cast("Any", None),
        flights=ProcessFlights(),
    )
    judges = [
        PageJudge(
            view=f"view {number}",
            provenance=service,
            wheels=WheelMetadata(records=MemoryRecords()),
            failed_metadata=FailedMetadata(),
            advisories=PageAdvisories(AdvisoriesInForce()),
            ledger=cast("Ledger", ledger),
            flights=flights,
            clock=lambda: NOW,
            evidence_timeout=timedelta(seconds=5),
        )
        for number in range(len(files))
    ]
    policies = [
        a_policy(f'publishers = [{{ kind = "GitHub", repository = "octo/v{number}" }}]') for number in range(len(files))
    ]
    pages = await asyncio.gather(
        *(judge.judge(policy, make_page(*files)) for judge, policy in zip(judges, policies, strict=True))
    )
    assert [list(approved(page)) for page in pages] == [[file] for file in files]
    assert {each.filename for each in ledger.history.signers} == {file.filename for file in files}
    assert ledger.refused == 0, "a view that waited for another uses the facts that the other recorded"
