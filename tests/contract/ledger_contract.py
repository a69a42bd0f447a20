"""Contract of every engine for the ledger. A test class of an engine inherits `LedgerContract` and gives `ledger`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from packaging.utils import NormalizedName, canonicalize_name

from assay.errors import LedgerError, NotFoundError
from assay.evidence import PublisherIdentity
from assay.ports import (
    EstablishedPublisher,
    FileSigner,
    ForgottenKind,
    ForgottenNews,
    ForgottenNote,
    HistoryChanges,
    Ledger,
    ProjectHistory,
    Replacement,
    SeenFile,
)
from assay.simple.model import Sha256

PROJECT = canonicalize_name("sampleproject")
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def digest(text: str) -> Sha256:
    return Sha256(sha256(text.encode()).hexdigest())


def seen(text: str = "x", *, at: datetime = NOON, late: bool = False) -> SeenFile:
    return SeenFile(sha256=digest(text), first_seen=at, late=late)


def signer(filename: str, *, subject: str = "repository-id:1", logged: datetime = NOON) -> FileSigner:
    who = PublisherIdentity(trust_root="sigstore", issuer="https://token.example", subject=subject)
    return FileSigner(identity=who, filename=filename, sha256=digest(filename), logged=logged)


def publisher(subject: str = "repository-id:1", *, logged: datetime = NOON) -> EstablishedPublisher:
    who = PublisherIdentity(trust_root="sigstore", issuer="https://token.example", subject=subject)
    return EstablishedPublisher(identity=who, logged=logged, existed=logged + timedelta(minutes=1))


async def learn(ledger: Ledger, index: str, project: NormalizedName, changes: HistoryChanges) -> ProjectHistory:
    """Record as the only writer."""
    recorded = await ledger.record(index, project, changes, known=await ledger.get_history(index, project))
    assert recorded is not None
    return recorded


async def forget(
    ledger: Ledger, what: ForgottenKind, *filenames: str, at: datetime = NOON
) -> tuple[ForgottenNote, ...]:
    """State that facts of `PROJECT` on ``pypi`` no longer count."""
    return await ledger.forget("pypi", PROJECT, what, filenames=filenames, at=at, reason="a test")


CHANGES = {
    "serial": HistoryChanges(serial=8),
    "url of the serial": HistoryChanges(serial=7, serial_url="https://a.example/", replaces_serial=True),
    "rollback": HistoryChanges(rollback_since=NOON),
    "file": HistoryChanges(files={"b": seen("b")}),
    "corrected time": HistoryChanges(corrected_times={"a": NOON - timedelta(days=1)}),
    "established": HistoryChanges(signers=(signer("b"),)),
    "publisher": HistoryChanges(publishers=(publisher("repository-id:2"),)),
    "evidence": HistoryChanges(evidence={digest("b"): "1"}),
    "another evidence": HistoryChanges(evidence={digest("a"): "2"}),
}
"""Something of each kind, other than what `BEGINNING` has."""
BEGINNING = HistoryChanges(serial=7, files={"a": seen("a")}, signers=(signer("a"),), evidence={digest("a"): "1"})


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
            signers=(signer("a-1.tar.gz"), signer("a-2.tar.gz", subject="email:a@example.org")),
            publishers=(publisher(),),
            evidence={digest("a"): "sha256:1"},
        )
        assert (await ledger.get_history("pypi", PROJECT)).files == {}
        await learn(ledger, "pypi", PROJECT, changes)
        found = await ledger.get_history("pypi", PROJECT)
        assert (found.known, found.serial, found.files, found.evidence) == (True, 7, changes.files, changes.evidence)
        assert set(found.signers) == set(changes.signers)
        assert found.publishers == changes.publishers

    async def test_a_filename_keeps_the_digest_first_seen(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("first")}))
        assert (await ledger.get_history("pypi", PROJECT)).files["a"] == seen("first")
        later = NOON + timedelta(days=1)
        await learn(
            ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("other", at=later, late=True), "b": seen("new")})
        )
        found = (await ledger.get_history("pypi", PROJECT)).files
        assert found == {"a": seen("first"), "b": seen("new")}

    async def test_a_first_seen_time_is_corrected_once(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("a", late=True), "b": seen("b")}))
        earlier = NOON - timedelta(days=1)
        corrected = await learn(ledger, "pypi", PROJECT, HistoryChanges(corrected_times={"a": earlier, "x": earlier}))
        expected = {"a": replace(seen("a", at=earlier, late=True), corrected=True), "b": seen("b")}
        assert corrected.files == expected
        again = HistoryChanges(corrected_times={"a": earlier - timedelta(days=1)})
        assert (await learn(ledger, "pypi", PROJECT, again)).files == expected
        assert (await ledger.get_history("pypi", PROJECT)).files == expected
        lines = [line async for line in ledger.export()]
        await ledger.import_(line.replace(PROJECT, "elsewhere") for line in lines)
        assert (await ledger.get_history("pypi", canonicalize_name("elsewhere"))).files == expected

    async def test_an_establishment_keeps_its_first_log_time(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(signers=(signer("a"),)))
        assert (await ledger.get_history("pypi", PROJECT)).signers == (signer("a"),)
        again = signer("a", logged=NOON + timedelta(days=1))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(signers=(again, signer("b"))))
        assert set((await ledger.get_history("pypi", PROJECT)).signers) == {signer("a"), signer("b")}

    async def test_a_publisher_stays_as_it_was_first_established(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(publishers=(publisher(),)))
        assert (await ledger.get_history("pypi", PROJECT)).publishers == (publisher(),)
        again, other = publisher(logged=NOON + timedelta(days=1)), publisher("email:a@example.org")
        await learn(ledger, "pypi", PROJECT, HistoryChanges(publishers=(again, other)))
        assert set((await ledger.get_history("pypi", PROJECT)).publishers) == {publisher(), other}

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

    async def test_a_serial_is_replaced_if_the_changes_say_so_and_that_ends_a_rollback(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=5, serial_url="https://a.example/"))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(rollback_since=NOON))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(rollback_since=NOON + timedelta(days=1)))
        rolled_back = await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=3, serial_url="https://b.example/"))
        for history in (rolled_back, await ledger.get_history("pypi", PROJECT)):
            found = (history.serial, history.serial_url, history.rollback_since)
            assert found == (5, "https://a.example/", NOON)
        lines = [line async for line in ledger.export()]
        await ledger.import_(line.replace(PROJECT, "elsewhere") for line in lines)
        assert (await ledger.get_history("pypi", canonicalize_name("elsewhere"))).has_same_facts(rolled_back)
        lower = HistoryChanges(serial=3, serial_url="https://b.example/", replaces_serial=True)
        believed = await learn(ledger, "pypi", PROJECT, lower)
        for history in (believed, await ledger.get_history("pypi", PROJECT)):
            assert (history.serial, history.serial_url, history.rollback_since) == (3, "https://b.example/", None)

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
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={name: seen()}, signers=(signer("x"),)))
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
        both = HistoryChanges(files={"a": seen("a"), "b": seen("b")}, signers=(signer("a"), signer("b")))
        found = await learn(ledger, "pypi", PROJECT, both)
        known = ProjectHistory(
            files=dict(reversed(list(found.files.items()))), signers=tuple(reversed(found.signers)), known=True
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
                    signers=(signer(f"{number}", subject=f"{writer}"),),
                    evidence={digest(f"{number}"): f"{writer}"},
                )
                for writer in range(6)
            ]
            results = await asyncio.gather(*(ledger.record("pypi", PROJECT, page, known=known) for page in pages))
            ((page, recorded),) = [(page, made) for page, made in zip(pages, results, strict=True) if made is not None]
            now = await ledger.get_history("pypi", PROJECT)
            assert now.has_same_facts(recorded)
            assert now.files == {**known.files, **page.files}
            assert set(now.signers) == {*known.signers, *page.signers}
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

    @pytest.mark.parametrize("what", ForgottenKind)
    async def test_a_forgotten_fact_no_longer_counts_and_all_others_do(
        self, ledger: Ledger, what: ForgottenKind
    ) -> None:
        before = await learn(ledger, "pypi", PROJECT, EVERYTHING)
        elsewhere = await learn(ledger, "internal", PROJECT, EVERYTHING)
        (note,) = await forget(ledger, what, *FILENAMES_OF.get(what, ()), at=NOON + timedelta(days=1))
        after = await ledger.get_history("pypi", PROJECT)
        assert (note.fact.what, note.fact.version, note.fact.reason) == (what, 1, "a test")
        assert after.forgotten.rows == (note.fact,)
        assert after.version > before.version
        assert replace(after, forgotten=before.forgotten).has_same_facts(_without(before, what))
        assert (await ledger.get_history("internal", PROJECT)).has_same_facts(elsewhere)

    async def test_what_the_ledger_does_not_have_cannot_be_forgotten(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges())
        for what in ForgottenKind:
            with pytest.raises(NotFoundError, match="the ledger has no"):
                await forget(ledger, what, *FILENAMES_OF.get(what, ()))
        with pytest.raises(NotFoundError, match="no facts about this project"):
            await ledger.forget("internal", PROJECT, ForgottenKind.SERIAL, at=NOON, reason="a test")
        assert (await ledger.get_history("pypi", PROJECT)).forgotten.rows == ()
        await learn(ledger, "pypi", PROJECT, EVERYTHING)
        for what in DIGEST_LAST:
            assert await forget(ledger, what, *FILENAMES_OF.get(what, ()))

    async def test_after_a_serial_was_forgotten_a_lower_one_counts(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=9_000))
        await forget(ledger, ForgottenKind.SERIAL)
        assert (await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=3))).serial == 3
        assert (await ledger.get_history("pypi", PROJECT)).serial == 3
        # The index may really send the forgotten one later.
        assert (await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=9_000))).serial == 9_000
        assert (await ledger.get_history("pypi", PROJECT)).serial == 9_000

    async def test_after_a_digest_was_forgotten_another_one_is_recorded_for_good(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("wrong"), "b": seen("b")}))
        await forget(ledger, ForgottenKind.DIGEST, "a")
        history = await ledger.get_history("pypi", PROJECT)
        assert history.files == {"b": seen("b")}
        assert history.forgotten.has_digest("a", digest("wrong"))
        assert not history.forgotten.has_digest("a", digest("good"))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("good")}))
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("other")}))
        assert (await ledger.get_history("pypi", PROJECT)).files == {"a": seen("good"), "b": seen("b")}

    async def test_a_time_that_was_forgotten_is_not_corrected_and_a_new_file_has_its_own(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("a", late=True)}))
        await forget(ledger, ForgottenKind.FIRST_SEEN, at=NOON + timedelta(days=1))
        changes = HistoryChanges(files={"b": seen("b", late=True)}, corrected_times={"a": NOON - timedelta(days=9)})
        await learn(ledger, "pypi", PROJECT, changes)
        known = SeenFile(sha256=digest("a"), first_seen=NOON + timedelta(days=1), late=False, corrected=True)
        assert (await ledger.get_history("pypi", PROJECT)).files == {"a": known, "b": seen("b", late=True)}

    async def test_who_knew_facts_that_were_forgotten_must_judge_again(self, ledger: Ledger) -> None:
        known = await learn(ledger, "pypi", PROJECT, BEGINNING)
        await forget(ledger, ForgottenKind.SERIAL)
        assert await ledger.record("pypi", PROJECT, CHANGES["file"], known=known) is None
        current = await ledger.get_history("pypi", PROJECT)
        assert await ledger.record("pypi", PROJECT, CHANGES["file"], known=current) is not None

    async def test_what_was_forgotten_is_exported_and_forgotten_where_it_is_imported(self, ledger: Ledger) -> None:
        known = await learn(ledger, "pypi", PROJECT, EVERYTHING)
        old = [line async for line in ledger.export()]
        for what in DIGEST_LAST:
            await forget(ledger, what, *FILENAMES_OF.get(what, ()), at=NOON + timedelta(days=1))
        after = await ledger.get_history("pypi", PROJECT)
        lines = [line async for line in ledger.export()]
        for name, earlier in (("empty", old[:1]), ("has-old-facts", old)):
            project = canonicalize_name(name)
            await ledger.import_(line.replace(PROJECT, project) for line in earlier)
            assert (await ledger.get_history("pypi", project)).has_same_facts(
                known if earlier is old else ProjectHistory()
            )
            await ledger.import_(line.replace(PROJECT, project) for line in lines)
            assert (await ledger.get_history("pypi", project)).has_same_facts(after)
            # An older export does not bring back what was forgotten since.
            await ledger.import_(line.replace(PROJECT, project) for line in old)
            again = await ledger.get_history("pypi", project)
            assert (again.serial, again.publishers, again.evidence) == (None, (), after.evidence)
            assert (again.files, again.signers) == (after.files, after.signers)
        assert [line async for line in ledger.export() if '"sampleproject"' in line] == lines[1:]

    async def test_each_statement_is_unannounced_until_it_is_marked(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, EVERYTHING)
        assert await ledger.poll_forgotten() == ForgottenNews()
        notes = await forget(ledger, ForgottenKind.SERIAL)
        notes += await forget(ledger, ForgottenKind.PUBLISHERS)
        assert (await ledger.poll_forgotten()).unannounced == notes
        await ledger.mark_announced(notes[:1])
        assert (await ledger.poll_forgotten()).unannounced == notes[1:]

    async def test_a_replacing_import_makes_the_facts_equal_to_the_text_and_a_second_one_changes_nothing(
        self, ledger: Ledger
    ) -> None:
        good = await learn(ledger, "pypi", PROJECT, EVERYTHING)
        lines = [line async for line in ledger.export()]
        other = await learn(ledger, "internal", PROJECT, EVERYTHING)
        await ledger.record("pypi", PROJECT, POISON, known=good)
        await forget(ledger, ForgottenKind.DIGEST, "a")
        await forget(ledger, ForgottenKind.FIRST_SEEN)
        await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("poison")}))
        poisoned = await ledger.get_history("pypi", PROJECT)
        plain = await ledger.import_(lines)
        assert (plain.conflicts, plain.replaced) == (0, 0)
        assert (await ledger.get_history("pypi", PROJECT)).files["a"].sha256 == digest("poison")
        found = await ledger.import_(lines, replacement=REPLACEMENT)
        assert found.conflicts == 0
        after = await ledger.get_history("pypi", PROJECT)
        assert dict(after.files) == {**good.files, "new": poisoned.files["new"]}
        assert replace(after, files=good.files, forgotten=good.forgotten).has_same_facts(good)
        rows = after.forgotten.rows[len(poisoned.forgotten.rows) :]
        assert len(rows) == found.replaced
        assert {(row.what, row.filename, row.found) for row in rows} == {
            (ForgottenKind.SERIAL, None, "9000"),
            (ForgottenKind.PUBLISHERS, None, "https://token.example poison; https://token.example repository-id:1"),
            (ForgottenKind.DIGEST, "a", digest("poison")),
            (ForgottenKind.FIRST_SEEN, "b", poisoned.files["b"].first_seen.isoformat()),
            (ForgottenKind.SIGNERS, "b", "2 signers"),
        }
        assert {(row.at, row.reason) for row in rows} == {(REPLACEMENT.at, REPLACEMENT.reason)}
        assert (await ledger.import_(lines, replacement=REPLACEMENT)).replaced == 0
        assert (await ledger.get_history("pypi", PROJECT)).has_same_facts(after)
        assert (await ledger.get_history("internal", PROJECT)).has_same_facts(other)

    async def test_an_import_whose_lines_were_sorted_is_refused_and_forgets_no_publisher(self, ledger: Ledger) -> None:
        known = await learn(ledger, "pypi", PROJECT, EVERYTHING)
        await learn(ledger, "pypi", canonicalize_name("other"), EVERYTHING)
        lines = [line async for line in ledger.export()]
        for replacement in (None, REPLACEMENT):
            with pytest.raises(LedgerError, match="the lines of project other on the index 'pypi' are not consecutive"):
                await ledger.import_(sorted(lines), replacement=replacement)
        assert (await ledger.get_history("pypi", PROJECT)).has_same_facts(known)
        assert (await ledger.import_(lines, replacement=REPLACEMENT)).projects == 2

    async def test_a_replacing_import_into_an_empty_ledger_forgets_nothing(self, ledger: Ledger) -> None:
        known = await learn(ledger, "pypi", PROJECT, EVERYTHING)
        lines = [line async for line in ledger.export()]
        elsewhere = canonicalize_name("elsewhere")
        imported = (line.replace(PROJECT, elsewhere) for line in lines)
        assert (await ledger.import_(imported, replacement=REPLACEMENT)).replaced == 0
        assert (await ledger.get_history("pypi", elsewhere)).has_same_facts(known)

    async def test_a_replacing_import_leaves_the_serial_if_the_text_has_none(self, ledger: Ledger) -> None:
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=7, files={"a": seen("a")}))
        lines = [line async for line in ledger.export()]
        without = [line for line in lines if '"kind": "project"' not in line]
        assert (await ledger.import_(without, replacement=REPLACEMENT)).replaced == 0
        assert (await ledger.get_history("pypi", PROJECT)).serial == 7
        unknown = [line.replace('"serial": 7', '"serial": null') for line in lines]
        assert (await ledger.import_(unknown, replacement=REPLACEMENT)).replaced == 1
        assert (await ledger.get_history("pypi", PROJECT)).serial is None


REPLACEMENT = Replacement(at=NOON + timedelta(days=2), reason="a corrected export")
EVERYTHING = HistoryChanges(
    serial=7,
    serial_url="https://a.example/",
    files={"a": seen("a", late=True), "b": seen("b")},
    signers=(replace(signer("a"), filename="a"), signer("b")),
    publishers=(publisher(),),
    evidence={digest("a"): "1" * 64, digest("b"): "2" * 64},
)
POISON = HistoryChanges(
    serial=9000,
    files={"new": seen("new", late=True)},
    signers=(signer("b", subject="poison"),),
    publishers=(publisher("poison"),),
)
DIGEST_LAST = sorted(ForgottenKind, key=lambda what: what is ForgottenKind.DIGEST)
"""The kinds in an order in which each fact is still there when it is forgotten."""
FILENAMES_OF = dict.fromkeys((ForgottenKind.DIGEST, ForgottenKind.EVIDENCE, ForgottenKind.SIGNERS), ("a",))


def _without(history: ProjectHistory, what: ForgottenKind) -> ProjectHistory:
    """Return a history of `EVERYTHING` without what `FILENAMES_OF` and a day after noon make it lose."""
    match what:
        case ForgottenKind.SERIAL:
            return replace(history, serial=None, serial_url=None)
        case ForgottenKind.PUBLISHERS:
            return replace(history, publishers=())
        case ForgottenKind.FIRST_SEEN:
            at = NOON + timedelta(days=1)
            files = {
                name: replace(one, first_seen=at, late=False, corrected=True) for name, one in history.files.items()
            }
            return replace(history, files=files)
        case ForgottenKind.DIGEST:
            return replace(history, files={name: one for name, one in history.files.items() if name != "a"})
        case ForgottenKind.EVIDENCE:
            return replace(history, evidence={digest("b"): "2" * 64})
        case ForgottenKind.SIGNERS:
            return replace(history, signers=tuple(one for one in history.signers if one.filename != "a"))
