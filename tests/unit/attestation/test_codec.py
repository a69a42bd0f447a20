"""Tests of recorded evidence: encoded evidence is decoded unchanged, and all other bytes are rejected."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from assay.attestation.codec import decode_evidence, encode_evidence, evidence_key
from assay.attestation.verification.verify import verify
from assay.evidence import INDEX_SOURCE, Attested, Evidence, Forged, Rejection, Unattested, Unstated, Unverifiable
from assay.publishers.registry import PUBLISHER_KINDS
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, make_listed_file, trust_root_for
from tests.world.sigstore.private_sigstore import (
    SLSA_PREDICATE,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    PrivateSigstore,
    build_provenance,
    make_slsa_predicate,
)
from tests.world.sigstore.signers import ActiveState


def attested(predicate: bool = False) -> Evidence:
    sigstore = PrivateSigstore(seed=1)
    more: dict[str, Any] = (
        {"predicate_type": SLSA_PREDICATE, "predicate": make_slsa_predicate(GitHub())} if predicate else {}
    )
    return verify(
        sigstore.provenance(FILENAME, FILE_SHA256, GitHub(environment="pypi"), **more),
        make_listed_file(),
        [trust_root_for(sigstore)],
    )


def several() -> Evidence:
    sigstore = PrivateSigstore(seed=1)
    signers = (GitHub(), GitLab(), Google(), CircleCI())
    bundles = [(one.publisher(), [sigstore.attestation(FILENAME, FILE_SHA256, one)]) for one in signers]
    odd = ({"kind": "Gitea"}, [sigstore.attestation(FILENAME, FILE_SHA256)])
    return verify(build_provenance(*bundles, odd), make_listed_file(), [trust_root_for(sigstore)])


REJECTION = Rejection(step="signature", expected="a", found="b\n\u2014", bundle=1, source="github")


def sourced(source: str) -> Attested:
    """Return the evidence of `attested` as if a source other than the index had offered it."""
    evidence = attested(predicate=True)
    assert isinstance(evidence, Attested)
    return replace(evidence, attestations=tuple(replace(each, source=source) for each in evidence.attestations))


def by_activestate() -> Evidence:
    sigstore = PrivateSigstore(seed=1)
    raw = sigstore.provenance(FILENAME, FILE_SHA256, ActiveState())
    return verify(raw, make_listed_file(), [trust_root_for(sigstore)])


KINDS: list[Evidence] = [
    by_activestate(),
    attested(),
    sourced("reviews"),
    attested(predicate=True),
    several(),
    Unattested(),
    Unattested(rejected=(REJECTION,)),
    replace(sourced("github"), rejected=(REJECTION, replace(REJECTION, bundle=3))),
    Unverifiable(reason="r", rejected=(REJECTION,)),
    Forged(step="a", expected="b\n\x00", found="\u2014"),
    Unverifiable(reason="r"),
    Unstated(index="pypi"),
]


@pytest.mark.parametrize("evidence", KINDS, ids=lambda one: type(one).__name__)
def test_what_is_written_is_read_back(evidence: Evidence) -> None:
    assert decode_evidence(encode_evidence(evidence)) == evidence


def test_another_schema_is_not_read() -> None:
    content = json.loads(encode_evidence(Unattested()))
    assert decode_evidence(json.dumps(content).encode()) == Unattested()
    for schema in (0, 2, "1", True, None):
        assert decode_evidence(json.dumps({**content, "schema": schema}).encode()) is None


def test_every_kind_of_publisher_is_read_back_and_no_other() -> None:
    content = json.loads(encode_evidence(attested()))
    claims = content["attestations"][0]["claims"]
    for kind in (None, *(each.name for each in PUBLISHER_KINDS)):
        claims["kind"] = kind
        evidence = decode_evidence(json.dumps(content).encode())
        assert isinstance(evidence, Attested)
        assert evidence.attestations[0].claims.kind == kind
    for unknown in ("Gitea", "github", ""):
        claims["kind"] = unknown
        assert decode_evidence(json.dumps(content).encode()) is None


def changes(content: Any) -> list[Any]:
    """Return every variant of a JSON value with one wrong value."""
    made: list[Any] = []
    if isinstance(content, dict):
        for key, value in content.items():
            made += [{**content, key: changed} for changed in changes(value)]
            made.append({name: one for name, one in content.items() if name != key})
        made.append({**content, "more": 1})
    elif isinstance(content, list):
        for number, value in enumerate(content):
            made += [[*content[:number], changed, *content[number + 1 :]] for changed in changes(value)]
    made += [one for one in (7.5, [["x"]], {"x": "y"}) if one != content]
    return made


def test_a_record_of_the_index_names_no_source_and_is_read_as_the_index_s() -> None:
    """Records of earlier versions, which know no other source, and records of this version have the same format."""
    record = encode_evidence(attested())
    (written,) = json.loads(record)["attestations"]
    assert "source" not in written
    decoded = decode_evidence(record)
    assert isinstance(decoded, Attested)
    assert decoded.attestations[0].source == INDEX_SOURCE
    assert encode_evidence(sourced(INDEX_SOURCE)) == encode_evidence(attested(predicate=True))
    content = json.loads(encode_evidence(sourced("reviews")))
    assert content["attestations"][0].pop("source") == "reviews"
    assert json.dumps(content, separators=(",", ":")).encode() == encode_evidence(attested(predicate=True))


@pytest.mark.parametrize(
    ("evidence", "rejected"),
    [
        (Unattested(), Unattested(rejected=(REJECTION,))),
        (Unverifiable(reason="r"), Unverifiable(reason="r", rejected=(REJECTION,))),
        (sourced("github"), replace(sourced("github"), rejected=(REJECTION,))),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_record_without_rejections_has_the_format_of_earlier_versions(evidence: Evidence, rejected: Evidence) -> None:
    content = json.loads(encode_evidence(rejected))
    assert content.pop("rejected") == [asdict(REJECTION)]
    assert json.dumps(content, separators=(",", ":")).encode() == encode_evidence(evidence)
    broken: list[Any] = [None, {}, [1], [{}], [asdict(REJECTION) | {"bundle": "1"}], [asdict(REJECTION) | {"more": ""}]]
    for wrong in broken:
        assert decode_evidence(json.dumps({**content, "rejected": wrong}).encode()) is None


def test_claims_that_a_certificate_lacks_are_not_written_if_earlier_versions_do_not_know_them() -> None:
    added = {"organization", "project_path"}
    content = json.loads(encode_evidence(attested()))
    assert not added & content["attestations"][0]["claims"].keys()
    content = json.loads(encode_evidence(by_activestate()))
    claims = content["attestations"][0]["claims"]
    assert (claims["organization"], claims["project_path"]) == ("acme", "acme/widget")
    claims["organization"] = None
    assert decode_evidence(json.dumps(content).encode()) is None


def test_a_record_of_an_earlier_version_names_no_log() -> None:
    evidence = attested()
    assert isinstance(evidence, Attested)
    content = json.loads(encode_evidence(evidence))
    assert content["attestations"][0]["log"] == {
        "id": PrivateSigstore(seed=1).rekor.log_id.hex(),
        "url": "https://rekor.sigstore.example",
    }
    del content["attestations"][0]["log"]
    earlier = replace(evidence, attestations=tuple(replace(each, log=None) for each in evidence.attestations))
    assert decode_evidence(json.dumps(content).encode()) == earlier
    assert json.dumps(content, separators=(",", ":")).encode() == encode_evidence(earlier)


def test_a_record_that_names_the_index_as_its_source_is_none() -> None:
    content = json.loads(encode_evidence(sourced("reviews")))
    assert decode_evidence(json.dumps(content).encode()) == sourced("reviews")
    content["attestations"][0]["source"] = INDEX_SOURCE
    assert decode_evidence(json.dumps(content).encode()) is None


@pytest.mark.parametrize("evidence", [attested(predicate=True), sourced("reviews")], ids=["index", "reviews"])
def test_a_record_with_one_wrong_value_is_none(evidence: Evidence) -> None:
    content = json.loads(encode_evidence(evidence))
    broken = changes(content)
    assert len(broken) > 100
    (made,) = content["attestations"]
    without_log = {key: value for key, value in made.items() if key != "log"}
    # These are valid: an additional key at the top level, because the schema number tells later formats apart, an
    # attestation without a source, which belongs to the index, and one without a log, as in earlier versions.
    valid = (
        {**content, "more": 1},
        json.loads(encode_evidence(attested(predicate=True))),
        {**content, "attestations": [without_log]},
    )
    for one in broken:
        if one in valid:
            continue
        assert decode_evidence(json.dumps(one).encode()) is None, one


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b'{"schema":1}',
        b'{"schema":1,"evidence":"approved"}',
        b'{"schema":1,"evidence":"attested","attestations":[],"ignored":[]}',
        b'{"schema":1,"evidence":"attested","attestations":["x"],"ignored":[]}',
    ],
)
def test_anything_else_is_none(raw: bytes) -> None:
    assert decode_evidence(raw) is None


def test_the_key_names_everything_that_evidence_depends_on() -> None:
    base = {"sha256": "a", "filename": "b", "provenance_sha256": "c", "trust_fingerprint": "d", "verifier_version": "e"}
    keys = {evidence_key(**base)} | {evidence_key(**{**base, name: "x"}) for name in base}
    keys.add(evidence_key(**base, source="x"))
    assert len(keys) == 7
    assert evidence_key(**base, source=INDEX_SOURCE) == evidence_key(**base)
    # The parts of the key cannot be confused, whatever filename the index uses.
    assert evidence_key("a", "b\x00c", "d", "e") != evidence_key("a", "b", "\x00cd", "e")
    assert evidence_key(**base) == evidence_key(**base)
