"""The transparency log's tree: proofs of inclusion (RFC 9162 section 2.1.3) and signed checkpoints.

Owns both as bytes and numbers. Checks no signature: it says what was signed, and `verify` asks the log's key.
Reading: RFC 9162 (which keeps RFC 6962's hashes), https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from assay.attestation.verification import strict_json
from assay.attestation.verification.errors import CheckFailed

_MAX_SIGNATURES: Final = 16
_SIGNATURE_LINE: Final = re.compile(r"\u2014 (\S{1,300}) ([A-Za-z0-9+/]+={0,2})")
_TREE_SIZE: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_KEY_HINT_BYTES: Final = 4


def compute_root_hash(entry: bytes, leaf_index: int, tree_size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root hash to which `path` leads from `entry`, the leaf at `leaf_index` of `tree_size`, or None.

    RFC 9162 section 2.1.3.2, step by step; the caller has seen that index < size.
    """
    node, last = leaf_index, tree_size - 1
    root = sha256(b"\x00" + entry).digest()
    for sibling in path:
        if last == 0:
            return None
        if node & 1 or node == last:
            root = sha256(b"\x01" + sibling + root).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            root = sha256(b"\x01" + root + sibling).digest()
        node >>= 1
        last >>= 1
    return root if last == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log says of its tree, and who signed it."""

    size: int
    root: bytes
    note: bytes
    """The text that was signed."""
    signatures: tuple[tuple[bytes, bytes], ...]
    """(first bytes of the key's id, signature), in order."""

    def find_signature(self, log_id: bytes) -> bytes | None:
        """The signature that claims to be by this log; None where there is none."""
        return next((signature for hint, signature in self.signatures if hint == log_id[:_KEY_HINT_BYTES]), None)


def read_checkpoint(envelope: str) -> Checkpoint:
    """The checkpoint in `envelope`, with every line of it accounted for.

    Raises:
        CheckFailed: it is none.
    """
    if len(envelope) > strict_json.MAX_CHECKPOINT_CHARACTERS:
        raise CheckFailed(
            "checkpoint", f"at most {strict_json.MAX_CHECKPOINT_CHARACTERS} characters", str(len(envelope))
        )
    note, blank, signatures = envelope.partition("\n\n")
    lines = note.split("\n")
    if not blank or len(lines) < 3 or not lines[0]:  # noqa: PLR2004 - origin, size, root hash
        raise CheckFailed("checkpoint", "origin, tree size, root hash, a blank line, signatures", envelope)
    if not _TREE_SIZE.fullmatch(lines[1]):
        raise CheckFailed("checkpoint", "a tree size in digits", lines[1])
    listed = signatures.removesuffix("\n").split("\n")
    if not signatures.endswith("\n") or len(listed) > _MAX_SIGNATURES:
        raise CheckFailed("checkpoint", f"1 to {_MAX_SIGNATURES} signature lines", signatures)
    try:
        root = b64decode(lines[2], validate=True)
        signed = tuple(_read_signature(line) for line in listed)
    except (Base64Error, ValueError) as error:
        raise CheckFailed("checkpoint", "a root hash and signature lines in base64", envelope) from error
    return Checkpoint(size=int(lines[1]), root=root, note=f"{note}\n".encode(), signatures=signed)


def _read_signature(line: str) -> tuple[bytes, bytes]:
    found = _SIGNATURE_LINE.fullmatch(line)
    raw = b64decode(found[2], validate=True) if found else b""
    if len(raw) <= _KEY_HINT_BYTES:
        raise ValueError("not a signature line")
    return raw[:_KEY_HINT_BYTES], raw[_KEY_HINT_BYTES:]
