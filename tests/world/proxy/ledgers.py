"""Changes of every kind for a ledger, and its text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from assay.ports import HistoryChanges
from assay.store.ledger import SqliteLedger
from tests.contract.ledger_contract import digest, established, seen

LedgerFactory: TypeAlias = Callable[..., Awaitable[SqliteLedger]]

FULL_CHANGES = HistoryChanges(
    serial=7,
    files={"a-1.tar.gz": seen("a"), "b\ud800\n.whl": seen("b", late=True)},
    established=(established("a-1.tar.gz"), established("b", subject="email:a@example.org")),
    evidence={digest("a"): "1" * 64, digest("b"): "2" * 64},
)


async def export_lines(ledger: SqliteLedger) -> list[str]:
    return [line async for line in ledger.export()]
