"""Keys of a shared storage, from the file that the operator provides. They seal records, and sign peers' requests."""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from assay.errors import ConfigurationError
from assay.operator_files import read_text

MIN_KEY_BYTES: Final = 32
_MAX_KEYS: Final = 2
_MAX_FILE_BYTES: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_BESIDE_ROOT: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_HEXADECIMAL: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")


def parse_keys(text: str, label: str) -> tuple[bytes, ...]:
    """Return the keys in the text of a key file, the one for new seals and signatures first.

    Args:
        text: one line for each key, in hexadecimal or Base64 (RFC 4648, also its URL-safe alphabet).
        label: name of the file in messages.

    Raises:
        ConfigurationError: the text does not have one or two different keys of at least 32 bytes. The message does not
            contain the text.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= _MAX_KEYS:
        raise ConfigurationError(
            f"{label}: expected one line with a key, or two while it is rotated, found {len(lines)}"
        )
    keys = tuple(_decode_key(line, f"{label}:{number}") for number, line in enumerate(lines, start=1))
    if len(set(keys)) < len(keys):
        raise ConfigurationError(f"{label}: expected two different keys, found one key twice")
    return keys


def is_exposed(mode: int, owner: int) -> bool:
    """Return whether the mode of a key file lets too many users read or change it.

    The rule is that of PostgreSQL for the keys of its clients: only the owner may, or root and a group that may read.

    Args:
        mode: mode of the file.
        owner: identifier of the user that owns it.
    """
    return bool(mode & (_OTHERS if owner else _OTHERS_BESIDE_ROOT))


def _decode_key(line: str, label: str) -> bytes:
    try:
        if _HEXADECIMAL.fullmatch(line):
            key = bytes.fromhex(line)
        else:
            key = base64.b64decode(line.replace("-", "+").replace("_", "/") + "=" * (-len(line) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(f"{label}: expected a key in hexadecimal or Base64, found other text") from error
    if len(key) < MIN_KEY_BYTES:
        raise ConfigurationError(
            f"{label}: expected a key of at least {MIN_KEY_BYTES} bytes, found {len(key)}; create one with:"
            " openssl rand -hex 32"
        )
    return key


class KeyFile:
    """Current keys of the key file at `path`. `load` must have been called before `get`.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: tuple[bytes, ...] = ()

    def load(self) -> None:
        """Read the file; keep the earlier keys if it is invalid. Blocking.

        Raises:
            ConfigurationError: the file cannot be read, or is invalid.
        """
        self._keys = parse_keys(read_text(self.path, max_bytes=_MAX_FILE_BYTES), str(self.path))

    def get(self) -> Sequence[bytes]:
        """Return the keys: the one for new seals and signatures first, then the one that is also accepted, if any."""
        return self._keys

    def find_exposed_mode(self) -> str | None:
        """Return the mode of the file, such as "0644", if too many users may read or change it. Blocking."""
        try:
            facts = self.path.stat()
        except OSError:  # it was replaced after it was read
            return None
        return f"{stat.S_IMODE(facts.st_mode):04o}" if is_exposed(facts.st_mode, facts.st_uid) else None
