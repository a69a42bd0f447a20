"""Tests of verified bundles about a file: which are returned, in which form, and when they are verified again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from assay.attestation.codec import encode_evidence
from assay.attestation.verification.verify import verify_bundles
from assay.ports import DocumentFormat, VerificationJob, VerificationResult, Verifier
from assay.provenance.known_bundles import KnownBundles, SourceDocument, write_bundle_list
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, make_listed_file, trust_root_for
from tests.world.sigstore.bundles import build_bundle_list, make_bundle
from tests.world.sigstore.private_sigstore import PUBLISH_PREDICATE, GitHub, GitLab, PrivateSigstore

SIGSTORE = PrivateSigstore(seed=1)
FILE = make_listed_file()


class CountingVerifier:
    """Verifier without processes that counts its jobs; a test changes its trust roots."""

    keys_digest = ""

    def __init__(self) -> None:
        self.root = trust_root_for(SIGSTORE)
        self.roots = "first"
        self.jobs = 0

    def trust_fingerprint_for(self, _name: str | None) -> str:
        return self.roots

    async def verify(self, jobs: Sequence[VerificationJob]) -> list[VerificationResult]:
        self.jobs += len(jobs)
        found = [await asyncio.to_thread(verify_bundles, job.provenance, FILE, [self.root]) for job in jobs]
        return [VerificationResult(each, encode_evidence(each)) for each in found]


def document(source: str, *signers: Any) -> SourceDocument:
    bundles = [make_bundle(SIGSTORE.attestation(FILENAME, FILE_SHA256, signer)) for signer in signers]
    return SourceDocument(source=source, document_format=DocumentFormat.BUNDLES, content=build_bundle_list(*bundles))


@pytest.fixture
def verifier() -> CountingVerifier:
    return CountingVerifier()


@pytest.fixture
def known(verifier: CountingVerifier) -> KnownBundles:
    return KnownBundles(cast("Verifier", verifier))


async def test_a_bundle_is_returned_once_for_each_source(known: KnownBundles) -> None:
    documents = [
        document("github:acme/widget", GitHub(), GitLab()),
        document("github:acme/other", GitHub()),
        document("reviews", GitHub()),
    ]
    found = await known.verify(FILE, documents, None)
    assert [each.source for each in found] == ["github", "github", "reviews"]
    assert found[0].text == found[2].text != found[1].text


async def test_what_the_trust_roots_do_not_verify_is_left_out(known: KnownBundles, verifier: CountingVerifier) -> None:
    assert len(await known.verify(FILE, [document("reviews", GitHub())], None)) == 1
    verifier.root, verifier.roots = trust_root_for(PrivateSigstore(seed=2)), "second"
    assert await known.verify(FILE, [document("reviews", GitHub())], None) == ()


async def test_equal_documents_are_verified_once(known: KnownBundles, verifier: CountingVerifier) -> None:
    first = await known.verify(FILE, [document("reviews", GitHub())], None)
    assert await known.verify(FILE, [document("reviews", GitHub())], None) is first
    assert verifier.jobs == 1
    await known.verify(FILE, [document("reviews", GitLab())], None)
    assert verifier.jobs == 2
    verifier.roots = "second"
    await known.verify(FILE, [document("reviews", GitLab())], None)
    assert verifier.jobs == 3


async def test_without_documents_nothing_is_verified(known: KnownBundles, verifier: CountingVerifier) -> None:
    broken = SourceDocument(source="reviews", document_format=DocumentFormat.BUNDLES, content=b"[]")
    assert await known.verify(FILE, [], None) == await known.verify(FILE, [broken], None) == ()
    assert verifier.jobs == 0


async def test_the_list_says_what_each_bundle_proves(known: KnownBundles) -> None:
    [entry] = json.loads(write_bundle_list(await known.verify(FILE, [document("reviews", GitHub())], None)))
    assert entry.pop("bundle") == make_bundle(SIGSTORE.attestation(FILENAME, FILE_SHA256, GitHub()))
    assert entry.pop("signer").startswith("GitHub ")
    assert entry.pop("logged").endswith("+00:00")
    assert entry == {
        "source": "reviews",
        "verdict": "verified",
        "predicate-type": PUBLISH_PREDICATE,
        "trust-root": trust_root_for(SIGSTORE).name,
    }
    assert write_bundle_list([]) == b"[]\n"
