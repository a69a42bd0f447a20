"""Comparison with the reference implementation: Assay refuses all documents that the reference refuses, and more."""

from __future__ import annotations

from collections import Counter

import pytest

from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Forged, Unverifiable
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, Attack, make_listed_file, trust_root_for
from tests.world.sigstore.attacks_document import ATTACKS
from tests.world.sigstore.private_sigstore import (
    SLSA_PREDICATE,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    PrivateSigstore,
    Signer,
    make_slsa_predicate,
)
from tests.world.sigstore.reference_verifier import get_first_attestation, get_refusal, is_accepted

SIGNERS: tuple[Signer, ...] = (
    GitHub(),
    GitHub(environment="pypi"),
    GitHub(environment="pypi", proves_environment=False),
    GitHub(environment="a%41b: c"),
    GitHub(workflow="Publish to PyPI.yml", ref="refs/tags/v1.0-β"),
    GitHub(builder="acme/ci/.github/workflows/build.yml@refs/heads/main"),
    GitLab(),
    GitLab(repository="acme/a/b/c/widget", workflow_filepath="ci/release.yml"),
    GitLab(workflow_filepath="ci/Publish to PyPI.yml", ref="refs/tags/v1.0-β"),
    Google(),
    Google(email="jane@gmail.com"),
    CircleCI(),
    CircleCI(vcs_origin=None, vcs_ref=None),
)
# Attacks with one trust root. The reference implementation cannot be given several roots.
BEYOND_REFERENCE = (
    "ActiveState: ",
    "GitLab, self-managed: ",
    "a required workflow ",
    "the index names another workflow than the required one",
)
"""Starts of the names of attacks whose honest twin the reference refuses: it compares the Build Config URI with
https://github.com or https://gitlab.com and the repository of the publisher block, and knows no other form. It does not
know the kind ActiveState."""
ONE_ROOT = [attack for attack in ATTACKS if len(attack.roots(PrivateSigstore(seed=1), True)) == 1]


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)


@pytest.mark.parametrize("signer", SIGNERS, ids=repr)
def test_both_accept_an_honest_document(signer: Signer, sigstore: PrivateSigstore) -> None:
    raw = sigstore.provenance(FILENAME, FILE_SHA256, signer)
    root = trust_root_for(sigstore)
    assert is_accepted(raw, make_listed_file(), root.content)
    assert isinstance(verify(raw, make_listed_file(), [root]), Attested)


def test_both_accept_an_honest_slsa_predicate(sigstore: PrivateSigstore) -> None:
    raw = sigstore.provenance(
        FILENAME, FILE_SHA256, predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(GitHub())
    )
    root = trust_root_for(sigstore)
    assert is_accepted(raw, make_listed_file(), root.content)
    assert isinstance(verify(raw, make_listed_file(), [root]), Attested)


@pytest.mark.parametrize("attack", ONE_ROOT, ids=[attack.name.replace(" ", "-") for attack in ONE_ROOT])
@pytest.mark.parametrize("lie", [True, False], ids=["lie", "twin"])
def test_what_the_reference_refuses_assay_refuses(attack: Attack, lie: bool, sigstore: PrivateSigstore) -> None:
    document, file, roots = attack.build_arguments(sigstore, lie=lie)
    accepted = isinstance(verify(document, file, roots), Attested)
    if attack.name.startswith(BEYOND_REFERENCE):
        assert (accepted, is_accepted(document, file, roots[0].content)) == (not lie, False)
    else:
        assert not accepted or is_accepted(document, file, roots[0].content)


def test_the_gaps_of_the_reference_are_in_the_table(sigstore: PrivateSigstore) -> None:
    """The table contains attacks that the reference accepts; otherwise it would test nothing beyond the reference."""
    believed = set()
    for attack in ONE_ROOT:
        document, file, roots = attack.attack_arguments(sigstore)
        if is_accepted(document, file, roots[0].content):
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
        document, file, roots = attack.attack_arguments(sigstore)
        try:
            attestation, publisher = get_first_attestation(document)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        why = get_refusal(attestation, publisher, file, roots[0].content)
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
