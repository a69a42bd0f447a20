"""Tests of the attack table: each attack is refused with its own reason, and its honest twin is accepted."""

from __future__ import annotations

import pytest

from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Forged, Unverifiable
from tests.world.sigstore.attacks import UNVERIFIABLE, Attack
from tests.world.sigstore.attacks_document import ATTACKS
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
