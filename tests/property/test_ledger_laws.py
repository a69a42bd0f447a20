"""Laws of the ledger's memory: its text is all of it, and what was once known is known for good."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity, HistoryChanges, ProjectHistory, SeenFile
from assay.store import ledger_text
from assay.store.ledger_rows import merge_changes
from tests.contract.ledger_contract import PROJECT, digest

DIGESTS = st.integers(0, 5).map(lambda number: digest(str(number)))
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
NAMES = st.text(min_size=1, max_size=3)
ESTABLISHED = st.builds(
    EstablishedIdentity,
    identity=st.builds(
        PublisherIdentity, trust_root=st.just("r"), issuer=st.just("i"), subject=st.sampled_from(["a", "b"])
    ),
    filename=NAMES,
    sha256=DIGESTS,
    logged=TIMES,
)
CHANGES = st.builds(
    HistoryChanges,
    serial=st.none() | st.integers(0, 2**63 - 1),
    files=st.dictionaries(NAMES, st.builds(SeenFile, sha256=DIGESTS, first_seen=TIMES, late=st.booleans()), max_size=4),
    established=st.lists(ESTABLISHED, max_size=4).map(tuple),
    evidence=st.dictionaries(DIGESTS, st.text(min_size=1, max_size=3), max_size=4),
)


@given(CHANGES)
def test_every_history_survives_its_text(changes: HistoryChanges) -> None:
    history = merge_changes(ProjectHistory(), changes)
    lines = [ledger_text.HEADER_LINE, *ledger_text.encode_history("pypi", PROJECT, history)]
    ((index, project, read),) = ledger_text.read_changes(lines)
    assert (index, project) == ("pypi", PROJECT)
    again = merge_changes(ProjectHistory(), read)
    assert (again.serial, again.files, again.evidence) == (history.serial, history.files, history.evidence)
    assert set(again.established) == set(history.established)


@given(st.lists(CHANGES, max_size=4))
def test_what_was_once_known_is_known_for_good(pages: list[HistoryChanges]) -> None:
    history = ProjectHistory()
    for page in pages:
        later = merge_changes(history, page)
        assert history.files.items() <= later.files.items()
        assert set(history.established) <= set(later.established)
        assert (later.serial or 0) >= (history.serial or 0)
        history = later
