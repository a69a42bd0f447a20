"""METADATA and PKG-INFO of an uploaded archive: validity, name and version. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.metadata import InvalidMetadata, Metadata
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from assay.errors import UploadRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedDistribution:
    """Distribution that an upload names, which its archive must contain."""

    project: NormalizedName
    version: Version
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedArchive:
    """Facts from a valid archive."""

    requires_python: str | None
    metadata: bytes | None
    """Bytes of the METADATA file, for a wheel; None for a source archive."""


def read_metadata(raw: bytes, expected: ExpectedDistribution, where: str) -> str | None:
    """Check the metadata of an archive; return its Requires-Python.

    Args:
        raw: the metadata file.
        expected: distribution that the upload names.
        where: name of the metadata file, for messages.

    Raises:
        UploadRefusedError: the metadata is invalid, names another distribution, or has a dependency with a URL.
    """
    try:
        metadata = Metadata.from_email(raw, validate=True)
    except ExceptionGroup as group:
        raise UploadRefusedError(f"invalid {where}: {_describe(group)}") from group
    except (InvalidMetadata, ValueError, RecursionError) as error:
        raise UploadRefusedError(f"invalid {where}: {str(error)[:200]}") from error
    if canonicalize_name(metadata.name) != expected.project:
        raise UploadRefusedError(f"{where} has the name {metadata.name[:100]!a}, but the upload {expected.project}")
    if metadata.version != expected.version:
        raise UploadRefusedError(f"{where} has the version {metadata.version}, but the upload {expected.version}")
    for requirement in metadata.requires_dist or ():
        if requirement.url is not None:
            raise UploadRefusedError(f"{where} requires {requirement.name} from a URL, which no index can check")
    return None if metadata.requires_python is None else str(metadata.requires_python)


def _describe(group: ExceptionGroup[Exception]) -> str:
    return "; ".join(str(error)[:200] for error in group.exceptions[:3])
