"""Tests of evidence from several sources: their selection, the merged evidence, and separate records and errors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from assay.attestation.codec import evidence_key
from assay.errors import AssayError, UpstreamUnavailableError
from assay.evidence import INDEX_SOURCE, Attested, Evidence, Forged, Rejection, Unattested, Unverifiable
from assay.ports import DocumentFormat, ProjectHistory
from assay.provenance import fetcher
from assay.provenance.documents import FileKey, file_key
from assay.provenance.resolver import Resolution
from assay.simple.model import File, Sha256
from tests.unit.policy.factories import NOW, a_file
from tests.unit.provenance.factories import (
    FORGED,
    CredulousVerifier,
    MemoryRecords,
    ScriptedSource,
    index_source,
    make_page,
    make_resolver,
)

FOO, BAR = a_file(project="foo"), a_file(project="bar")
HISTORY = ProjectHistory()
REVIEWS = "reviews"
REJECTED = Rejection(step="signature", expected="a valid bundle", found="another")


def signers(evidence: Evidence) -> dict[str, str]:
    """Return the signing repository by the source of the attestation."""
    assert isinstance(evidence, Attested)
    return {each.source: each.claims.repository or "" for each in evidence.attestations}


def has_answer(resolution: Resolution, source: str, key: FileKey) -> bool:
    return source in resolution.by_source and key in resolution.by_source[source].by_file


def both(*files: File) -> dict[str, list[File]]:
    return {INDEX_SOURCE: list(files), REVIEWS: list(files)}


async def test_what_several_sources_prove_counts_together_and_each_attestation_names_its_source() -> None:
    resolver = make_resolver(index_source(foo=b"by acme/foo"), ScriptedSource(REVIEWS, foo=b"by acme/reviews"))
    resolution = await resolver.resolve(make_page(FOO), both(FOO), HISTORY)
    merged = resolution.merge()[file_key(FOO)]
    assert signers(merged) == {INDEX_SOURCE: "acme/foo", REVIEWS: "acme/reviews"}
    assert isinstance(merged, Attested)
    assert len({each.bundle for each in merged.attestations}) == 2, "bundles of two documents stay apart"
    assert resolution.failures == {}
    own = Sha256(hashlib.sha256(b"by acme/foo").hexdigest())
    assert resolution.index_documents() == {file_key(FOO): own}, "the ledger records only the index's documents"


async def test_a_source_is_asked_only_for_files_that_it_is_wanted_for_and_covers() -> None:
    index, reviews = index_source(foo=b"by acme/foo", bar=b"by acme/bar"), ScriptedSource(REVIEWS, foo=b"by acme/r")
    resolver = make_resolver(index, reviews)
    page = make_page(FOO, BAR)
    first = await resolver.resolve(page, {INDEX_SOURCE: [FOO, BAR]}, HISTORY)
    assert (sorted(index.asked), reviews.asked) == ([BAR.filename, FOO.filename], [])
    later = await resolver.resolve(page, {REVIEWS: [FOO, BAR]}, HISTORY)
    assert reviews.asked == [FOO.filename]
    assert len(index.asked) == 2
    assert later.merge()[file_key(BAR)] == Unattested(asked=(REVIEWS,)), (
        "the source does not cover the file, so the file is unattested"
    )
    joined = first.join(later)
    assert signers(joined.merge()[file_key(FOO)]) == {INDEX_SOURCE: "acme/foo", REVIEWS: "acme/r"}
    assert signers(joined.merge()[file_key(BAR)]) == {INDEX_SOURCE: "acme/bar"}
    assert has_answer(joined, REVIEWS, file_key(BAR))
    assert not has_answer(first, REVIEWS, file_key(FOO))


async def test_the_error_of_one_source_is_no_error_of_another() -> None:
    down = UpstreamUnavailableError("reviews are down")
    index, reviews = index_source(foo=b"by acme/foo", bar=b"by acme/bar"), ScriptedSource(REVIEWS, foo=down)
    records, page = MemoryRecords(), make_page(FOO, BAR)
    resolution = await make_resolver(index, reviews, records=records).resolve(page, both(FOO, BAR), HISTORY)
    assert {key: failure.problem for key, failure in resolution.failures.items()} == {file_key(FOO): str(down)}
    assert not has_answer(resolution, REVIEWS, file_key(FOO)), "the failed source has no answer for the file"
    assert has_answer(resolution, REVIEWS, file_key(BAR)), "not covered"
    assert signers(resolution.merge()[file_key(FOO)]) == {INDEX_SOURCE: "acme/foo"}
    assert signers(resolution.merge()[file_key(BAR)]) == {INDEX_SOURCE: "acme/bar"}

    reviews.answers[FOO.filename] = b"by acme/r"
    again = await make_resolver(index, reviews, records=records).resolve(page, both(FOO, BAR), HISTORY)
    assert again.failures == {}
    assert signers(again.merge()[file_key(FOO)]) == {INDEX_SOURCE: "acme/foo", REVIEWS: "acme/r"}
    assert len(index.asked) == 2, "the index's documents are recorded"


async def test_the_index_may_fail_alone_too_and_an_answer_clears_the_error() -> None:
    down: AssayError = UpstreamUnavailableError("the index is down")
    index, reviews = index_source(foo=down), ScriptedSource(REVIEWS, foo=b"by acme/r")
    times = [NOW]
    resolver, page = make_resolver(index, reviews, clock=lambda: times[-1]), make_page(FOO)
    first = await resolver.resolve(page, both(FOO), HISTORY)
    assert {key: failure.problem for key, failure in first.failures.items()} == {file_key(FOO): str(down)}
    assert has_answer(first, REVIEWS, file_key(FOO))
    index.answers[FOO.filename] = b"by acme/foo"
    early = await resolver.resolve(page, {INDEX_SOURCE: [FOO]}, HISTORY)
    assert (early.failures, len(index.asked)) == (first.failures, 1), "the next try is not due"
    times.append(NOW + timedelta(minutes=1))
    joined = first.join(await resolver.resolve(page, {INDEX_SOURCE: [FOO]}, HISTORY))
    assert joined.failures == {}
    assert set(signers(joined.merge()[file_key(FOO)])) == {INDEX_SOURCE, REVIEWS}


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (b"by acme/foo", b"forged", {INDEX_SOURCE: "acme/foo"}),
        (None, b"forged", Unattested(asked=(REVIEWS,))),
        (b"forged", b"by acme/r", FORGED),
        (b"forged", b"forged", FORGED),
        (None, b"by acme/r", {REVIEWS: "acme/r"}),
        (None, None, Unattested(asked=(REVIEWS,))),
    ],
)
async def test_only_the_index_makes_a_file_forged(
    own: bytes | None,
    other: bytes | None,
    expected: Evidence | dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    resolver = make_resolver(index_source(foo=own), ScriptedSource(REVIEWS, foo=other))
    merged = (await resolver.resolve(make_page(FOO), both(FOO), HISTORY)).merge()[file_key(FOO)]
    assert (signers(merged) if isinstance(expected, dict) else merged) == expected
    events = [record.__dict__["fields"] for record in caplog.records if record.name == "assay.security"]
    named = sorted(each.get("source", INDEX_SOURCE) for each in events)
    assert named == sorted(source for source, said in ((INDEX_SOURCE, own), (REVIEWS, other)) if said == b"forged"), (
        "each is a security event that names its source"
    )


async def test_a_rejected_bundle_is_a_security_event_and_the_evidence_names_its_source(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = MemoryRecords()
    for expected_events in (1, 0):  # the second resolution reads the record
        caplog.clear()
        index, reviews = index_source(foo=None), ScriptedSource(REVIEWS, foo=b"rejected signature")
        resolver = make_resolver(index, reviews, records=records)
        merged = (await resolver.resolve(make_page(FOO), both(FOO), HISTORY)).merge()[file_key(FOO)]
        assert merged == Unattested(rejected=(replace(REJECTED, source=REVIEWS),), asked=(REVIEWS,))
        events = [record for record in caplog.records if record.name == "assay.security"]
        assert [record.getMessage() for record in events] == ["bundle-rejected"] * expected_events
        for record in events:
            fields = record.__dict__["fields"]
            assert (
                fields.items()
                >= {"source": REVIEWS, "filename": FOO.filename, "step": "signature", "found": "another"}.items()
            )


async def test_the_reason_why_a_document_of_another_source_does_not_count_names_the_source() -> None:
    resolver = make_resolver(index_source(foo=None), ScriptedSource(REVIEWS, foo=b"unknown log"))
    merged = (await resolver.resolve(make_page(FOO), both(FOO), HISTORY)).merge()[file_key(FOO)]
    assert merged == Unverifiable(reason="reviews: log")


async def test_documents_are_verified_in_the_format_of_their_source() -> None:
    reviews, verifier = ScriptedSource(REVIEWS, foo=b"by acme/reviews"), CredulousVerifier()
    reviews.document_format = DocumentFormat.BUNDLES
    resolver = make_resolver(index_source(foo=b"by acme/foo"), reviews, verifier=verifier)
    await resolver.resolve(make_page(FOO), both(FOO), HISTORY)
    assert verifier.formats == {b"by acme/foo": DocumentFormat.PROVENANCE, b"by acme/reviews": DocumentFormat.BUNDLES}


async def test_records_of_the_index_keep_their_keys_and_those_of_another_source_have_their_own() -> None:
    document = b"by acme/foo"
    digest = hashlib.sha256(document).hexdigest()
    page, alone, shared = make_page(FOO), MemoryRecords(), MemoryRecords()
    await make_resolver(index_source(foo=document), records=alone).resolve(page, {INDEX_SOURCE: [FOO]}, HISTORY)
    own = evidence_key(str(FOO.sha256), FOO.filename, digest, "roots")
    assert set(alone.items) == {own, f"provenance:{FOO.sha256}:{FOO.filename}", f"document:{digest}"}
    assert "source" not in json.loads(alone.items[own])["attestations"][0]

    index, reviews = index_source(foo=document), ScriptedSource(REVIEWS, foo=document)
    await make_resolver(index, reviews, records=shared).resolve(page, both(FOO), HISTORY)
    assert alone.items.items() <= shared.items.items(), "byte for byte, even if another source offers the same"
    theirs = evidence_key(str(FOO.sha256), FOO.filename, digest, "roots", source=REVIEWS)
    assert set(shared.items) - set(alone.items) == {theirs, f"provenance@{REVIEWS}:{FOO.sha256}:{FOO.filename}"}
    assert json.loads(shared.items[theirs])["attestations"][0]["source"] == REVIEWS


async def test_recorded_evidence_is_read_back_with_its_source_and_nothing_is_asked() -> None:
    records, page, verifier = MemoryRecords(), make_page(FOO), CredulousVerifier()
    index, reviews = index_source(foo=b"by acme/foo"), ScriptedSource(REVIEWS, foo=b"by acme/r")
    first = await make_resolver(index, reviews, records=records, verifier=verifier).resolve(page, both(FOO), HISTORY)
    again = await make_resolver(index, reviews, records=records, verifier=verifier).resolve(page, both(FOO), HISTORY)
    assert again.merge() == first.merge()
    assert (len(index.asked), len(reviews.asked), len(verifier.verified)) == (1, 1, 2)


async def test_what_a_source_does_not_have_is_asked_again_only_after_the_page_was_renewed() -> None:
    index, reviews = index_source(foo=b"by acme/foo"), ScriptedSource(REVIEWS, foo=None)
    reviews.absence = Unverifiable(reason="not reviewed")
    resolver = make_resolver(index, reviews)
    for _ in range(2):
        found = await resolver.resolve(make_page(FOO), {REVIEWS: [FOO]}, HISTORY)
        merged = {file_key(FOO): Unverifiable(reason="not reviewed")}
        assert found.merge() == merged, "a document missing at another source proves nothing and gives its reason"
        assert found.by_source[REVIEWS].by_file[file_key(FOO)].evidence == reviews.absence, (
            "the source decides the evidence of an absence"
        )
    assert reviews.asked == [FOO.filename]
    await resolver.resolve(make_page(FOO, digest="v2"), {REVIEWS: [FOO]}, HISTORY)
    assert len(reviews.asked) == 2
    assert index.asked == []


async def test_all_sources_share_one_budget_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [a_file(project=f"p{number}") for number in range(30)]
    answers = {f"p{number}": b"by acme/foo" for number in range(30)}
    index, reviews = index_source(**answers), ScriptedSource(REVIEWS, **answers)
    used: list[int] = []
    adjust = fetcher.ByteBudget.adjust

    def watch(budget: fetcher.ByteBudget, size: int) -> None:
        adjust(budget, size)
        used.append(budget._used)

    monkeypatch.setattr(fetcher.ByteBudget, "adjust", watch)
    resolver = make_resolver(index, reviews, max_unrecorded_bytes=1)
    found = await resolver.resolve(make_page(*files), both(*files), HISTORY)
    assert all(set(signers(each)) == {INDEX_SOURCE, REVIEWS} for each in found.merge().values())
    assert len(found.merge()) == 30
    assert (min(used), used[-1]) == (0, 0)


def test_sources_have_names_of_their_own_and_the_index_is_one_of_them() -> None:
    with pytest.raises(ValueError, match="different names"):
        make_resolver(index_source(), index_source())
    with pytest.raises(ValueError, match="the index's own"):
        make_resolver(ScriptedSource(REVIEWS))
    make_resolver(ScriptedSource(REVIEWS), index_source())


def test_nothing_asked_is_nothing_known() -> None:
    assert (Resolution().merge(), Resolution().failures, Resolution().index_documents()) == ({}, {}, {})
    assert isinstance(FORGED, Forged)
