"""A ledger on a fresh directory: fixtures of the tests that use and break one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from assay.ports import HistoryChanges
from assay.store.ledger import SqliteLedger
from tests.contract.ledger_contract import digest, established, seen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def make(path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[SqliteLedger] = []

    async def begin(place: Path = path, *, fresh: bool = True) -> SqliteLedger:
        made.append(SqliteLedger(place, fresh=fresh))
        await made[-1].open()
        return made[-1]

    yield begin
    for ledger in made:
        await ledger.close()


@pytest.fixture
async def ledger(make: Callable[..., Any]) -> SqliteLedger:
    found: SqliteLedger = await make()
    return found


FULL_CHANGES = HistoryChanges(
    serial=7,
    files={"a-1.tar.gz": seen("a"), "b\ud800\n.whl": seen("b", late=True)},
    established=(established("a-1.tar.gz"), established("b", subject="email:a@example.org")),
    evidence={digest("a"): "1" * 64, digest("b"): "2" * 64},
)


async def export_lines(ledger: SqliteLedger) -> list[str]:
    return [line async for line in ledger.export()]
