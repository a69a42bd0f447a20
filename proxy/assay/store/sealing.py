"""Seals of values in storage that other programs can write to. Pure.

A seal shows that a program with the secret key has stored the value under its name. A program that can write to the
storage, but does not have the key, can neither make a value nor move one to another name. It can still put back an
earlier value of the same name.

A sealed value is the version of the format, the id of the key, the seal (keyed BLAKE2b) and the value.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

_FORMAT_VERSION: Final = b"\x01"
_KEY_ID_BYTES: Final = 8
_SEAL_BYTES: Final = 32
SEAL_OVERHEAD_BYTES: Final = len(_FORMAT_VERSION) + _KEY_ID_BYTES + _SEAL_BYTES
"""Number of bytes by which a sealed value is longer than the value."""
MIN_KEY_BYTES: Final = 16


class InvalidSealError(Exception):
    """Error for a sealed value that is malformed, or whose seal is wrong."""


class UnknownKeyError(InvalidSealError):
    """Error for a sealed value that names an unknown key: a key that is no longer in use, or an invented one."""


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    secret: bytes


class Sealer:
    """Seals and opens values.

    Args:
        keys: secret keys, at least one. Values are sealed with the first one. All of them open values, so a key can be
            replaced while replicas run.
        purpose: name of the kind of values. It separates them from others that the same keys seal.

    Raises:
        ValueError: no key, or a key of fewer than `MIN_KEY_BYTES` bytes.
    """

    def __init__(self, keys: Sequence[bytes], purpose: str) -> None:
        self._purpose = purpose
        self._keys: tuple[_Key, ...] = ()
        self.replace_keys(keys)

    def replace_keys(self, keys: Sequence[bytes]) -> None:
        """Seal values with the first of `keys`, and open values of all of them, from now on. Thread-safe.

        Raises:
            ValueError: no key, or a key of fewer than `MIN_KEY_BYTES` bytes. The earlier keys stay.
        """
        if not keys or any(len(key) < MIN_KEY_BYTES for key in keys):
            raise ValueError(f"expected one or more keys of at least {MIN_KEY_BYTES} bytes")
        self._keys = tuple(_derive_key(key, self._purpose) for key in keys)

    def seal(self, name: bytes, value: bytes) -> bytes:
        """Return the sealed value for a name."""
        first = self._keys[0]
        return _FORMAT_VERSION + first.id + _compute_seal(first, name, value) + value

    def open(self, name: bytes, sealed: bytes) -> bytes:
        """Return the value of a name.

        Raises:
            UnknownKeyError: the value names an unknown key.
            InvalidSealError: the value is malformed, or its seal is wrong.
        """
        if len(sealed) < SEAL_OVERHEAD_BYTES or not sealed.startswith(_FORMAT_VERSION):
            raise InvalidSealError("the value is not sealed")
        position = len(_FORMAT_VERSION)
        key_id = sealed[position : position + _KEY_ID_BYTES]
        key = next((each for each in self._keys if each.id == key_id), None)
        if key is None:
            raise UnknownKeyError("the value names an unknown key")
        value = sealed[SEAL_OVERHEAD_BYTES:]
        seal = sealed[position + _KEY_ID_BYTES : SEAL_OVERHEAD_BYTES]
        if not hmac.compare_digest(seal, _compute_seal(key, name, value)):
            raise InvalidSealError("the seal is wrong")
        return value


def _derive_key(key: bytes, purpose: str) -> _Key:
    """Derive the id and the secret, so that neither shows the key, and each purpose has its own."""
    # A key may be longer than BLAKE2b's limit of 64 bytes.
    base = blake2b(key, digest_size=64, person=b"assay-seal-base").digest()
    secret = blake2b(purpose.encode(), key=base, digest_size=64, person=b"assay-seal-key").digest()
    return _Key(blake2b(key=secret, digest_size=_KEY_ID_BYTES, person=b"assay-seal-id").digest(), secret)


def _compute_seal(key: _Key, name: bytes, value: bytes) -> bytes:
    hashed = blake2b(len(name).to_bytes(8, "big"), key=key.secret, digest_size=_SEAL_BYTES, person=b"assay-seal")
    hashed.update(name)
    hashed.update(value)
    return hashed.digest()
