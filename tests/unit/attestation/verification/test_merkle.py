"""Tests of inclusion proofs: same result as sigstore for all trees of up to 40 leaves and for damaged proofs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError

from assay.attestation.verification.merkle import compute_root_hash
from tests.world.sigstore.transparency_log import build_inclusion_proof

ENTRY = b"an entry"


def by_sigstore(entry: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    proof = SimpleNamespace(log_index=index, tree_size=size, hashes=path, root_hash=root)
    logged = SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=entry))
    try:
        verify_merkle_inclusion(logged)  # type: ignore[arg-type]  # sigstore reads only these two fields
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("size", range(1, 41))
def test_every_proof_leads_to_the_root_and_no_other_does(size: int) -> None:
    for index in range(size):
        root, path = build_inclusion_proof(ENTRY, index, size)
        assert compute_root_hash(ENTRY, index, size, path) == root
        assert by_sigstore(ENTRY, index, size, path, root)
        wrong = [
            (b"another", index, size, path),
            (ENTRY, index, size, [*path, b"\0" * 32]),
            (ENTRY, index, size, path[:-1]),
            (ENTRY, index, size, path[::-1]),
            *((ENTRY, other, size, path) for other in range(size)),
            *((ENTRY, index, other, path) for other in range(index + 1, size + 3)),
        ]
        for entry, place, leaves, proof in wrong:
            accepted = compute_root_hash(entry, place, leaves, proof) == root
            assert accepted == by_sigstore(entry, place, leaves, proof, root), (place, leaves, len(proof))


def test_a_proof_in_the_largest_tree_is_bounded_work() -> None:
    assert compute_root_hash(ENTRY, 2**53 - 2, 2**53 - 1, [b"\0" * 32] * 64) is None
    assert compute_root_hash(ENTRY, 0, 1, []) is not None
