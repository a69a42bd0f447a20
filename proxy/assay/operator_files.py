"""Reader of the operator's files (configuration, policies, passwords, tokens) with a size limit. Its functions block.

Symbolic links are followed at each read, because Kubernetes changes a file by replacing a link.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from assay.errors import ConfigurationError
from assay.units import format_size

MAX_OPERATOR_FILE_BYTES = 16 * 2**20
"""Default limit on the size of a file in bytes. Configurations and policies are far smaller."""


def read_file(path: Path, label: str | None = None, *, max_bytes: int = MAX_OPERATOR_FILE_BYTES) -> bytes:
    """Read a whole file.

    Args:
        path: path of the file.
        label: name of the file in messages; None: its path.
        max_bytes: limit on the size in bytes.

    Raises:
        ConfigurationError: the file cannot be read, or is larger than `max_bytes`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{label or path}: cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise ConfigurationError(f"{label or path}: larger than {format_size(max_bytes)}")
    return content


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a regular file, at most one byte more than `max_bytes`. A FIFO or device does not block.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - opened by descriptor, for its flags
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(max_bytes + 1)


def read_text(path: Path, label: str | None = None, *, max_bytes: int = MAX_OPERATOR_FILE_BYTES) -> str:
    """Read a whole file as UTF-8 text, and convert CRLF to LF; see `read_file` for the arguments.

    Raises:
        ConfigurationError: the file cannot be read, is larger than `max_bytes`, or is not UTF-8.
    """
    return decode_text(read_file(path, label, max_bytes=max_bytes), label or str(path))


def decode_text(content: bytes, label: str) -> str:
    """Decode the bytes of a file as UTF-8, and convert CRLF to LF.

    Raises:
        ConfigurationError: the bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{label}: not UTF-8, at byte {error.start}") from error
