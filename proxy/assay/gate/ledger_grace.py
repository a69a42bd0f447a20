"""Limits on pages and uploads that are judged while the database of the ledger is away.

The ledger then answers with the facts that it confirmed last, for a limited time (`ledger-grace`). Another replica may
have added facts since. Such facts can withhold files, so a page that was judged without them may withhold more than the
last page, but must not approve more. A page that adds facts to the ledger fails already when they are recorded.
"""

from __future__ import annotations

from assay.errors import LedgerUnavailableError
from assay.gate.judged_page import JudgedPage
from assay.ports import ProjectHistory
from assay.simple.model import Sha256


def require_no_new_approvals(judged: JudgedPage, last: JudgedPage | None) -> None:
    """Check a page whose facts the ledger has not confirmed: it approves only files that the last page approved.

    Args:
        judged: the page.
        last: the page of the same project and view that was judged last; None if it is not in memory.

    Raises:
        LedgerUnavailableError: the page approves a file that the last page did not approve.
    """
    before = frozenset[tuple[str, Sha256 | None]]() if last is None else _list_approved(last)
    if judged.is_confirmed or _list_approved(judged) <= before:
        return
    raise LedgerUnavailableError(
        f"the database of the ledger is away, and the page of {judged.page.project.name} approves files that were not"
        " approved before; try again when the database is back"
    )


def require_confirmed(history: ProjectHistory) -> None:
    """Check that the ledger has confirmed the facts by which an upload is judged.

    Raises:
        LedgerUnavailableError: the database of the ledger is away.
    """
    if not history.is_confirmed:
        raise LedgerUnavailableError(
            "the database of the ledger is away, and uploads need it; try again when the database is back"
        )


def _list_approved(judged: JudgedPage) -> frozenset[tuple[str, Sha256 | None]]:
    return frozenset((each.file.filename, each.file.sha256) for each in judged.listing.approved)
