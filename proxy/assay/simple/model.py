"""Model of the Simple Repository API. The docstrings of the fields quote the PEPs that define them.

Read these PEPs, in this order: 503 (HTML), 592 (yank), 629 (versioning), 658 and 714 (metadata), 691 (JSON), 700 (size,
upload-time, versions), 740 (provenance), 792 (status).

The model follows the latest PEP. `simple.parse` converts the pages of indexes to the model, and `render` converts the
model to the formats that clients request. The model makes no decision. A `File` may also describe a file that must not
be served. Policy refuses such a file because of the facts in the `File`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

from packaging.utils import NormalizedName
from packaging.version import Version

__all__ = ["CoreMetadata", "Distribution", "File", "Kind", "NormalizedName", "Project", "ProjectStatus", "Sha256"]

Sha256 = NewType("Sha256", str)
"""SHA-256 digest as 64 lower-case hexadecimal digits. Only `simple.parse.parse_sha256` makes it from untrusted text."""


class Kind(StrEnum):
    """Kind of a distribution, determined by the ending of its filename."""

    WHEEL = "wheel"
    SDIST = "sdist"
    EGG = "egg"
    INSTALLER = "installer"  # .exe .msi .rpm .deb .dmg: old uploads to PyPI, which pip and uv ignore
    VARIANTS = "variants"  # PEP 817 (draft): {name}-{version}-variants.json, listed beside its wheels


INSTALLABLE_KINDS: Final = frozenset({Kind.WHEEL, Kind.SDIST})
"""Kinds that pip and uv install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Project, version and kind of a distribution, parsed from its filename."""

    project: NormalizedName
    version: Version
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMetadata:
    """Offer of a file's METADATA at the file's URL with ``.metadata`` appended (PEP 658, PEP 714)."""

    sha256: Sha256 | None
    """SHA-256 of the METADATA; None if the page says ``true``. "The repository SHOULD provide the hash" (PEP 658)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One distribution, as the page of an index lists it. All fields are claims of the index and not evidence."""

    filename: str
    """Filename as listed. It may contain any characters."""

    url: str
    """Absolute upstream URL from the page, with its query and without its fragment. It is not encoded again."""

    location: str
    """``host[:port]/path`` of `url`, percent-decoded once and without the query. Assay compares requested paths with
    this value."""

    route: str
    """``host[:port]/path`` of `url`, percent-encoded and without the query. In the URL for clients, it follows
    ``files/``."""

    distribution: Distribution | None
    """Project, version and kind from the filename. None if the filename or the URL is refused (see `refusal`)."""

    refusal: str | None = None
    """Reason why the filename or URL is refused, such as ``has a URL without a host``. None if both are valid."""

    owner: NormalizedName | None = None
    """Project that the filename names, if the page belongs to another project; else None."""

    hashes: tuple[tuple[str, str], ...] = ()
    """Pairs of hash name and digest, as sent and in the order of the page: "a dictionary mapping a hash name to a hex
    encoded digest" (PEP 691)."""

    sha256: Sha256 | None = None
    """SHA-256 from `hashes`. It is the only digest that Assay checks. None if it is missing or malformed."""

    size: int | None = None
    """Size in bytes. "This field is mandatory" since API 1.1 (PEP 700). Pages in HTML do not have it."""

    upload_time: datetime | None = None
    """Time of the upload according to the index, with the time zone UTC: "upload-time … in UTC" (PEP 700)."""

    requires_python: str | None = None
    """Requires-Python (PEP 345) as sent. In HTML it is ``data-requires-python`` (PEP 503)."""

    yanked: str | None = None
    """Reason for the yank, which may be empty (PEP 592). None if the file is not yanked."""

    core_metadata: CoreMetadata | None = None

    provenance: str | None = None
    """URL of the provenance object as sent: "a fully qualified URL" (PEP 740). None if the entry has no such key."""

    extra: tuple[tuple[str, str], ...] = ()
    """Keys of the entry for which `File` has no field, with their values as JSON text, in the order of the page. Pages
    for clients contain them unchanged."""

    problem: str | None = None
    """First malformed value of the entry. Policy withholds the file because of it. None if the entry is well formed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStatus:
    """Status of a project (PEP 792): ``active``, ``archived``, ``quarantined``, ``deprecated``, or unknown."""

    status: str
    reason: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    """Unknown keys with their values as JSON text, in the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Page of one project. The files are in the order of the index."""

    name: NormalizedName
    files: tuple[File, ...]
    api_version: tuple[int, int]
    """API version that the page states; (1, 0) if it states no version (PEP 629)."""
    serial: int | None = None
    """Value of ``_last-serial`` or ``X-PyPI-Last-Serial``. On PyPI, each change of the project increases it."""
    status: ProjectStatus | None = None
    versions: tuple[str, ...] = ()
    """Versions of the project as sent: "all of the project versions uploaded" (PEP 700). Empty for a page in HTML."""
    extra: tuple[tuple[str, str], ...] = ()
    """Unknown top-level keys with their values as JSON text, in the order of the page."""
    meta_extra: tuple[tuple[str, str], ...] = ()
    """Unknown keys of ``meta`` with their values as JSON text, in the order of the page."""
    states_provenance: bool = True
    """False if the page does not say which files have provenance: no entry has the key ``provenance``. An HTML page of
    API 1.3 or later says it by leaving the attribute out (PEP 740)."""
    dropped_entries: int = 0
    """Number of malformed entries that `files` does not contain, because they have no filename or no URL."""
