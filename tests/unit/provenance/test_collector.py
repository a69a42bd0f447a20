"""Tests of sources with lifetimes: when a missing or a recorded document is requested again."""

from __future__ import annotations

from datetime import datetime, timedelta

from assay.errors import UpstreamUnavailableError
from assay.evidence import Attested, Unattested
from assay.ports import ProjectHistory
from assay.provenance.documents import file_key
from assay.provenance.resolver import Resolution
from assay.provenance.sources.base import Lifetimes
from tests.unit.policy.factories import NOW, a_file
from tests.unit.provenance.factories import MemoryRecords, ScriptedSource, index_source, make_page, make_resolver

FOO = a_file(project="foo")
STORE = "store"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Asking:
    """Resolver with one source that has lifetimes, and a clock."""

    def __init__(self, answer: bytes | Exception | None, records: MemoryRecords | None = None) -> None:
        self.now = NOW
        self.source = ScriptedSource(STORE, foo=answer)
        self.source.lifetimes = Lifetimes(absence=HOUR, document=DAY)
        self.records = records or MemoryRecords()
        self.resolver = make_resolver(index_source(), self.source, records=self.records, clock=lambda: self.now)
        self._renewals = 0

    def answer(self, answer: bytes | Exception | None) -> None:
        self.source.answers[FOO.filename] = answer

    async def resolve(self, *, after: timedelta = timedelta(0)) -> Resolution:
        """Return the evidence for a renewed page."""
        self.now += after
        self._renewals += 1
        page = make_page(FOO, digest=f"v{self._renewals}")
        return await self.resolver.resolve(page, {STORE: [FOO]}, ProjectHistory())

    async def repositories(self, *, after: timedelta = timedelta(0)) -> list[str | None]:
        """Return the signing repositories."""
        merged = (await self.resolve(after=after)).merge().get(file_key(FOO), Unattested())
        return [each.claims.repository for each in merged.attestations] if isinstance(merged, Attested) else []

    @property
    def requests(self) -> int:
        return len(self.source.asked)


async def test_a_missing_document_is_requested_again_after_its_lifetime_and_not_with_each_renewal() -> None:
    asking = Asking(None)
    first = await asking.resolve()
    assert first.next_try == NOW + HOUR, "the page is judged again then"
    asking.answer(b"by acme/foo")
    again = await asking.resolve(after=HOUR - timedelta(seconds=1))
    assert (again.merge()[file_key(FOO)], again.next_try) == (Unattested(asked=(STORE,)), NOW + HOUR)
    assert asking.requests == 1
    assert await asking.repositories(after=timedelta(seconds=1)) == ["acme/foo"]
    assert asking.requests == 2


async def test_a_recorded_document_is_requested_again_after_its_lifetime() -> None:
    asking = Asking(b"by acme/foo")
    assert await asking.repositories() == ["acme/foo"]
    asking.answer(b"by acme/bar")
    assert await asking.repositories(after=DAY - timedelta(seconds=1)) == ["acme/foo"]
    assert asking.requests == 1
    assert sorted(map(str, await asking.repositories(after=timedelta(seconds=1)))) == ["acme/bar", "acme/foo"]
    assert asking.requests == 2


async def test_a_recorded_document_is_used_if_the_source_fails_and_the_next_try_is_a_lifetime_later() -> None:
    asking = Asking(b"by acme/foo")
    await asking.resolve()
    for answer in (UpstreamUnavailableError("down"), None, b"by acme/foo"):
        asking.answer(answer)
        before = asking.requests
        for after in (DAY, timedelta(0), HOUR):
            resolution = await asking.resolve(after=after)
            assert isinstance(resolution.merge()[file_key(FOO)], Attested)
            assert resolution.failures == {}
        assert asking.requests == before + 1


async def test_a_failure_is_no_missing_document() -> None:
    asking = Asking(UpstreamUnavailableError("down"))
    first = await asking.resolve()
    assert set(first.failures) == {file_key(FOO)}
    asking.answer(None)
    assert (await asking.resolve(after=timedelta(minutes=1))).failures == {}
    assert asking.requests == 2
    clock: datetime = asking.now
    assert (await asking.resolve()).next_try == clock + HOUR


async def test_after_a_restart_only_recorded_documents_are_known() -> None:
    asking = Asking(b"by acme/foo")
    await asking.resolve()
    restarted = Asking(b"by acme/bar", asking.records)
    assert await restarted.repositories() == ["acme/foo"]
    assert restarted.requests == 0
