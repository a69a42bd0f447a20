"""What a worker and its owner say to each other, and what the owner makes of nonsense."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.pool import protocol, worker
from assay.attestation.pool.protocol import Finding, Job
from assay.attestation.trust_roots import TrustRoots
from assay.evidence import Evidence, Unattested, Unverifiable
from tests.world.sigstore.attacks import FILENAME, SHA256, root_of
from tests.world.sigstore.private_sigstore import PrivateSigstore, document

SIGSTORE = PrivateSigstore(seed=1)
ROOT = replace(root_of(SIGSTORE), name="default")
NARROW = replace(ROOT, name="acme", issuers=frozenset({"https://a.example", "https://b.example"}))
ROOTS = TrustRoots(default="default", named={"default": ROOT, "acme": NARROW}, further=("acme",))
JOBS = [
    Job(filename=FILENAME, sha256=SHA256, provenance=SIGSTORE.provenance(FILENAME, SHA256)),
    Job(filename="\ud800\n", sha256="", provenance=b"\xff\x00", trust="acme"),
]


def test_roots_arrive_as_they_were_sent() -> None:
    arrived = protocol.decode_order(protocol.encode_roots(ROOTS))
    assert isinstance(arrived, TrustRoots)
    assert (arrived.digest, arrived.further) == (ROOTS.digest, ROOTS.further)
    assert arrived.for_index() == ROOTS.for_index()


def test_jobs_arrive_as_they_were_sent() -> None:
    assert protocol.decode_order(protocol.encode_batch(JOBS)) == JOBS


def test_answers_arrive_as_they_were_sent() -> None:
    evidence: list[Evidence] = [Unattested(), Unverifiable(reason="\u2014")]
    found = protocol.decode_answer(protocol.encode_answer(evidence), 2)
    assert found == [Finding(one, encode_evidence(one)) for one in evidence]
    assert protocol.decode_answer(protocol.encode_failure("why"), 2) == "why"


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
        protocol.encode_answer([Unattested(), Unattested()]),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure(raw: bytes) -> None:
    assert isinstance(protocol.decode_answer(raw, 1), str)
    record = encode_evidence(Unattested())
    assert protocol.decode_answer(protocol.encode_answer([Unattested()]), 1) == [Finding(Unattested(), record)]


def test_a_worker_serves_until_its_orders_end() -> None:
    jobs = [*JOBS, Job(filename=FILENAME, sha256=SHA256, provenance=document())]
    orders = io.BytesIO(
        protocol.frame(protocol.encode_roots(ROOTS)) + protocol.frame(protocol.encode_batch(jobs)) + b"\x00\x00"
    )
    answers = io.BytesIO()
    worker.serve(orders, answers)
    raw = answers.getvalue()
    assert int.from_bytes(raw[: protocol.LENGTH], "big") == len(raw) - protocol.LENGTH
    found = protocol.decode_answer(raw[protocol.LENGTH :], 3)
    assert isinstance(found, list)
    assert [type(one.evidence).__name__ for one in found] == ["Attested", "Forged", "Unattested"]
    assert all(decode_evidence(one.record) == one.evidence for one in found)


def test_an_order_that_is_cut_or_too_long_ends_the_worker() -> None:
    for orders in (b"\x00\x00\x00\x09{}", (protocol.LARGEST + 1).to_bytes(4, "big") + b"{}"):
        answers = io.BytesIO()
        worker.serve(io.BytesIO(orders), answers)
        assert answers.getvalue() == b""


def test_a_worker_without_memory_or_roots_answers_with_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"no trust roots" in worker.answer(JOBS, None)

    def burst(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "verify", burst)
    answer = worker.answer(JOBS, ROOTS)
    assert protocol.decode_answer(answer, 2) == "the worker has no memory left"
