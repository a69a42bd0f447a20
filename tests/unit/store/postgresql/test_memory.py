"""Memory of a replica: which answers of the database are older than it, and which show a loss."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from assay.errors import LedgerError
from assay.ports import ForgottenFact, ForgottenFacts, ForgottenKind, HistoryChanges, ProjectHistory
from assay.simple.model import NormalizedName
from assay.store.postgresql import memory as memory_module
from assay.store.postgresql.memory import LedgerMemory, Remembered
from tests.contract.ledger_contract import NOON, digest, seen

KEY = ("pypi", NormalizedName("a"))
RESTORED = datetime(2026, 11, 30, tzinfo=UTC)
FIRST = ProjectHistory(known=True, version=1, files={"a": seen("a")})
SECOND = replace(FIRST, version=2, files={"a": seen("a"), "b": seen("b")})


@pytest.fixture
def memory() -> LedgerMemory:
    made = LedgerMemory()
    made.put(KEY, SECOND, None)
    return made


async def test_an_answer_that_was_on_its_way_during_a_write_replaces_nothing(memory: LedgerMemory) -> None:
    before = LedgerMemory().remember(KEY)
    assert await memory.compare(KEY, before, FIRST, None) is None
    memory.put(KEY, FIRST, None)
    assert memory.get_history(KEY) is SECOND
    memory.put(KEY, replace(SECOND, version=3), None)
    assert memory.get_history(KEY) == SECOND


async def test_an_answer_with_all_facts_is_no_loss(memory: LedgerMemory) -> None:
    later = replace(SECOND, version=9, files={**SECOND.files, "c": seen("c")})
    assert await memory.compare(KEY, memory.remember(KEY), later, None) is None


@pytest.mark.parametrize(
    "found",
    [
        FIRST,
        ProjectHistory(),
        replace(FIRST, version=3),
        replace(SECOND, version=3, files={**SECOND.files, "b": seen("other")}),
    ],
    ids=["lower version", "no project", "fewer files", "another digest"],
)
async def test_a_loss_is_an_error_until_a_restore_is_confirmed(memory: LedgerMemory, found: ProjectHistory) -> None:
    remembered = memory.remember(KEY)
    with pytest.raises(LedgerError, match="run: assay database restored"):
        await memory.compare(KEY, remembered, found, None)
    assert memory.is_refused(KEY)
    lost = await memory.compare(KEY, remembered, found, RESTORED)
    assert lost is not None
    assert lost.files == SECOND.files
    memory.put(KEY, replace(FIRST, version=1), RESTORED, is_restored=True)
    assert not memory.is_refused(KEY)
    with pytest.raises(LedgerError):
        await memory.compare(KEY, memory.remember(KEY), ProjectHistory(), RESTORED)


async def test_a_lost_statement_is_a_loss_and_a_new_one_explains_missing_facts(memory: LedgerMemory) -> None:
    row = ForgottenFact(
        what=ForgottenKind.DIGEST, version=1, at=NOON, reason="a test", filename="b", sha256=digest("b"), found="b"
    )
    after = replace(FIRST, version=3, forgotten=ForgottenFacts((row,)))
    assert await memory.compare(KEY, memory.remember(KEY), after, None) is None
    memory.put(KEY, after, None)
    with pytest.raises(LedgerError):
        await memory.compare(KEY, memory.remember(KEY), replace(FIRST, version=4), None)


async def test_the_version_is_remembered_longer_than_the_history(memory: LedgerMemory) -> None:
    memory.forget(KEY)
    assert memory.remember(KEY).history is None
    with pytest.raises(LedgerError):
        await memory.compare(KEY, memory.remember(KEY), FIRST, None)
    accepted = await memory.compare(KEY, memory.remember(KEY), FIRST, RESTORED)
    assert accepted is not None
    assert not accepted
    assert await memory.compare(KEY, Remembered(None, None), FIRST, None) is None


@pytest.mark.parametrize(("files", "is_thread"), [(4000, True), (5, False)])
async def test_a_large_history_is_compared_in_a_thread_and_a_small_one_is_not(
    files: int, is_thread: bool, memory: LedgerMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set[threading.Thread]()
    find = memory_module._has_lost_facts

    def watch(before: ProjectHistory, counted: HistoryChanges, now: ProjectHistory) -> bool:
        threads.add(threading.current_thread())
        return find(before, counted, now)

    monkeypatch.setattr(memory_module, "_has_lost_facts", watch)
    history = ProjectHistory(known=True, version=3, files={f"{n}": seen(f"{n}") for n in range(files)})
    memory.put(KEY, history, None)
    assert await memory.compare(KEY, memory.remember(KEY), replace(history, version=4), None) is None
    fewer = replace(history, version=4, files=dict(list(history.files.items())[1:]))
    with pytest.raises(LedgerError, match="has lost facts"):
        await memory.compare(KEY, memory.remember(KEY), fewer, None)
    assert (threading.main_thread() not in threads) == is_thread
