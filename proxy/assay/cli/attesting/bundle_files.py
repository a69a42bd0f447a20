"""Files of bundles, as a source of evidence reads them: ``<sha256>.jsonl`` in a directory, one bundle in each line."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.attestation.verification.strict_json import MAX_BUNDLE_LIST_BYTES, MAX_LISTED_BUNDLES
from assay.cli.file_replacement import replace_file
from assay.errors import ConfigurationError
from assay.operator_files import read_file
from assay.simple.model import Sha256


class BundleFileError(ConfigurationError):
    """File of bundles that cannot be read, or is full. The files for other digests are not affected."""


def get_bundle_path(directory: Path, sha256: Sha256) -> Path:
    """Return the path of the file with the bundles about a digest."""
    return directory / f"{sha256}.jsonl"


def has_bundle(directory: Path, sha256: Sha256, is_same: Callable[[bytes], bool]) -> bool:
    """Return whether the file for a digest has a line for which `is_same` returns True.

    Raises:
        BundleFileError: the file cannot be read, or is too large.
    """
    return any(is_same(line) for line in _read_lines(get_bundle_path(directory, sha256)))


def add_bundle(directory: Path, sha256: Sha256, bundle: bytes, is_same: Callable[[bytes], bool]) -> bool:
    """Add a bundle as a line to the file for its digest, unless a line is the same. Return whether it was added.

    The other lines stay as they are. The file is replaced atomically. Two processes that add bundles at the same time
    wait for each other.

    Raises:
        BundleFileError: the file cannot be read, or a proxy would not read so many bundles.
        ConfigurationError: the directory or the file cannot be written.
    """
    path = get_bundle_path(directory, sha256)
    with _lock(directory):
        lines = _read_lines(path)
        if any(is_same(line) for line in lines):
            return False
        lines.append(bundle)
        content = b"".join(line + b"\n" for line in lines)
        if len(lines) > MAX_LISTED_BUNDLES or len(content) > MAX_BUNDLE_LIST_BYTES:
            limit = f"{MAX_LISTED_BUNDLES} bundles and {MAX_BUNDLE_LIST_BYTES} bytes"
            raise BundleFileError(f"{path}: a proxy reads at most {limit} about a file; remove old ones")
        replace_file(path, content)
    return True


def _read_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    try:
        content = read_file(path, max_bytes=MAX_BUNDLE_LIST_BYTES)
    except ConfigurationError as error:
        raise BundleFileError(str(error)) from error
    return [line for line in content.splitlines() if line.strip()]


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock on a directory, which is created if it does not exist.

    Raises:
        ConfigurationError: the directory cannot be created or locked.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(f"{directory}: cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigurationError(f"{directory}: cannot be locked: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)
