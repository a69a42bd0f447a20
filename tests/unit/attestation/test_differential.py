"""Beside the reference: what it refuses Assay refuses, and what it believes or chokes on Assay refuses well."""

from __future__ import annotations

from collections import Counter

import pytest

from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Forged, Unverifiable
from tests.world.sigstore.attacks import FILENAME, SHA256, Attack, listed, root_of
from tests.world.sigstore.attacks_document import ATTACKS
from tests.world.sigstore.private_sigstore import SLSA, CircleCI, GitHub, GitLab, Google, PrivateSigstore, Signer, slsa
from tests.world.sigstore.reference_verifier import accepts, first, refusal

SIGNERS: tuple[Signer, ...] = (
    GitHub(),
    GitHub(environment="pypi"),
    GitHub(environment="pypi", proves_environment=False),
    GitHub(builder="acme/ci/.github/workflows/build.yml@refs/heads/main"),
    GitLab(),
    GitLab(repository="acme/a/b/c/widget", workflow_filepath="ci/release.yml"),
    Google(),
    CircleCI(),
    CircleCI(vcs_origin=None, vcs_ref=None),
)
# Rows in which the roots, not the document, are wrong, where the reference has no such roots to be given.
ONE_ROOT = [attack for attack in ATTACKS if len(attack.roots(PrivateSigstore(seed=1), True)) == 1]


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)


@pytest.mark.parametrize("signer", SIGNERS, ids=repr)
def test_both_accept_an_honest_document(signer: Signer, sigstore: PrivateSigstore) -> None:
    raw = sigstore.provenance(FILENAME, SHA256, signer)
    root = root_of(sigstore)
    assert accepts(raw, listed(), root.content)
    assert isinstance(verify(raw, listed(), [root]), Attested)


def test_both_accept_an_honest_slsa_predicate(sigstore: PrivateSigstore) -> None:
    raw = sigstore.provenance(FILENAME, SHA256, predicate_type=SLSA, predicate=slsa(GitHub()))
    root = root_of(sigstore)
    assert accepts(raw, listed(), root.content)
    assert isinstance(verify(raw, listed(), [root]), Attested)


@pytest.mark.parametrize("attack", ONE_ROOT, ids=[attack.name.replace(" ", "-") for attack in ONE_ROOT])
@pytest.mark.parametrize("lie", [True, False], ids=["lie", "twin"])
def test_what_the_reference_refuses_assay_refuses(attack: Attack, lie: bool, sigstore: PrivateSigstore) -> None:
    document, file, roots = attack.told(sigstore, lie=lie)
    accepted = isinstance(verify(document, file, roots), Attested)
    assert not accepted or accepts(document, file, roots[0].content)


def test_the_gaps_of_the_reference_are_in_the_table(sigstore: PrivateSigstore) -> None:
    """The rows are lies that the reference believes: were there none, the table would prove nothing beyond it."""
    believed = set()
    for attack in ONE_ROOT:
        document, file, roots = attack.attack(sigstore)
        if accepts(document, file, roots[0].content):
            believed.add(attack.name)
    assert {
        "a publish predicate has a body",
        "SLSA names another repository",
        "a second entry",
        "the log signs under an unknown id",
        "its SCT is by a known log under an unknown id",
        "the log's key was retired before",
        "the CT log's key was retired before",
        "the authority was retired before",
        "the checkpoint is of another tree",
        "a name unrelated to the claims",
        "GitLab: a name unrelated to the claims",
        "the index names another environment",
        "an older claim names another repository",
    } <= believed


def test_the_exceptions_that_the_reference_leaks_are_in_the_table(sigstore: PrivateSigstore) -> None:
    leaked: Counter[str] = Counter()
    for attack in ONE_ROOT:
        document, file, roots = attack.attack(sigstore)
        try:
            attestation, publisher = first(document)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        why = refusal(attestation, publisher, file, roots[0].content)
        if why not in {None, "VerificationError", "ConversionError", "ValidationError"}:
            leaked[str(why)] += 1
            assert isinstance(verify(document, file, roots), Forged | Unverifiable)
    assert set(leaked) >= {
        "ExtensionNotFound",
        "Error",
        "InvalidBundle",
        "IncompatibleEntry",
        "TypeError",
        "IntegerDomainError",
        "InvalidEnvelope",
        "MetadataError",
        "OSError",
    }, leaked
