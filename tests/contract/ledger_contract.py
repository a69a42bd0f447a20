"""What every engine for the ledger must do. A test class of an engine inherits `LedgerContract` and gives `ledger`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from packaging.utils import canonicalize_name

from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity, HistoryChanges, Ledger, ProjectHistory, SeenFile
from assay.simple.model import Sha256

PROJECT = canonicalize_name("sampleproject")
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def digest(text: str) -> Sha256:
    return Sha256(sha256(text.encode()).hexdigest())


def seen(text: str = "x", *, at: datetime = NOON, late: bool = False) -> SeenFile:
    return SeenFile(sha256=digest(text), first_seen=at, late=late)


def established(filename: str, *, subject: str = "repository-id:1", logged: datetime = NOON) -> EstablishedIdentity:
    who = PublisherIdentity(trust_root="sigstore", issuer="https://token.example", subject=subject)
    return EstablishedIdentity(identity=who, filename=filename, sha256=digest(filename), logged=logged)


class LedgerContract:
    @pytest.fixture
    def ledger(self) -> Ledger:
        raise NotImplementedError

    async def test_of_a_project_that_was_never_judged_nothing_is_known(self, ledger: Ledger) -> None:
        assert await ledger.get_history("pypi", PROJECT) == ProjectHistory()
        assert not (await ledger.get_history("pypi", PROJECT)).known

    async def test_a_page_without_files_makes_its_project_known(self, ledger: Ledger) -> None:
        await ledger.record("pypi", PROJECT, HistoryChanges())
        assert await ledger.get_history("pypi", PROJECT) == ProjectHistory(known=True)

    async def test_what_was_recorded_comes_back_as_it_was(self, ledger: Ledger) -> None:
        changes = HistoryChanges(
            serial=7,
            files={"a-1.tar.gz": seen("a"), "a-2.tar.gz": seen("b", late=True)},
            established=(established("a-1.tar.gz"), established("a-2.tar.gz", subject="email:a@example.org")),
            evidence={digest("a"): "sha256:1"},
        )
        assert (await ledger.get_history("pypi", PROJECT)).files == {}
        await ledger.record("pypi", PROJECT, changes)
        found = await ledger.get_history("pypi", PROJECT)
        assert (found.known, found.serial, found.files, found.evidence) == (True, 7, changes.files, changes.evidence)
        assert set(found.established) == set(changes.established)

    async def test_a_filename_keeps_the_digest_first_seen(self, ledger: Ledger) -> None:
        await ledger.record("pypi", PROJECT, HistoryChanges(files={"a": seen("first")}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"] == seen("first")
        later = NOON + timedelta(days=1)
        await ledger.record(
            "pypi", PROJECT, HistoryChanges(files={"a": seen("other", at=later, late=True), "b": seen("new")})
        )
        found = (await ledger.get_history("pypi", PROJECT)).files
        assert found == {"a": seen("first"), "b": seen("new")}

    async def test_an_establishment_keeps_its_first_log_time(self, ledger: Ledger) -> None:
        await ledger.record("pypi", PROJECT, HistoryChanges(established=(established("a"),)))
        assert (await ledger.get_history("pypi", PROJECT)).established == (established("a"),)
        again = established("a", logged=NOON + timedelta(days=1))
        await ledger.record("pypi", PROJECT, HistoryChanges(established=(again, established("b"))))
        assert set((await ledger.get_history("pypi", PROJECT)).established) == {established("a"), established("b")}

    async def test_the_evidence_last_judged_replaces_an_earlier_one(self, ledger: Ledger) -> None:
        await ledger.record("pypi", PROJECT, HistoryChanges(evidence={digest("a"): "1", digest("b"): "1"}))
        assert (await ledger.get_history("pypi", PROJECT)).evidence == {digest("a"): "1", digest("b"): "1"}
        await ledger.record("pypi", PROJECT, HistoryChanges(evidence={digest("a"): "2"}))
        assert (await ledger.get_history("pypi", PROJECT)).evidence == {digest("a"): "2", digest("b"): "1"}

    @pytest.mark.parametrize(
        ("serials", "highest"), [([5, 3], 5), ([3, 5], 5), ([None, 4], 4), ([4, None], 4), ([None], None)]
    )
    async def test_a_serial_only_grows(self, ledger: Ledger, serials: list[int | None], highest: int | None) -> None:
        for serial in serials:
            await ledger.record("pypi", PROJECT, HistoryChanges(serial=serial))
            await ledger.get_history("pypi", PROJECT)
        assert (await ledger.get_history("pypi", PROJECT)).serial == highest

    async def test_projects_and_indexes_do_not_mix(self, ledger: Ledger) -> None:
        other = canonicalize_name("other")
        await ledger.record("pypi", PROJECT, HistoryChanges(files={"a": seen("1")}))
        await ledger.record("internal", PROJECT, HistoryChanges(files={"a": seen("2")}))
        await ledger.record("pypi", other, HistoryChanges(files={"a": seen("3")}))
        found = [
            (await ledger.get_history(index, project)).files["a"].sha256
            for index, project in [("pypi", PROJECT), ("internal", PROJECT), ("pypi", other)]
        ]
        assert found == [digest("1"), digest("2"), digest("3")]

    async def test_a_time_of_any_zone_comes_back_as_the_same_instant(self, ledger: Ledger) -> None:
        elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
        await ledger.record("pypi", PROJECT, HistoryChanges(files={"a": seen(at=elsewhere)}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"].first_seen == NOON

    @pytest.mark.parametrize("name", ["a\x00b", "\ud800", "../../x", "a\nb", "'; DROP TABLE files; --", "é" * 500])
    async def test_a_filename_is_whatever_an_index_says(self, ledger: Ledger, name: str) -> None:
        await ledger.record("pypi", PROJECT, HistoryChanges(files={name: seen()}, established=(established("x"),)))
        assert list((await ledger.get_history("pypi", PROJECT)).files) == [name]

    async def test_of_two_pages_judged_at_once_one_digest_wins_for_good(self, ledger: Ledger) -> None:
        await asyncio.gather(
            *(ledger.record("pypi", PROJECT, HistoryChanges(files={"a": seen(str(number))})) for number in range(8))
        )
        first = (await ledger.get_history("pypi", PROJECT)).files["a"]
        await ledger.record("pypi", PROJECT, HistoryChanges(files={"a": seen("late")}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"] == first
