"""Names of uploaded files: their form, and the release slot that each file takes. Pure.

A file takes one slot of its release: same project, equal version (PEP 440), same kind, same tags and build number
(PEP 425, PEP 491). A slot is never used again for other bytes. A version has one slot for a source archive (PEP 625).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from assay.errors import UploadRefusedError
from assay.simple.fields import parse_version
from assay.simple.filename import parse_filename
from assay.simple.model import Kind

SDIST_ENDING: Final = ".tar.gz"
_PROJECT_NAME: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]{0,98}[A-Z0-9])?", re.ASCII | re.IGNORECASE)
"""Valid project name (packaging specification, "Names and normalization") of at most 100 characters."""
_MAX_VERSION_CHARS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSlot:
    """Place of a file in its project, which only one file may ever take."""

    version: Version
    kind: Kind
    build: tuple[int, str] | tuple[()] = ()
    tags: frozenset[Tag] = frozenset()


def parse_project_name(text: str) -> NormalizedName:
    """Return the normalized form of a project name (PEP 503).

    Raises:
        UploadRefusedError: the name is invalid.
    """
    if not _PROJECT_NAME.fullmatch(text):
        raise UploadRefusedError(
            f"invalid project name {_quote(text)}: expected 1 to 100 letters, digits, '.', '_', '-'"
        )
    return canonicalize_name(text)


def parse_release_version(text: str) -> Version:
    """Return a version (PEP 440). A version with a local part is permitted.

    Raises:
        UploadRefusedError: the version is invalid.
    """
    version = parse_version(text) if len(text) <= _MAX_VERSION_CHARS else None
    if version is None:
        raise UploadRefusedError(f"invalid version {_quote(text)} (PEP 440)")
    return version


def find_slot(filename: str, project: NormalizedName, version: Version) -> ReleaseSlot:
    """Return the slot that a file takes, after checking its filename.

    Args:
        filename: filename as the client sent it. It may contain any characters.
        project: project that the upload names.
        version: version that the upload names.

    Raises:
        UploadRefusedError: the filename is not that of a wheel or a source archive (PEP 625) of this project and
            version.
    """
    parsed = parse_filename(filename, project)
    if parsed.distribution is None:
        raise UploadRefusedError(f"the filename {_quote(filename)} {parsed.refusal}")
    slot = _parse_wheel(filename) if parsed.distribution.kind is Kind.WHEEL else _parse_sdist(filename, project)
    if slot.version != version:
        raise UploadRefusedError(
            f"the filename {_quote(filename)} has version {slot.version}, but the upload {version}"
        )
    return slot


def make_taken_error(filename: str) -> UploadRefusedError:
    """Return the error for a file whose name another upload has taken meanwhile."""
    return UploadRefusedError(f"{filename} is taken: names of files are never used again")


def _parse_wheel(filename: str) -> ReleaseSlot:
    try:
        _, version, build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise UploadRefusedError(f"the filename {_quote(filename)} is not a valid wheel filename") from error
    return ReleaseSlot(version=version, kind=Kind.WHEEL, build=build, tags=tags)


def _parse_sdist(filename: str, project: NormalizedName) -> ReleaseSlot:
    stem = filename.removesuffix(SDIST_ENDING)
    try:
        name, version = parse_sdist_filename(filename)
    except InvalidSdistFilename as error:
        raise UploadRefusedError(f"the filename {_quote(filename)} is not a valid sdist filename (PEP 625)") from error
    expected = f"{project.replace('-', '_')}-{version}"
    if stem == filename or name != project or stem != expected:
        raise UploadRefusedError(f"the filename {_quote(filename)} is not {expected}{SDIST_ENDING} (PEP 625)")
    return ReleaseSlot(version=version, kind=Kind.SDIST)


def _quote(text: str) -> str:
    return ascii(text[:80])
