"""Laws of the ledger's memory: its text is all of it, and a recorded fact is never lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.evidence import PublisherIdentity
from assay.ports import EstablishedPublisher, FileSigner, HistoryChanges, ProjectHistory, Replacement, SeenFile
from assay.store.ledger import text as ledger_text
from assay.store.ledger.ledger import SqliteLedger
from assay.store.ledger.rows import merge_changes
from tests.contract.ledger_contract import PROJECT, digest

DIGESTS = st.integers(0, 5).map(lambda number: digest(str(number)))
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
NAMES = st.text(min_size=1, max_size=3)
IDENTITIES = st.builds(
    PublisherIdentity, trust_root=st.just("r"), issuer=st.just("i"), subject=st.sampled_from(["a", "b"])
)
SIGNERS = st.builds(
    FileSigner,
    identity=IDENTITIES,
    filename=NAMES,
    sha256=DIGESTS,
    logged=TIMES,
)
PUBLISHERS = st.builds(EstablishedPublisher, identity=IDENTITIES, logged=TIMES, existed=TIMES)
CHANGES = st.builds(
    HistoryChanges,
    serial=st.none() | st.integers(0, 2**63 - 1),
    files=st.dictionaries(
        NAMES,
        st.builds(SeenFile, sha256=DIGESTS, first_seen=TIMES, late=st.booleans(), corrected=st.booleans()),
        max_size=4,
    ),
    signers=st.lists(SIGNERS, max_size=4).map(tuple),
    publishers=st.lists(PUBLISHERS, max_size=2, unique_by=lambda one: one.identity).map(tuple),
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
    assert set(again.signers) == set(history.signers)
    assert set(again.publishers) == set(history.publishers)


@given(st.lists(CHANGES, max_size=4))
def test_what_was_once_known_is_known_for_good(pages: list[HistoryChanges]) -> None:
    history = ProjectHistory()
    for page in pages:
        later = merge_changes(history, page)
        assert history.files.items() <= later.files.items()
        assert set(history.signers) <= set(later.signers)
        assert set(history.publishers) <= set(later.publishers)
        assert (later.serial or 0) >= (history.serial or 0)
        history = later


@settings(max_examples=60)
@given(CHANGES, CHANGES)
def test_after_a_replacing_import_the_text_counts_and_files_that_it_lacks_stay(
    before: HistoryChanges, text: HistoryChanges
) -> None:
    asyncio.run(_check_replacing_import(before, merge_changes(ProjectHistory(), text)))


async def _check_replacing_import(before: HistoryChanges, wanted: ProjectHistory) -> None:
    lines = [ledger_text.HEADER_LINE, *ledger_text.encode_history("pypi", PROJECT, wanted)]
    replacement = Replacement(at=datetime(2101, 1, 1, tzinfo=UTC), reason="a test")
    with TemporaryDirectory() as directory:
        ledger = SqliteLedger(Path(directory) / "ledger.db", may_create=True)
        await ledger.open()
        known = await ledger.record("pypi", PROJECT, before, known=ProjectHistory())
        assert known is not None
        await ledger.import_(lines, replacement=replacement)
        found = await ledger.get_history("pypi", PROJECT)
        again = await ledger.import_(lines, replacement=replacement)
        after = [line async for line in ledger.export()]
        other = SqliteLedger(Path(directory) / "other.db", may_create=True)
        await other.open()
        await other.import_(after)
        exported = [line async for line in other.export()]
        await ledger.close()
        await other.close()
    assert again.replaced == 0
    assert exported == after
    assert (found.serial, set(found.publishers)) == (wanted.serial, set(wanted.publishers))
    for name, entry in found.files.items():
        assert entry == (wanted.files.get(name) or known.files[name])
    assert found.files.keys() == wanted.files.keys() | known.files.keys()
    for filename in wanted.files:
        signers = [{each for each in one.signers if each.filename == filename} for one in (found, wanted)]
        assert signers[0] == signers[1]
