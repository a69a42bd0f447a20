"""What every engine for the ledger must do. A test class of an engine inherits `LedgerContract` and gives `ledger`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from packaging.utils import NormalizedName, canonicalize_name

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


async def learn(ledger: Ledger, index: str, project: NormalizedName, changes: HistoryChanges) -> ProjectHistory:
    """Record as the only writer."""
    recorded = await ledger.record(index, project, changes, known=await ledger.get_history(index, project))
    assert recorded is not None
    return recorded


CHANGES = {
    "serial": HistoryChanges(serial=8),
    "file": HistoryChanges(files={"b": seen("b")}),
    "established": HistoryChanges(established=(established("b"),)),
    "evidence": HistoryChanges(evidence={digest("b"): "1"}),
    "another evidence": HistoryChanges(evidence={digest("a"): "2"}),
}
"""Something of each kind, other than what `BEGINNING` has."""
BEGINNING = HistoryChanges(
    serial=7, files={"a": seen("a")}, established=(established("a"),), evidence={digest("a"): "1"}
)


class LedgerContract:
    @pytest.fixture
    def ledger(self) -> Ledger:
        raise NotImplementedError

    async def test_of_a_project_that_was_never_judged_nothing_is_known(self, ledger: Ledger) -> None:
        assert await ledger.get_history("pypi", PROJECT) == ProjectHistory()
        assert not (await ledger.get_history("pypi", PROJECT)).known

    async def test_a_page_without_files_makes_its_project_known(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges())
        assert await ledger.get_history("pypi", PROJECT) == ProjectHistory(known=True)

    async def test_what_was_recorded_comes_back_as_it_was(self, ledger: Ledger) -> None:
        changes = HistoryChanges(
            serial=7,
            files={"a-1.tar.gz": seen("a"), "a-2.tar.gz": seen("b", late=True)},
            established=(established("a-1.tar.gz"), established("a-2.tar.gz", subject="email:a@example.org")),
            evidence={digest("a"): "sha256:1"},
        )
        assert (await ledger.get_history("pypi", PROJECT)).files == {}
        await learn(ledger, "pypi", PROJECT, changes)
        found = await ledger.get_history("pypi", PROJECT)
        assert (found.known, found.serial, found.files, found.evidence) == (True, 7, changes.files, changes.evidence)
        assert set(found.established) == set(changes.established)

    async def test_a_filename_keeps_the_digest_first_seen(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("first")}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"] == seen("first")
        later = NOON + timedelta(days=1)
        await learn(
            ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("other", at=later, late=True), "b": seen("new")})
        )
        found = (await ledger.get_history("pypi", PROJECT)).files
        assert found == {"a": seen("first"), "b": seen("new")}

    async def test_an_establishment_keeps_its_first_log_time(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(established=(established("a"),)))
        assert (await ledger.get_history("pypi", PROJECT)).established == (established("a"),)
        again = established("a", logged=NOON + timedelta(days=1))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(established=(again, established("b"))))
        assert set((await ledger.get_history("pypi", PROJECT)).established) == {established("a"), established("b")}

    async def test_the_evidence_last_judged_replaces_an_earlier_one(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(evidence={digest("a"): "1", digest("b"): "1"}))
        assert (await ledger.get_history("pypi", PROJECT)).evidence == {digest("a"): "1", digest("b"): "1"}
        await learn(ledger, "pypi", PROJECT, HistoryChanges(evidence={digest("a"): "2"}))
        assert (await ledger.get_history("pypi", PROJECT)).evidence == {digest("a"): "2", digest("b"): "1"}

    @pytest.mark.parametrize(
        ("serials", "highest"), [([5, 3], 5), ([3, 5], 5), ([None, 4], 4), ([4, None], 4), ([None], None)]
    )
    async def test_a_serial_only_grows(self, ledger: Ledger, serials: list[int | None], highest: int | None) -> None:
        for serial in serials:
            await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=serial))
            await ledger.get_history("pypi", PROJECT)
        assert (await ledger.get_history("pypi", PROJECT)).serial == highest

    async def test_projects_and_indexes_do_not_mix(self, ledger: Ledger) -> None:
        other = canonicalize_name("other")
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("1")}))
        await learn(ledger, "internal", PROJECT, HistoryChanges(files={"a": seen("2")}))
        await learn(ledger, "pypi", other, HistoryChanges(files={"a": seen("3")}))
        found = [
            (await ledger.get_history(index, project)).files["a"].sha256
            for index, project in [("pypi", PROJECT), ("internal", PROJECT), ("pypi", other)]
        ]
        assert found == [digest("1"), digest("2"), digest("3")]

    async def test_a_time_of_any_zone_comes_back_as_the_same_instant(self, ledger: Ledger) -> None:
        elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen(at=elsewhere)}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"].first_seen == NOON

    @pytest.mark.parametrize("name", ["a\x00b", "\ud800", "../../x", "a\nb", "'; DROP TABLE files; --", "é" * 500])
    async def test_a_filename_is_whatever_an_index_says(self, ledger: Ledger, name: str) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={name: seen()}, established=(established("x"),)))
        assert list((await ledger.get_history("pypi", PROJECT)).files) == [name]

    async def test_what_is_known_after_recording_is_what_comes_back(self, ledger: Ledger) -> None:
        for changes in (BEGINNING, *CHANGES.values(), HistoryChanges()):
            recorded = await learn(ledger, "pypi", PROJECT, changes)
            assert recorded.has_same_facts(await ledger.get_history("pypi", PROJECT))

    @pytest.mark.parametrize("theirs", CHANGES.values(), ids=CHANGES)
    @pytest.mark.parametrize(
        "ours", [HistoryChanges(files={"ours": seen()}), HistoryChanges()], ids=["file", "nothing"]
    )
    async def test_who_knows_not_all_writes_nothing_and_who_knows_all_does(
        self, ledger: Ledger, ours: HistoryChanges, theirs: HistoryChanges
    ) -> None:
        known = await learn(ledger, "pypi", PROJECT, BEGINNING)
        current = await ledger.record("pypi", PROJECT, theirs, known=known)
        assert current is not None
        assert await ledger.record("pypi", PROJECT, ours, known=known) is None
        assert (await ledger.get_history("pypi", PROJECT)).has_same_facts(current)
        assert await ledger.record("pypi", PROJECT, ours, known=current) is not None
        assert ours.files.items() <= (await ledger.get_history("pypi", PROJECT)).files.items()

    async def test_who_thinks_that_a_project_is_new_and_it_is_not_writes_nothing(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges())
        assert await ledger.record("pypi", PROJECT, BEGINNING, known=ProjectHistory()) is None
        assert await ledger.get_history("pypi", PROJECT) == ProjectHistory(known=True)

    async def test_what_is_known_is_compared_by_facts_whatever_their_order(self, ledger: Ledger) -> None:
        both = HistoryChanges(files={"a": seen("a"), "b": seen("b")}, established=(established("a"), established("b")))
        found = await learn(ledger, "pypi", PROJECT, both)
        known = ProjectHistory(
            files=dict(reversed(list(found.files.items()))), established=tuple(reversed(found.established)), known=True
        )
        assert await ledger.record("pypi", PROJECT, BEGINNING, known=known) is not None

    async def test_of_writers_that_race_one_wins_each_round_and_the_others_see_what_it_wrote(
        self, ledger: Ledger
    ) -> None:
        for number in range(20):
            known = await ledger.get_history("pypi", PROJECT)
            pages = [
                HistoryChanges(
                    files={f"{number}": seen(f"{number} by {writer}"), f"{number}-{writer}": seen()},
                    established=(established(f"{number}", subject=f"{writer}"),),
                    evidence={digest(f"{number}"): f"{writer}"},
                )
                for writer in range(6)
            ]
            results = await asyncio.gather(*(ledger.record("pypi", PROJECT, page, known=known) for page in pages))
            ((page, recorded),) = [(page, made) for page, made in zip(pages, results, strict=True) if made is not None]
            now = await ledger.get_history("pypi", PROJECT)
            assert now.has_same_facts(recorded)
            assert now.files == {**known.files, **page.files}
            assert set(now.established) == {*known.established, *page.established}
            assert now.evidence == {**known.evidence, **page.evidence}

    async def test_writers_that_judge_again_all_have_their_turn(self, ledger: Ledger) -> None:
        async def write(writer: int) -> None:
            while True:
                known = await ledger.get_history("pypi", PROJECT)
                changes = HistoryChanges(files={"first": seen(f"{writer}"), f"{writer}": seen()})
                if await ledger.record("pypi", PROJECT, changes, known=known) is not None:
                    return

        await asyncio.gather(*(write(writer) for writer in range(8)))
        files = (await ledger.get_history("pypi", PROJECT)).files
        assert files.keys() == {"first", *map(str, range(8))}

    async def test_every_project_ever_judged_is_listed_in_a_stable_order(self, ledger: Ledger) -> None:
        other = canonicalize_name("other")
        assert await ledger.list_projects() == []
        for index, project in (("pypi", PROJECT), ("internal", PROJECT), ("pypi", other)):
            await learn(ledger, index, project, HistoryChanges())
        assert await ledger.list_projects() == [("internal", PROJECT), ("pypi", other), ("pypi", PROJECT)]

    async def test_what_is_exported_is_all_and_importing_it_again_changes_nothing(self, ledger: Ledger) -> None:
        known = await learn(ledger, "pypi", PROJECT, BEGINNING)
        lines = [line async for line in ledger.export()]
        assert all("\n" not in line for line in lines)
        imported = await ledger.import_(f"{line}\n" for line in lines)
        assert (imported.projects, imported.conflicts) == (1, 0)
        assert [line async for line in ledger.export()] == lines
        assert (await ledger.get_history("pypi", PROJECT)).has_same_facts(known)

    async def test_an_import_keeps_what_was_seen_first_and_who_knew_less_must_judge_again(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("theirs"), "b": seen("b")}))
        lines = [line async for line in ledger.export()]
        elsewhere = canonicalize_name("elsewhere")
        known = await learn(ledger, "pypi", elsewhere, HistoryChanges(files={"a": seen("ours")}))
        imported = await ledger.import_(line.replace(PROJECT, elsewhere) for line in lines)
        assert (imported.projects, imported.conflicts) == (1, 1)
        files = (await ledger.get_history("pypi", elsewhere)).files
        assert files == {"a": seen("ours"), "b": seen("b")}
        assert await ledger.record("pypi", elsewhere, BEGINNING, known=known) is None

    async def test_of_two_pages_judged_at_once_one_digest_wins_for_good(self, ledger: Ledger) -> None:
        pages = [HistoryChanges(files={"a": seen(str(number))}) for number in range(8)]
        await asyncio.gather(*(ledger.record("pypi", PROJECT, page, known=ProjectHistory()) for page in pages))
        first = (await ledger.get_history("pypi", PROJECT)).files["a"]
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("late")}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"] == first
