"""Merkle tree of a transparency log: computes the root hash of an inclusion proof and parses signed checkpoints.

This module verifies no signatures. `read_checkpoint` returns the signed text with the signatures, and `verify` checks
them with the log's key. References: RFC 9162 section 2.1.3 (same hashes as RFC 6962), https://c2sp.org/tlog-checkpoint,
https://c2sp.org/signed-note.
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
    """Return the root hash to which an inclusion proof leads (RFC 9162 section 2.1.3.2).

    Return None if `path` has a wrong length.

    Args:
        entry: bytes of the leaf.
        leaf_index: position of the leaf in the tree, from 0. The caller has checked that it is below `tree_size`.
        tree_size: number of leaves in the tree.
        path: hashes of the sibling nodes, from the leaf to the root.
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
    """Parsed checkpoint: size and root hash of a log's tree, with signatures that are not verified."""

    size: int
    root: bytes
    note: bytes
    """The signed text, encoded as UTF-8."""
    signatures: tuple[tuple[bytes, bytes], ...]
    """Pairs of key hint and signature, in the order of the lines. The key hint is the first 4 bytes of the key id."""

    def find_signature(self, log_id: bytes) -> bytes | None:
        """Return the first signature whose key hint is the beginning of `log_id`; None if no signature has it."""
        return next((signature for hint, signature in self.signatures if hint == log_id[:_KEY_HINT_BYTES]), None)


def read_checkpoint(envelope: str) -> Checkpoint:
    """Parse a checkpoint (a signed note): lines for origin, tree size, root hash, optional extensions and signatures.

    Raises:
        CheckFailed: the text is not a checkpoint, or exceeds a limit.
    """
    if len(envelope) > strict_json.MAX_CHECKPOINT_CHARACTERS:
        raise CheckFailed(
            "checkpoint", f"at most {strict_json.MAX_CHECKPOINT_CHARACTERS} characters", str(len(envelope))
        )
    note, blank, signatures = envelope.partition("\n\n")
    lines = note.split("\n")
    if not blank or len(lines) < 3 or not lines[0]:  # noqa: PLR2004 - origin, size, root hash
        raise CheckFailed(
            "checkpoint", "lines for origin, tree size and root hash, a blank line, and signature lines", envelope
        )
    if not _TREE_SIZE.fullmatch(lines[1]):
        raise CheckFailed("checkpoint", "a tree size of 1 to 16 digits", lines[1])
    listed = signatures.removesuffix("\n").split("\n")
    if not signatures.endswith("\n") or len(listed) > _MAX_SIGNATURES:
        raise CheckFailed("checkpoint", f"1 to {_MAX_SIGNATURES} signature lines", signatures)
    try:
        root = b64decode(lines[2], validate=True)
        signed = tuple(_read_signature(line) for line in listed)
    except (Base64Error, ValueError) as error:
        raise CheckFailed("checkpoint", "a root hash in base64, and signature lines with base64", envelope) from error
    return Checkpoint(size=int(lines[1]), root=root, note=f"{note}\n".encode(), signatures=signed)


def _read_signature(line: str) -> tuple[bytes, bytes]:
    found = _SIGNATURE_LINE.fullmatch(line)
    raw = b64decode(found[2], validate=True) if found else b""
    if len(raw) <= _KEY_HINT_BYTES:
        raise ValueError("not a signature line")
    return raw[:_KEY_HINT_BYTES], raw[_KEY_HINT_BYTES:]
