"""Atomic replacement of a file of the user: after a crash, the file has either the old or the new content."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from assay.errors import ConfigurationError


def replace_file(path: Path, content: bytes) -> None:
    """Replace the content of the file at `path`, or create the file. A symbolic link stays, and its target is replaced.

    Raises:
        ConfigurationError: the file cannot be written. It is then unchanged.
    """
    target = path.resolve()
    try:
        mode = target.stat().st_mode if target.exists() else _get_default_mode()
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            new.chmod(mode)
            new.replace(target)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _get_default_mode() -> int:
    """Return the permissions that the process gives to a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
