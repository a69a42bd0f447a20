"""Provenance of a release in PyPI's six words: no, full, partial, inconsistent, lost, changed. Pure.

PyPI computes these states for each release (warehouse pull requests 20326 and 20420). Assay uses the same words for
what it has verified itself. There are two differences:

- A publisher is known from the certificate. A renamed repository therefore stays the same source.
- PyPI compares a release with one of the 14 days before. Assay compares it with earlier releases of any age, as the
  requirement `ratchet` does.

Evidence that is unknown or cannot be verified says nothing: it never makes a release ``changed``, ``lost``, ``no`` or
``full``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from packaging.version import Version

from assay.evidence import (
    Attestation,
    Attested,
    Evidence,
    Forged,
    Unattested,
)
from assay.publishers.signers import get_signer_name, identify_publisher

_Source: TypeAlias = tuple[str | None, ...]
"""Kind, identity and workflow of the signer of an attestation."""


class ProvenanceWord(StrEnum):
    """PyPI's word for a state of a release. A release has at most one of the first three, and any of the others."""

    NO = "no"
    """No file of the release is attested."""
    FULL = "full"
    """All files are attested."""
    PARTIAL = "partial"
    """Some files are attested, and others are not."""
    INCONSISTENT = "inconsistent"
    """The files come from several sources: repositories or workflows."""
    LOST = "lost"
    """No file is attested, but a file of an earlier release is."""
    CHANGED = "changed"
    """The sources differ from those of the last attested release before."""


ALARMING_WORDS: Final = frozenset({ProvenanceWord.INCONSISTENT, ProvenanceWord.LOST, ProvenanceWord.CHANGED})
"""Words that a person should look into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """File of a release, with what is known about its provenance."""

    version: Version
    time: datetime | None
    """Publication time (`get_publication_time`)."""
    evidence: Evidence | None
    """Evidence of the file; None if the file was not examined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseProvenance:
    """Provenance of one release."""

    words: tuple[ProvenanceWord, ...]
    """Words in the order of `ProvenanceWord`. Empty if too little is known."""
    attested: int
    """Number of attested files."""
    unattested: int
    """Number of files without a valid attestation."""
    unknown: int
    """Number of files that were not examined, or whose provenance cannot be verified."""
    publishers: tuple[str, ...] = ()
    """Names of the publishers of the attested files, sorted."""

    @property
    def text(self) -> str:
        """The words, separated by commas, or ``unknown``."""
        return ", ".join(self.words) or "unknown"


@dataclass(slots=True)
class _Release:
    attested: int = 0
    unattested: int = 0
    unknown: int = 0
    sources: dict[_Source, str] = field(default_factory=dict)
    """Name of the publisher by source."""
    time: datetime | None = None


def get_publication_time(evidence: Evidence | None, upload_time: datetime | None) -> datetime | None:
    """Return the earliest log time of a file's attestations, or for another file its upload time.

    Args:
        evidence: evidence of the file; None if it was not examined.
        upload_time: time that the index states.
    """
    if isinstance(evidence, Attested) and (signed := evidence.provenance):
        return min(one.integrated_time for one in signed)
    return upload_time


def classify_releases(files: Iterable[ReleaseFile]) -> dict[Version, ReleaseProvenance]:
    """Return the provenance of each release, the earliest release first.

    Releases are compared in the order of their earliest file. A release without a time is not compared.
    """
    releases: dict[Version, _Release] = {}
    for file in files:
        release = releases.setdefault(file.version, _Release())
        _add_evidence(release, file.evidence)
        if file.time is not None:
            release.time = file.time if release.time is None else min(release.time, file.time)
    ordered = sorted(
        releases.items(), key=lambda item: (item[1].time is None, item[1].time and item[1].time.timestamp(), item[0])
    )
    latest: _Release | None = None
    found = {}
    for version, release in ordered:
        found[version] = _classify(release, latest)
        if release.attested and release.time is not None:
            latest = release
    return found


def _add_evidence(release: _Release, evidence: Evidence | None) -> None:
    match evidence:
        case Attested(provenance=counted):
            release.sources.update((_identify_source(each), get_signer_name(each.claims)) for each in counted)
            if counted:
                release.attested += 1
            else:
                release.unattested += 1
        case Unattested() | Forged():
            release.unattested += 1
        case _:
            release.unknown += 1


def _identify_source(attestation: Attestation) -> _Source:
    claims = attestation.claims
    identity = identify_publisher(attestation) or (attestation.trust_root, claims.issuer, claims.san)
    return claims.kind, *identity, claims.workflow


def _classify(release: _Release, latest: _Release | None) -> ReleaseProvenance:
    """Return the provenance of a release, compared with the last attested release before it, if any."""
    words = []
    if release.attested and release.unattested:
        words.append(ProvenanceWord.PARTIAL)
    elif not release.unknown:
        words.append(ProvenanceWord.FULL if release.attested else ProvenanceWord.NO)
    if len(release.sources) > 1:
        words.append(ProvenanceWord.INCONSISTENT)
    if latest is not None and release.time is not None:
        if ProvenanceWord.NO in words:
            words.append(ProvenanceWord.LOST)
        elif release.attested and _is_changed(release, latest):
            words.append(ProvenanceWord.CHANGED)
    return ReleaseProvenance(
        words=tuple(words),
        attested=release.attested,
        unattested=release.unattested,
        unknown=release.unknown,
        publishers=tuple(sorted(set(release.sources.values()))),
    )


def _is_changed(release: _Release, latest: _Release) -> bool:
    """Return whether the sources differ for certain, whatever the sources of the unknown files are."""
    added, removed = release.sources.keys() - latest.sources.keys(), latest.sources.keys() - release.sources.keys()
    return bool((added and not latest.unknown) or (removed and not release.unknown))
