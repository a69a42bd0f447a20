"""METADATA and PKG-INFO of an uploaded archive: validity, name and version. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import compat32
from typing import Final

from packaging.metadata import InvalidMetadata, Metadata
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from assay.errors import UploadRefusedError

_MAX_FIELDS: Final = 20_000
_MAX_FIELD_NAMES: Final = 100
"""Maximum number of different field names. Metadata 2.5 has about 35."""
_MAX_FIELD_CHARS: Final = 16 * 1024
_LONG_FIELDS: Final = frozenset({"description", "license", "keywords"})
"""Fields with any text, which no parser analyses."""
_HEADER_END: Final = re.compile(rb"\n\r?\n")
_AMBIGUOUS: Final = re.compile(rb"\r(?!\n)|\0")
"""A character at which only some readers of metadata end a line, and NUL."""


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
    _check_fields(raw, where)
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


def _check_fields(raw: bytes, where: str) -> None:
    """Check the form of the fields, before a parser reads them whose time grows with the square of their number.

    Readers of metadata differ where its fields are malformed: some take the rest for the description, others read on.

    Raises:
        UploadRefusedError: the fields are malformed, too many or too long.
    """
    message = BytesHeaderParser(policy=compat32).parsebytes(raw)
    if message.defects or message.get_unixfrom() is not None:
        raise UploadRefusedError(f"invalid {where}: a line before the description is not a field")
    if _AMBIGUOUS.search(_HEADER_END.split(raw, maxsplit=1)[0]):
        raise UploadRefusedError(f"invalid {where}: a field contains a control character")
    fields = list(message.raw_items())
    if len(fields) > _MAX_FIELDS or len({name.lower() for name, _ in fields}) > _MAX_FIELD_NAMES:
        raise UploadRefusedError(f"invalid {where}: more than {_MAX_FIELDS} fields, or {_MAX_FIELD_NAMES} field names")
    for name, value in fields:
        if len(value) > _MAX_FIELD_CHARS and name.lower() not in _LONG_FIELDS:
            raise UploadRefusedError(f"invalid {where}: the field {name[:40]!a} has more than {_MAX_FIELD_CHARS} bytes")


def _describe(group: ExceptionGroup[Exception]) -> str:
    return "; ".join(str(error)[:200] for error in group.exceptions[:3])
