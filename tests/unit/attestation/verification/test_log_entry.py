"""Tests of the hashes in an inclusion proof: each malformed item is named, wherever it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assay.attestation.trust_roots import TrustRoot
from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Forged
from tests.world.sigstore.attacks import FILE_SHA256, make_listed_file
from tests.world.sigstore.private_sigstore import PrivateSigstore

NAME = "widget-1.0-py3-none-any.whl"
SIGSTORE = PrivateSigstore(seed=1)
ROOTS = [TrustRoot(name="default", content=SIGSTORE.trusted_root())]


def read_document() -> tuple[dict[str, Any], list[Any]]:
    """Return an honest document, and the list of hashes in it."""
    document = json.loads(SIGSTORE.provenance(NAME, FILE_SHA256))
    (attestation,) = document["attestation_bundles"][0]["attestations"]
    (entry,) = attestation["verification_material"]["transparency_entries"]
    return document, entry["inclusionProof"]["hashes"]


def test_the_honest_document_is_attested() -> None:
    document, hashes = read_document()
    assert len(hashes) > 1
    assert isinstance(verify(json.dumps(document).encode(), make_listed_file(NAME), ROOTS), Attested)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize(
    ("item", "found"),
    [
        (None, "hashes: nothing"),
        (7, "hashes: int"),
        (True, "hashes: bool"),
        (["AA=="], "hashes: list"),
        ({}, "hashes: dict"),
        ("", "0 bytes"),
        ("AA==", "1 bytes"),
        ("A" * 48, "36 bytes"),
        ("A" * 72, "72 characters"),
        ("A" * 43, "padding"),
        ("A" * 43 + "=\n", "base64"),
        ("A" * 20 + "\n" + "A" * 23 + "=", "base64"),
        ("é" * 44, "base64"),
        ("-" * 43 + "=", "base64"),
    ],
)
def test_a_malformed_hash_is_named(item: object, found: str, place: int) -> None:
    document, hashes = read_document()
    hashes[place] = item
    evidence = verify(json.dumps(document).encode(), make_listed_file(NAME), ROOTS)
    assert isinstance(evidence, Forged)
    assert evidence.step == "inclusion proof"
    assert found in f"{evidence.expected} {evidence.found}"
