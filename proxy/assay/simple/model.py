"""The Simple API's vocabulary as values; each field stands beside the sentence that defines it.

Essential reading, in order: PEP 503 (HTML), 592 (yank), 629 (versioning), 658/714 (metadata), 691 (JSON), 700 (size,
upload-time, versions), 740 (provenance), 792 (status).

The model follows the latest PEP; `simple.parse` adapts what indexes send, `render` what clients ask for. Nothing here
judges: a file that cannot be served is still a value, with the facts from which policy will refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from packaging.utils import NormalizedName
from packaging.version import Version

__all__ = ["CoreMetadata", "Distribution", "File", "Kind", "NormalizedName", "Project", "ProjectStatus", "Sha256"]

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits; made only by `simple.parse.parse_sha256`."""


class Kind(StrEnum):
    """What a filename's ending says a distribution is."""

    WHEEL = "wheel"
    SDIST = "sdist"
    EGG = "egg"
    INSTALLER = "installer"  # .exe .msi .rpm .deb .dmg: older PyPI uploads that no installer of ours takes
    VARIANTS = "variants"  # PEP 817 (draft): {name}-{version}-variants.json stands beside its wheels


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A filename, parsed once: whose it is, which version, of what kind."""

    project: NormalizedName
    version: Version
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMetadata:
    """PEP 658/714: the file's METADATA is served beside it at its URL + ``.metadata``."""

    sha256: Sha256 | None
    """"The repository SHOULD provide the hash of the Core Metadata file" (PEP 658): it may be missing (``true``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One distribution as an index's page lists it. All of it is the index's claim; none of it is evidence."""

    filename: str
    """As listed, whatever it contains."""

    url: str
    """Absolute upstream address, as the page gives it: query kept, nothing re-encoded, fragment dropped."""

    location: str
    """``host[:port]/path`` of `url`, percent-decoded once, without query: what a request for the file is matched on."""

    route: str
    """``host[:port]/path`` of `url` still percent-encoded, without query: what clients are given, after ``files/``."""

    distribution: Distribution | None
    """None when the filename does not parse as a distribution *of the page's project*."""

    refusal: str | None = None
    """Why `distribution` is None, in words; None otherwise."""

    owner: NormalizedName | None = None
    """When the filename parses as another project's: whose. None otherwise."""

    hashes: tuple[tuple[str, str], ...] = ()
    """"hashes: a dictionary mapping a hash name to a hex encoded digest" (PEP 691), as sent, in order."""

    sha256: Sha256 | None = None
    """The one digest that counts here; None when the page gives none that is well-formed."""

    size: int | None = None
    """"size: this field is mandatory" since API 1.1 (PEP 700); bytes. HTML has none."""

    upload_time: datetime | None = None
    """"upload-time … in UTC" (PEP 700); aware. The index's claim of when."""

    requires_python: str | None = None
    """PEP 345 Requires-Python, as sent (PEP 503 ``data-requires-python``)."""

    yanked: str | None = None
    """None: not yanked. A string, perhaps empty: yanked with that reason (PEP 592)."""

    core_metadata: CoreMetadata | None = None

    provenance: str | None = None
    """PEP 740: "a fully qualified URL" of the provenance object, as sent; None where there is none."""

    extra: tuple[tuple[str, str], ...] = ()
    """Every other key of the entry with its value as JSON text, in order, to be passed on unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStatus:
    """PEP 792 status marker: ``active``, ``archived``, ``quarantined``, ``deprecated``, or one yet unknown."""

    status: str
    reason: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    """Unknown keys with their values as JSON text, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project's page, in the order the index gave."""

    name: NormalizedName
    files: tuple[File, ...]
    api_version: tuple[int, int]
    """What the index said of itself; (1, 0) where it says nothing (PEP 629)."""
    serial: int | None = None
    """``_last-serial`` / ``X-PyPI-Last-Serial``: grows with each change of the project on PyPI."""
    status: ProjectStatus | None = None
    versions: tuple[str, ...] = ()
    """"versions: … all of the project versions uploaded" (PEP 700); what the index said, empty for HTML."""
    extra: tuple[tuple[str, str], ...] = ()
    """Unknown top-level keys with their values as JSON text, in order."""
    meta_extra: tuple[tuple[str, str], ...] = ()
    """Unknown keys of ``meta``, likewise."""
