"""Advisory: one OSV record, and the versions that it covers. Pure.

The algorithm is the one that the OSV schema documents ("Evaluation"): a version is affected if it is in `versions`, or
in one of the ranges. Only ranges of the type ECOSYSTEM count; their versions are ordered by PEP 440. A malware record
that has neither versions nor such a range covers all versions of the package.

Reference: https://ossf.github.io/osv-schema/#evaluation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from packaging.utils import canonicalize_version
from packaging.version import Version

from assay.simple.fields import parse_version
from assay.simple.model import NormalizedName

__all__ = [
    "MALWARE_PREFIX",
    "Advisory",
    "AffectedPackage",
    "EventKind",
    "RangeEvent",
    "VersionRange",
    "is_advisory_id",
    "version_key",
]

MALWARE_PREFIX: Final = "MAL-"
"""Prefix of the ids of the malicious-packages repository of OpenSSF."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
_PLAIN_RELEASE = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*", re.ASCII)
_TRAILING_ZEROS = re.compile(r"(?:\.0)+$")


def is_advisory_id(text: str) -> bool:
    """Return whether `text` can be the id of an advisory: at most 100 letters, digits and ``._:-``."""
    return _ID.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def version_key(version: Version | str) -> str | None:
    """Return a text that is equal for equal versions (PEP 440), such as ``1`` for ``1.0``.

    Return None for a text that is not a version.
    """
    if isinstance(version, str):
        if _PLAIN_RELEASE.fullmatch(version) is not None:
            return _TRAILING_ZEROS.sub("", version)
        parsed = parse_version(version)
        if parsed is None:
            return None
        version = parsed
    return canonicalize_version(version)


class EventKind(StrEnum):
    """Kind of an event in a range of the OSV schema."""

    INTRODUCED = "introduced"
    FIXED = "fixed"
    LAST_AFFECTED = "last_affected"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class RangeEvent:
    """Event of a range: at `version`, the package becomes affected, or is affected no longer."""

    kind: EventKind
    version: Version | None
    """Version of the event. None: before every version. It stands for the value ``"0"`` of `introduced`, and for texts
    that PEP 440 does not accept as versions, because OSV orders them before all versions. None in a `limit`: infinity
    (``"*"``)."""


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Range of the type ECOSYSTEM."""

    events: tuple[RangeEvent, ...]
    """Events `introduced`, `fixed` and `last_affected`, sorted by version. Events with the same version are in the
    order of the record."""
    limits: tuple[Version | None, ...] = ()
    """Versions of the events `limit`. The range contains only versions below one of them; empty: no limit."""

    def __contains__(self, version: Version) -> bool:
        """Return whether `version` is affected: function IncludedInRanges of the OSV schema, for one range."""
        if self.limits and not any(limit is None or version < limit for limit in self.limits):
            return False
        affected = False
        for event in self.events:
            if event.version is not None and event.version > version:
                break  # neither this event nor a later one has happened at `version`
            if event.kind is EventKind.INTRODUCED:
                affected = True
            elif event.kind is EventKind.FIXED or event.version is None or version > event.version:
                affected = False
        return affected


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedPackage:
    """Entry of `affected` for one PyPI project: its versions and ranges."""

    project: NormalizedName
    versions: frozenset[str] = frozenset()
    """Keys (`version_key`) of the versions that the entry lists."""
    ranges: tuple[VersionRange, ...] = ()
    covers_all: bool = False
    """True for an entry of a malware record that has neither versions nor a range of the type ECOSYSTEM."""

    def covers(self, version: Version) -> bool:
        """Return whether the entry covers `version`."""
        return (
            self.covers_all
            or (bool(self.versions) and version_key(version) in self.versions)
            or any(version in each for each in self.ranges)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """OSV record about PyPI projects. All texts are claims of the feed, which is not signed."""

    id: str
    """Id such as ``MAL-2025-1`` or ``GHSA-…``: letters, digits, ``.``, ``_``, ``:`` and ``-``."""
    modified: datetime
    """Time of the last change, UTC. It may be later than now."""
    affected: tuple[AffectedPackage, ...]
    """Entries about PyPI projects, at least one. Entries of other ecosystems are left out."""
    published: datetime | None = None
    withdrawn: datetime | None = None
    """Time at which the record was withdrawn, UTC. A withdrawn record covers nothing."""
    aliases: tuple[str, ...] = ()
    summary: str = ""
    """Summary in one sentence, shortened; may be empty and may contain any characters."""
    details: str = ""
    """Details in Markdown, shortened; may be empty and may contain any characters."""
    references: tuple[str, ...] = ()
    """Absolute https URLs."""
    is_missing: bool = False
    """True for a malware record that the feed no longer contains. It stays in force until a snapshot has it as
    withdrawn, or the policy ignores it."""
    on_hold: bool = False
    """True if a person must accept the record before it may withhold versions of the project that `find` was asked
    about: one refresh named more used projects than `max-new-hits`."""

    @property
    def is_malware(self) -> bool:
        """True if the record says that the package is malicious: its id begins with ``MAL-``."""
        return self.id.startswith(MALWARE_PREFIX)

    @property
    def withholds(self) -> bool:
        """True if the versions that the record covers are withheld where the policy denies malware."""
        return self.is_malware and not self.on_hold and self.withdrawn is None

    @property
    def link(self) -> str:
        """Address of the record's page for people."""
        return f"https://osv.dev/vulnerability/{self.id}"

    @property
    def event_count(self) -> int:
        """Number of events in all ranges. The time that `covers` takes grows with it."""
        return sum(len(bounds.events) + len(bounds.limits) for each in self.affected for bounds in each.ranges)

    @property
    def projects(self) -> frozenset[NormalizedName]:
        """PyPI projects that the record names."""
        return frozenset(each.project for each in self.affected)

    def covers(self, project: NormalizedName, version: Version) -> bool:
        """Return whether the record covers `version` of `project`. A withdrawn record covers nothing."""
        return self.withdrawn is None and any(
            each.project == project and each.covers(version) for each in self.affected
        )
