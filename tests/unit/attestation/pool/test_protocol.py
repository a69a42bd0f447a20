"""Tests of the protocol between a worker and its owner, with valid and invalid responses."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.pool import protocol, worker
from assay.attestation.trust_roots import TrustRoots
from assay.evidence import Evidence, Unattested, Unverifiable
from assay.ports import VerificationJob, VerificationResult
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, trust_root_for
from tests.world.sigstore.private_sigstore import PrivateSigstore, build_provenance

SIGSTORE = PrivateSigstore(seed=1)
ROOT = replace(trust_root_for(SIGSTORE), name="default")
NARROW = replace(ROOT, name="acme", issuers=frozenset({"https://a.example", "https://b.example"}))
ROOTS = TrustRoots(default="default", by_name={"default": ROOT, "acme": NARROW}, further=("acme",))
JOBS = [
    VerificationJob(filename=FILENAME, sha256=FILE_SHA256, provenance=SIGSTORE.provenance(FILENAME, FILE_SHA256)),
    VerificationJob(filename="\ud800\n", sha256="", provenance=b"\xff\x00", trust="acme"),
]


def test_roots_arrive_as_they_were_sent() -> None:
    arrived = protocol.decode_request(protocol.encode_roots(ROOTS))
    assert isinstance(arrived, TrustRoots)
    assert (arrived.digest, arrived.further) == (ROOTS.digest, ROOTS.further)
    assert arrived.for_index() == ROOTS.for_index()


def test_jobs_arrive_as_they_were_sent() -> None:
    assert protocol.decode_request(protocol.encode_batch(JOBS)) == JOBS


def test_answers_arrive_as_they_were_sent() -> None:
    evidence: list[Evidence] = [Unattested(), Unverifiable(reason="\u2014")]
    found = protocol.decode_response(protocol.encode_evidence_response(evidence), 2)
    assert found == [VerificationResult(one, encode_evidence(one)) for one in evidence]
    assert protocol.decode_response(protocol.encode_failure_response("why"), 2) == "why"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"E",
        b"E1",
        b"E[]",
        b"Enull",
        b"E\xff",
        b"E" + b"[" * 100_000,
        b"E\n",
        b"J" + encode_evidence(Unattested()),
        b"E" + encode_evidence(Unattested())[:-1],
        b"E" + encode_evidence(Unattested()) + b"\n",
        protocol.encode_evidence_response([Unattested(), Unattested()]),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure(raw: bytes) -> None:
    assert isinstance(protocol.decode_response(raw, 1), str)
    record = encode_evidence(Unattested())
    assert protocol.decode_response(protocol.encode_evidence_response([Unattested()]), 1) == [
        VerificationResult(Unattested(), record)
    ]


def test_a_worker_serves_until_its_orders_end() -> None:
    jobs = [*JOBS, VerificationJob(filename=FILENAME, sha256=FILE_SHA256, provenance=build_provenance())]
    orders = io.BytesIO(
        protocol.encode_frame(protocol.encode_roots(ROOTS))
        + protocol.encode_frame(protocol.encode_batch(jobs))
        + b"\x00\x00"
    )
    answers = io.BytesIO()
    worker.serve(orders, answers)
    raw = answers.getvalue()
    assert int.from_bytes(raw[: protocol.LENGTH_BYTES], "big") == len(raw) - protocol.LENGTH_BYTES
    found = protocol.decode_response(raw[protocol.LENGTH_BYTES :], 3)
    assert isinstance(found, list)
    assert [type(one.evidence).__name__ for one in found] == ["Attested", "Forged", "Unattested"]
    assert all(decode_evidence(one.record) == one.evidence for one in found)


def test_an_order_that_is_cut_or_too_long_ends_the_worker() -> None:
    for orders in (b"\x00\x00\x00\x09{}", (protocol.MAX_FRAME_BYTES + 1).to_bytes(4, "big") + b"{}"):
        answers = io.BytesIO()
        worker.serve(io.BytesIO(orders), answers)
        assert answers.getvalue() == b""


def test_a_worker_without_memory_or_roots_answers_with_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"no trust roots" in worker.verify_batch(JOBS, None)

    def burst(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "verify", burst)
    answer = worker.verify_batch(JOBS, ROOTS)
    assert protocol.decode_response(answer, 2) == "the verification worker ran out of memory"
