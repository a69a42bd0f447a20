"""Tests of the attack table: each attack is refused with its own reason, and its honest twin is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assay.attestation.verification.verify import verify, verify_bundles
from assay.evidence import PUBLISH_PREDICATE_TYPE, Attested, Forged, Unattested, Unverifiable
from tests.world.sigstore.attacks import UNVERIFIABLE, Attack
from tests.world.sigstore.attacks_document import ATTACKS
from tests.world.sigstore.bundles import build_bundle_list, make_bundle
from tests.world.sigstore.private_sigstore import PrivateSigstore


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)


def test_the_table_is_long_and_its_rows_are_distinct() -> None:
    assert len(ATTACKS) >= 120
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name.replace(" ", "-") for attack in ATTACKS])
def test_the_lie_is_refused_with_its_reason_and_the_twin_is_accepted(attack: Attack, sigstore: PrivateSigstore) -> None:
    assert isinstance(verify(*attack.honest_arguments(sigstore)), Attested)
    evidence = verify(*attack.attack_arguments(sigstore))
    match evidence:
        case Forged(step=step, expected=expected, found=found):
            assert (step, attack.because in f"{expected} {found}") == (attack.step, True), evidence
        case Unverifiable(reason=reason):
            assert (UNVERIFIABLE, attack.because in reason) == (attack.step, True), evidence
        case _:
            pytest.fail(f"accepted: {evidence}")


# -- the same attacks in Sigstore bundles -----------------------------------------------------------------------------

ACCEPTED = "accepted"
OTHER_NAME = (UNVERIFIABLE, "under another name")
NO_SUCH_DIGEST = ("subject digest", "subjects with other digests")
IN_BUNDLES = {
    "the statement is about other bytes": NO_SUCH_DIGEST,
    "the digest is SHA-512 only": NO_SUCH_DIGEST,
    "the digest is in capitals": NO_SUCH_DIGEST,
    "the digest is null": NO_SUCH_DIGEST,
    "no subject at all": NO_SUCH_DIGEST,
    "the statement names another project": OTHER_NAME,
    "the statement names another version": OTHER_NAME,
    "the statement names a wheel": OTHER_NAME,
    "the statement names no distribution": OTHER_NAME,
    "the statement's name is empty": OTHER_NAME,
    "the statement's name is null": OTHER_NAME,
    "the statement has no name": OTHER_NAME,
    "the wheel's statement names another tag": OTHER_NAME,
    "the wheel's statement names another build": OTHER_NAME,
    "the index lists another name": OTHER_NAME,
    "the file is an egg": OTHER_NAME,
    "the subject is no object": ("subject", "JSON object"),
    "the statement is longer than any": (UNVERIFIABLE, "longer than"),
    "its key is RSA": (UNVERIFIABLE, "unsupported key"),
    "its key is Ed25519": (UNVERIFIABLE, "unsupported key"),
    "it is the authority's": (UNVERIFIABLE, "unsupported key"),
    "its key is on P-384": (UNVERIFIABLE, "unsupported key"),
    "the entries are null": ("log entries", "none"),
    "the entry is text": ("log entries", "exactly one"),
    "the statement names a path": (ACCEPTED, PUBLISH_PREDICATE_TYPE),
    "a second subject rides along": (ACCEPTED, PUBLISH_PREDICATE_TYPE),
    "the digest has a weak one beside it": (ACCEPTED, PUBLISH_PREDICATE_TYPE),
    "the statement is of an older type": (ACCEPTED, PUBLISH_PREDICATE_TYPE),
    "GitLab, self-managed: a pipeline of another project": (ACCEPTED, PUBLISH_PREDICATE_TYPE),
    "the index passes a person off as GitHub": (ACCEPTED, PUBLISH_PREDICATE_TYPE),
    "the predicate type is unknown": (ACCEPTED, "https://example.com/sbom"),
}
"""Attacks whose result in a bundle differs from that in a provenance document: check or kind of result, and text.

In a bundle, the file is one of several subjects, subjects have paths, and predicates are of any type. No publisher
block says who signed, so a genuine signature by a person who is no Trusted Publisher is attested, and counts for no
rule."""


def to_bundles(document: bytes) -> list[dict[str, Any]] | None:
    """Return the attestations of a provenance document as bundles; None if a part is missing that a bundle needs."""
    try:
        content = json.loads(document)
        return [make_bundle(one) for bundle in content["attestation_bundles"] for one in bundle["attestations"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def is_of_signed_parts(attack: Attack, sigstore: PrivateSigstore) -> bool:
    """Return whether an attack changes a bundle, the file or the trust roots, and not only the document around it."""
    lie, file, roots = attack.attack_arguments(sigstore)
    honest, file_of_twin, roots_of_twin = attack.honest_arguments(sigstore)
    bundles, twins = to_bundles(lie), to_bundles(honest)
    if not bundles or not twins or any(one in bundles for one in twins if bundles != twins):
        return False
    return (bundles, file, roots) != (twins, file_of_twin, roots_of_twin)


SIGNED = [attack for attack in ATTACKS if is_of_signed_parts(attack, PrivateSigstore(seed=1))]


def test_most_attacks_are_of_parts_that_bundles_have_too() -> None:
    assert len(SIGNED) >= 250
    assert IN_BUNDLES.keys() <= {attack.name for attack in SIGNED}


@pytest.mark.parametrize("attack", SIGNED, ids=[attack.name.replace(" ", "-") for attack in SIGNED])
def test_the_lie_in_a_bundle_counts_for_nothing_and_the_twin_is_accepted(
    attack: Attack, sigstore: PrivateSigstore
) -> None:
    honest, file, roots = attack.honest_arguments(sigstore)
    assert isinstance(verify_bundles(build_bundle_list(*(to_bundles(honest) or ())), file, roots), Attested)
    lie, file, roots = attack.attack_arguments(sigstore)
    evidence = verify_bundles(build_bundle_list(*(to_bundles(lie) or ())), file, roots)
    step, because = IN_BUNDLES.get(attack.name, (attack.step, attack.because))
    match evidence:
        case Unattested(rejected=(first, *_)):
            assert (first.step, because in f"{first.expected} {first.found}") == (step, True), evidence
        case Unverifiable(reason=reason, rejected=()):
            assert (UNVERIFIABLE, because in reason) == (step, True), evidence
        case Attested(attestations=(only,)):
            assert (ACCEPTED, only.predicate_type) == (step, because), evidence
        case _:
            pytest.fail(f"accepted: {evidence}")
