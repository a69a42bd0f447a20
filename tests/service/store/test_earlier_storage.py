"""Compatibility of storage directories between the current and an earlier version, in both directions.

The operator's data must survive an upgrade. Otherwise every project would have to establish its publishers again, and
everything would be fetched again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from assay.attestation import codec
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.renewal.tuf import TufRefresher, create_tuf_refreshers
from assay.attestation.trust_roots import TrustRoot
from assay.evidence import Attestation
from assay.pages import records
from assay.ports import VerificationJob
from assay.store.directory import StorageDirectory
from assay.store.ledger.tables import get_copy_path
from assay.store.ledger.text import HEADER_LINE
from assay.store.settings import StorageSettings
from tests.storage import before
from tests.storage.kept import KEPT, RENEWED, SOON, TUF, WRITTEN, copied, exported, told
from tests.storage.world import ABSENT, FarIndex, answers, over, write, written
from tests.world.proxy.ledgers import make_older
from tests.world.proxy.running_proxy import ManualClock
from tests.world.sigstore.tuf_repository import TufRepository

TOLD = told()
SAME_SIGSTORE = version("sigstore") == TOLD["sigstore"]
"""True if the evidence in the directory can be reused: its key contains the version of sigstore."""
VERIFIER_OF_BEFORE = f"1+sigstore-{version('sigstore')}"


@pytest.fixture(autouse=True)
def verifier_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record and look up evidence under the version of the checks at that commit, so that its records are found.

    These checks recorded no log.
    """
    encode = vars(codec)["_attestation_to_json"]

    def encode_without_log(attestation: Attestation) -> dict[str, Any]:
        return {key: value for key, value in encode(attestation).items() if key != "log"}

    monkeypatch.setattr(codec.evidence_key, "__defaults__", (VERIFIER_OF_BEFORE,))
    monkeypatch.setattr(codec, "_attestation_to_json", encode_without_log)


REWRITTEN = (
    *(f"json /simple/{name}/" for name in ("gadget", "lost", "plain", "stranger", "widget")),
    *(each for each in TOLD["answers"] if each.startswith("html /simple/") and not each.endswith(f"/{ABSENT}/")),
)
"""Pages whose bytes differ on purpose. On JSON pages with withheld versions, `versions` names those with a listed file.
HTML pages state the width of the screen."""


def but_for_rewritten(answered: dict[str, Any]) -> dict[str, Any]:
    """Return the responses without the digests of the pages in `REWRITTEN`."""
    assert answered.keys() >= set(REWRITTEN)
    return {
        question: {key: value for key, value in told.items() if question not in REWRITTEN or key != "sha256"}
        for question, told in answered.items()
    }


def but_for_time(answered: dict[str, Any]) -> dict[str, Any]:
    """Return the responses except those for the absent project, which Assay caches for a minute only."""
    return {question: told for question, told in answered.items() if not question.endswith(f" /simple/{ABSENT}/")}


def without_absent_project(asked: Sequence[str]) -> list[str]:
    """Return the requests except those for the absent project, whose absence Assay no longer records."""
    return [question for question in asked if not question.endswith(f"/simple/{ABSENT}/")]


def comparable(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts without the keys of evidence if the sigstore version differs; the evidence itself stays."""
    if SAME_SIGSTORE:
        return facts
    records = {key: value for key, value in facts["records"].items() if not key.startswith("evidence:")}
    evidence = sorted(str(value) for key, value in facts["records"].items() if key.startswith("evidence:"))
    return {**facts, "records": records, "evidence": evidence}


def as_current_format(text: str) -> str:
    """Return an exported ledger of format 1 as the current format writes it."""
    return text.replace('{"assay-ledger": 1}', HEADER_LINE).replace('"kind": "established"', '"kind": "signer"')


async def test_what_was_written_before_is_served_as_it_was_then_and_no_index_is_asked(tmp_path: Path) -> None:
    directory = await asyncio.to_thread(copied, tmp_path / "kept")
    async with FarIndex() as nothing, over(nothing, directory, ManualClock(SOON)) as proxy:
        assert but_for_rewritten(await answers(proxy, TOLD["answers"])) == but_for_rewritten(TOLD["answers"])
        # Each process fetches a forged document again, because the index may have replaced it.
        assert nothing.asked == TOLD["asked"]
    assert [question for question in TOLD["asked"] if "/forged/" not in question] == []
    ledger = directory / "storage" / "ledger" / "ledger.db"
    now, then = [await asyncio.to_thread(written, root / "storage") for root in (directory, KEPT)]
    assert now["ledger schema"] != then["ledger schema"], "the ledger was migrated"
    await asyncio.to_thread(make_older, ledger)
    facts = await asyncio.to_thread(written, directory / "storage")
    # A file is judged again when its publisher has settled, so a second signer of it may be recorded then.
    added = set(facts["ledger"]) - set(then["ledger"])
    assert all(row.startswith('INSERT INTO "established"') for row in added)
    assert facts | {"ledger": [row for row in facts["ledger"] if row not in added]} == then
    get_copy_path(ledger, 1).replace(ledger)
    assert await asyncio.to_thread(written, directory / "storage") == then, "the copy is the ledger as it was"


@pytest.mark.skipif(not SAME_SIGSTORE, reason=f"the evidence was verified by sigstore {TOLD['sigstore']}")
async def test_what_was_verified_before_is_not_verified_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify, again = VerifierPool.verify, list[str]()

    async def noted(self: VerifierPool, jobs: Sequence[VerificationJob]) -> Any:
        again.extend(job.filename for job in jobs)
        return await verify(self, jobs)

    monkeypatch.setattr(VerifierPool, "verify", noted)
    directory = await asyncio.to_thread(copied, tmp_path / "kept")
    async with FarIndex() as nothing, over(nothing, directory, ManualClock(SOON)) as proxy:
        await answers(proxy, TOLD["answers"])
    assert again == []


async def test_other_checks_verify_what_was_recorded_again_and_no_index_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec.evidence_key, "__defaults__", (codec.VERIFIER_VERSION,))
    directory = await asyncio.to_thread(copied, tmp_path / "kept")
    async with FarIndex() as nothing, over(nothing, directory, ManualClock(SOON)) as proxy:
        assert but_for_rewritten(await answers(proxy, TOLD["answers"])) == but_for_rewritten(TOLD["answers"])
        assert [question for question in nothing.asked if "/forged/" not in question] == []
    before_, after = [await asyncio.to_thread(written, root / "storage") for root in (KEPT, directory)]
    added = {key: value for key, value in after["records"].items() if key not in before_["records"]}
    assert added
    assert {key.partition(":")[0] for key in added} == {"evidence"}


async def test_what_is_written_today_is_fact_for_fact_what_was_written_before(tmp_path: Path) -> None:
    """Compare schemas, rows, keys and values, except the storage times of records and what the ledger got later."""
    assert but_for_rewritten(await write(tmp_path, ManualClock(WRITTEN))) == but_for_rewritten(TOLD["answers"])
    await asyncio.to_thread(make_older, tmp_path / "storage" / "ledger" / "ledger.db")
    today, then = [await asyncio.to_thread(written, root / "storage") for root in (tmp_path, KEPT)]
    assert (tmp_path / "trusted_root.json").read_bytes() == (KEPT / "trusted_root.json").read_bytes()
    assert then["records"].pop(f"page:test:{ABSENT}")["absent"] is True  # an absence is no longer recorded
    assert comparable(today) == comparable(then)
    assert await exported(tmp_path / "storage") == as_current_format((KEPT / "ledger.txt").read_text("utf-8"))


async def test_a_ledger_of_before_is_exported_and_its_text_imported_as_it_was(tmp_path: Path) -> None:
    text = (KEPT / "ledger.txt").read_text("utf-8")
    directory = await asyncio.to_thread(copied, tmp_path / "kept")
    assert await exported(directory / "storage") == as_current_format(text)
    store = await StorageDirectory.open(StorageSettings(directory=tmp_path / "fresh"))
    imported = await store.ledger.import_(text.splitlines())
    assert (imported.projects > 5, imported.conflicts) == (True, 0)
    assert "".join([f"{line}\n" async for line in store.ledger.export()]) == as_current_format(text)
    await store.close()


async def test_every_record_and_blob_of_before_is_whole(tmp_path: Path) -> None:
    directory = await asyncio.to_thread(copied, tmp_path / "kept")
    facts = await asyncio.to_thread(written, KEPT / "storage")
    store = await StorageDirectory.open(StorageSettings(directory=directory / "storage"))
    usage = await store.records.stats()
    assert (usage.count, await store.records.verify()) == (len(facts["records"]), 0)
    checked = await store.blobs.verify()
    assert (checked.checked, checked.broken) == (len(facts["blobs"]), ())
    await store.close()


def test_the_versions_of_what_is_recorded_are_those_of_before() -> None:
    """A higher version makes every installation fetch or verify again; change this test if that is intended."""
    assert (codec.EVIDENCE_SCHEMA_VERSION, records.SCHEMA_VERSION) == (1, 1)
    assert f"2+sigstore-{version('sigstore')}" == codec.VERIFIER_VERSION
    names = {one.partition(":")[0] for one in written(KEPT / "storage")["records"]}
    assert names == {"document", "evidence", "metadata", "own-metadata", "page", "page-body", "provenance"}


def refresher_in(storage: Path, anchor: bytes) -> TufRefresher:
    """Return the TUF refresher for the test's repository."""
    (found,) = create_tuf_refreshers([RENEWED], storage)
    return replace(found, url=TUF, anchor=anchor)


def test_a_trust_root_renewed_before_is_proven_and_one_of_today_has_the_same_files(tmp_path: Path) -> None:
    directory = copied(tmp_path / "kept")
    content, anchor = ((KEPT / name).read_bytes() for name in ("trusted_root.json", "tuf_root.json"))
    proven = refresher_in(directory / "storage", anchor).load_verified()
    assert proven is not None
    assert (proven.name, proven.content) == (RENEWED, content)
    tuf = TufRepository(content)
    tuf.rotate_root()
    tuf.publish(content)
    refresher = replace(refresher_in(tmp_path, tuf.anchor), fetch=tuf.fetch)
    refresher.refresh(TrustRoot(name=RENEWED, content=content))
    names = [
        sorted(str(path.relative_to(root)) for path in root.glob("trust/**/*"))
        for root in (tmp_path, directory / "storage")
    ]
    assert names[0] == names[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    try:
        before.unpack(tmp_path / "before")
    except before.NoHistoryError as missing:
        pytest.skip(
            f"not tested: {before.COMMIT} opens a current storage directory, because the commit is missing ({missing});"
            " run `git fetch --unshallow`"
        )
    return tmp_path / "before"


@pytest.mark.long
async def test_what_is_written_today_is_served_by_the_product_of_before_and_no_index_is_asked(
    tmp_path: Path, tree: Path
) -> None:
    assert tree in (await asyncio.to_thread(before.imported, tree)).parents
    directory = tmp_path / "today"
    directory.mkdir()
    clock = ManualClock(datetime.now(UTC))
    today = await write(directory, clock)
    # The earlier version reads the copy that a migration keeps: make the ledger an earlier one, migrate it, go back.
    ledger = directory / "storage" / "ledger" / "ledger.db"
    await asyncio.to_thread(make_older, ledger)
    export = await exported(directory / "storage")
    async with FarIndex() as nothing, over(nothing, directory, clock) as proxy:
        assert await answers(proxy, today) == today
    get_copy_path(ledger, 1).replace(ledger)
    async with FarIndex() as nothing, before.serving(tree, nothing, directory) as old:
        answered = but_for_rewritten(await answers(old, but_for_time(today)))
        assert answered == but_for_rewritten(but_for_time(today))
        assert without_absent_project(nothing.asked) == TOLD["asked"]
        async with old.session.get(f"{old.origin}/metrics") as response:
            metrics = await response.text()
        assert "\nassay_pages_total{" in metrics
        assert "\nassay_evidence_total{" not in metrics, "no document was verified again"
    assert await exported(directory / "storage") == export
    # The current version again, as after a short downgrade.
    async with FarIndex() as nothing, over(nothing, directory, clock) as proxy:
        assert await answers(proxy, today) == today
        assert without_absent_project(nothing.asked) == TOLD["asked"]
