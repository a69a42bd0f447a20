"""Seals: only who has the key can make a value or move it to another name."""

from __future__ import annotations

import pytest

from assay.store.sealing import SEAL_OVERHEAD_BYTES, InvalidSealError, Sealer, UnknownKeyError

OLD, NEW = b"old" * 11, b"new" * 40


@pytest.mark.parametrize("value", [b"", b"x", bytes(range(256)) * 10])
def test_a_sealed_value_opens_under_its_name(value: bytes) -> None:
    sealed = Sealer([OLD], "records").seal(b"name", value)
    assert len(sealed) == len(value) + SEAL_OVERHEAD_BYTES
    assert Sealer([OLD], "records").open(b"name", sealed) == value


@pytest.mark.parametrize("position", [0, 9, 40, 41])
def test_a_changed_byte_anywhere_breaks_the_seal(position: int) -> None:
    sealed = bytearray(Sealer([OLD], "records").seal(b"name", b"value"))
    sealed[position] ^= 1
    with pytest.raises(InvalidSealError):
        Sealer([OLD], "records").open(b"name", bytes(sealed))


@pytest.mark.parametrize(("name", "value"), [(b"other", b"value"), (b"nam", b"evalue"), (b"namev", b"alue")])
def test_a_value_cannot_be_moved_to_another_name(name: bytes, value: bytes) -> None:
    sealer = Sealer([OLD], "records")
    sealed = sealer.seal(b"name", b"value")
    with pytest.raises(InvalidSealError):
        sealer.open(name, sealed[:SEAL_OVERHEAD_BYTES] + value)
    assert sealer.open(b"name", sealed[:SEAL_OVERHEAD_BYTES] + b"value") == b"value"


@pytest.mark.parametrize("sealed", [b"", b"\x01", bytes(SEAL_OVERHEAD_BYTES), b"\x01" * (SEAL_OVERHEAD_BYTES - 1)])
def test_what_was_never_sealed_does_not_open(sealed: bytes) -> None:
    with pytest.raises(InvalidSealError):
        Sealer([OLD], "records").open(b"name", sealed)


def test_while_keys_are_rotated_both_open_and_the_first_seals() -> None:
    before, during, after = (Sealer(keys, "records") for keys in ([OLD], [NEW, OLD], [NEW]))
    assert during.open(b"name", before.seal(b"name", b"value")) == b"value"
    assert after.open(b"name", during.seal(b"name", b"value")) == b"value"
    with pytest.raises(UnknownKeyError):
        after.open(b"name", before.seal(b"name", b"value"))


def test_another_purpose_has_another_key() -> None:
    with pytest.raises(UnknownKeyError):
        Sealer([OLD], "other").open(b"name", Sealer([OLD], "records").seal(b"name", b"value"))


@pytest.mark.parametrize("keys", [[], [b""], [OLD, b"short"]])
def test_no_key_and_a_short_key_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="expected one or more keys"):
        Sealer(keys, "records")


def test_replaced_keys_seal_new_values_and_open_those_of_their_own() -> None:
    sealer = Sealer([OLD], "records")
    before = sealer.seal(b"name", b"value")
    sealer.replace_keys([NEW, OLD])
    assert sealer.open(b"name", before) == b"value"
    after = sealer.seal(b"name", b"value")
    assert Sealer([NEW], "records").open(b"name", after) == b"value"
    sealer.replace_keys([NEW])
    with pytest.raises(UnknownKeyError):
        sealer.open(b"name", before)
    with pytest.raises(ValueError, match="one or more keys"):
        sealer.replace_keys([b"short"])
    assert sealer.open(b"name", after) == b"value"
