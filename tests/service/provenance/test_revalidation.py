"""Tests of an index that replaces, damages or withdraws provenance, which the next renewal of the page detects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from assay.provenance.collector import EvidenceCollector
from assay.provenance.documents import DocumentPointer, FileKey
from assay.simple.model import File, NormalizedName
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore

ACME, OTHER = GitHub(repository="acme/foo"), GitHub(repository="other/foo")
FOO = NormalizedName("foo")


def policy(repository: str, revoked: str = "nobody/nothing") -> str:
    return f"""
version = 1
[[rules]]
name = "foo"
projects = ["*"]
publishers = [{{ kind = "GitHub", repository = "{repository}" }}]
[[revocations]]
publishers = [{{ kind = "GitHub", repository = "{revoked}" }}]
reason = "stolen"
"""


async def renewed(proxy: RunningProxy, project: str = "foo") -> None:
    """Advance the clock past the page's freshness, request the page, and wait for the background revalidation."""
    proxy.clock.now += timedelta(minutes=11)
    await proxy.fetch_page(project)
    await proxy.assembly.gate.resources.provenance.revalidator.wait_until_idle()


def add(index: Index, sigstore: PrivateSigstore) -> ListedFile:
    built = wheel("foo", "1.0")
    return index.add(
        built,
        upload_time=SIGNING_TIME,
        provenance=sigstore.provenance(built.filename, built.sha256, ACME, when=SIGNING_TIME),
    )


@pytest.fixture
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=5)


async def test_a_replaced_document_counts_beside_the_earlier_one_and_is_noted_in_the_ledger(
    tmp_path: Path, sigstore: PrivateSigstore, caplog: pytest.LogCaptureFixture
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy("acme/foo"), sigstore=sigstore) as proxy:
        listed = add(index, sigstore)
        name, digest = listed.built.filename, listed.built.sha256
        assert await proxy.fetch_listed("foo") == {name}
        other = sigstore.provenance(name, digest, OTHER, when=SIGNING_TIME)
        listed.provenance = other
        await renewed(proxy)
        assert await proxy.fetch_listed("foo") == {name}, "recorded evidence continues to count"
        assert (await proxy.get(listed.provenance_path)).body == other
        assert "provenance-replaced" in [record.message for record in caplog.records]
        history = await proxy.assembly.store.ledger.get_history("test", FOO)
        assert list(history.evidence.values()) == [hashlib.sha256(other).hexdigest()]


@pytest.mark.parametrize("revoked", ["acme/foo", "other/foo"])
async def test_a_revocation_of_either_publisher_withholds_the_file(
    tmp_path: Path, sigstore: PrivateSigstore, revoked: str
) -> None:
    rules = policy("*/foo", revoked)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=rules, sigstore=sigstore) as proxy:
        listed = add(index, sigstore)
        before = await proxy.fetch_listed("foo")
        assert before == (set() if revoked == "acme/foo" else {listed.built.filename})
        listed.provenance = sigstore.provenance(listed.built.filename, listed.built.sha256, OTHER, when=SIGNING_TIME)
        await renewed(proxy)
        assert await proxy.fetch_withheld("foo") == {listed.built.filename: ["revoked"]}


async def test_a_forged_replacement_withholds_and_a_good_one_afterwards_is_approved(
    tmp_path: Path, sigstore: PrivateSigstore
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy("acme/foo"), sigstore=sigstore) as proxy:
        listed = add(index, sigstore)
        good = listed.provenance
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        listed.provenance = sigstore.provenance(listed.built.filename, "0" * 64, ACME, when=SIGNING_TIME)
        await renewed(proxy)
        assert await proxy.fetch_withheld("foo") == {listed.built.filename: ["forged"]}
        listed.provenance = good
        await renewed(proxy)
        assert await proxy.fetch_listed("foo") == {listed.built.filename}


async def test_documents_are_looked_up_for_revalidation_only_if_they_were_not_just_fetched(
    tmp_path: Path, sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = list[str]()
    load = EvidenceCollector.load_pointers

    async def note(collector: EvidenceCollector, files: Sequence[File]) -> dict[FileKey, DocumentPointer]:
        looked_up.extend(file.filename for file in files)
        return await load(collector, files)

    monkeypatch.setattr(EvidenceCollector, "load_pointers", note)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy("acme/foo"), sigstore=sigstore) as proxy:
        listed = add(index, sigstore)
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        await proxy.assembly.gate.resources.provenance.revalidator.wait_until_idle()
        assert not looked_up
        await renewed(proxy)
        assert looked_up == [listed.built.filename]
        assert index.count(listed.provenance_path) == 2


async def test_what_an_index_withdraws_still_counts_and_what_is_unchanged_is_not_verified_again(
    tmp_path: Path, sigstore: PrivateSigstore
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy("acme/foo"), sigstore=sigstore) as proxy:
        listed = add(index, sigstore)
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        await renewed(proxy)
        assert index.count(listed.provenance_path) == 2
        await proxy.fetch_page("foo")
        await proxy.assembly.gate.resources.provenance.revalidator.wait_until_idle()
        assert index.count(listed.provenance_path) == 2, "not before the page is due for renewal"
        listed.provenance = b"<html>Please log in</html>"
        await renewed(proxy)
        assert await proxy.fetch_listed("foo") == {listed.built.filename}, "without a new document, the old one counts"
        listed.entry["provenance"] = listed.provenance_url
        listed.provenance = None
        await renewed(proxy)
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
