"""Files of the operator, read whole and never more than they have reason to be: one reader for all of them.

Blocking. Whatever links lead to a file now are followed: Kubernetes swaps one to change it.
"""

from __future__ import annotations

from pathlib import Path

from assay.errors import ConfigurationError
from assay.units import format_size

MAX_OPERATOR_FILE_BYTES = 16 * 2**20
"""Bytes of a configuration, policy or list of expectations; none that people write comes near."""


def read_file(path: Path, label: str | None = None, *, max_bytes: int = MAX_OPERATOR_FILE_BYTES) -> bytes:
    """The file's bytes.

    Args:
        path: the file.
        label: how messages call it; None: by its path.
        max_bytes: bytes.

    Raises:
        ConfigurationError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{label or path}: cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise ConfigurationError(
            f"{label or path}: larger than {format_size(max_bytes)}, which no such file has reason to be"
        )
    return content


def read_text(path: Path, label: str | None = None, *, max_bytes: int = MAX_OPERATOR_FILE_BYTES) -> str:
    """The file's text, lines ended by a newline alone.

    Raises:
        ConfigurationError: it cannot be read, is larger, or is not UTF-8.
    """
    return decode_text(read_file(path, label, max_bytes=max_bytes), label or str(path))


def decode_text(content: bytes, label: str) -> str:
    """What a file's bytes say.

    Raises:
        ConfigurationError: they are not UTF-8.
    """
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{label}: not UTF-8, at byte {error.start}") from error
