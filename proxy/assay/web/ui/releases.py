"""Releases of a project: its files by version, and groups of files with the same verdict for the same reasons. Pure.

This module has the values that the project page shows, and the URLs of a version and of a file on that page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import quote

from packaging.version import Version

from assay.evidence import Attested, Unattested
from assay.policy.verdict import Approved, Reason, Withheld
from assay.publishers.release_provenance import ProvenanceWord
from assay.simple.model import File, NormalizedName

NO_VERSION: Final = "none"
"""Value of ``?version=`` that selects the files without a version. It is not a valid version (PEP 440)."""
_PLAIN_FILENAME: Final = re.compile(r"[A-Za-z0-9._+!-]{1,255}", re.ASCII)
"""Filename that a URL fragment may contain without encoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndecidedFile:
    """File without a verdict, because its provenance is not available."""

    file: File
    problem: str | None
    """Problem that prevents the verdict; None while the provenance is being fetched."""


FileVerdict: TypeAlias = Approved | Withheld | UndecidedFile


class State(StrEnum):
    """State of a file on the project page. The order is the order in which groups are shown."""

    WITHHELD = "withheld"
    UNDECIDED = "undecided"
    LIFTED = "lifted"
    """Approved by a pin, a waiver or audit mode although there are reasons against the file."""
    APPROVED = "approved"


def get_state(verdict: FileVerdict) -> State:
    """Return the state of a file."""
    match verdict:
        case Withheld():
            return State.WITHHELD
        case UndecidedFile():
            return State.UNDECIDED
        case Approved():
            return State.LIFTED if verdict.despite else State.APPROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGroup:
    """Files of one release with the same state, rule, reasons and signer."""

    state: State
    files: list[FileVerdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Version of a project with its files; or the files without a version."""

    version: Version | None
    files: list[FileVerdict] = field(default_factory=list)
    words: tuple[ProvenanceWord, ...] = ()
    """PyPI's words for the provenance of the release; empty if too little is known."""

    @property
    def title(self) -> str:
        """Version in its normal form, or a title for the files without a version."""
        return "files without a version" if self.version is None else str(self.version)

    @property
    def key(self) -> str:
        """Value of ``?version=`` that selects this release."""
        return NO_VERSION if self.version is None else str(self.version)

    def count(self, state: State) -> int:
        """Return the number of files in this state."""
        return sum(get_state(each) is state for each in self.files)

    @property
    def has_withheld(self) -> bool:
        """True if a file of the release is withheld."""
        return any(isinstance(each, Withheld) for each in self.files)

    @property
    def has_approved(self) -> bool:
        """True if a file of the release is approved."""
        return any(isinstance(each, Approved) for each in self.files)


def group_releases(
    verdicts: Iterable[FileVerdict], words: Mapping[Version, tuple[ProvenanceWord, ...]] = MappingProxyType({})
) -> list[Release]:
    """Group files by version, newest first. The files without a version are the last release.

    Args:
        verdicts: verdicts on all files.
        words: PyPI's words for the provenance, by version.
    """
    found: dict[Version | None, Release] = {}
    for verdict in verdicts:
        distribution = verdict.file.distribution
        version = None if distribution is None else distribution.version
        release = found.get(version)
        if release is None:
            release = found[version] = Release(version=version, words=() if version is None else words.get(version, ()))
        release.files.append(verdict)
    unversioned = found.pop(None, None)
    releases = [found[each] for each in sorted((each for each in found if each is not None), reverse=True)]
    return releases if unversioned is None else [*releases, unversioned]


def group_files(verdicts: Iterable[FileVerdict]) -> list[FileGroup]:
    """Group the files of a release by state, rule, reasons and signer. Withheld files are first."""
    found: dict[object, FileGroup] = {}
    for verdict in verdicts:
        state = get_state(verdict)
        key = (state, _get_group_key(verdict))
        group = found.get(key)
        if group is None:
            group = found[key] = FileGroup(state=state, files=[])
        group.files.append(verdict)
    states = list(State)
    return sorted(found.values(), key=lambda group: states.index(group.state))


def _get_group_key(verdict: FileVerdict) -> object:
    match verdict:
        case UndecidedFile(problem=problem):
            return problem
        case Withheld(reasons=reasons, rule=rule, nearest=nearest):
            return rule, nearest, _get_reasons_key(reasons), _get_evidence_key(verdict)
        case Approved(despite=reasons, rule=rule, notes=notes):
            return rule, notes, _get_reasons_key(reasons), _get_evidence_key(verdict)


def _get_reasons_key(reasons: Sequence[Reason]) -> tuple[object, ...]:
    return tuple((each.code, each.rule, each.words, each.until) for each in reasons)


def _get_evidence_key(verdict: Approved | Withheld) -> object:
    """Return what the evidence says about the signer, without what differs from file to file."""
    evidence = verdict.evidence
    if isinstance(evidence, Attested):
        return tuple((each.claims, each.is_provenance) for each in evidence.attestations), evidence.ignored
    return Unattested() if isinstance(evidence, Unattested) else evidence


def build_version_url(root: str, project: NormalizedName, version: str) -> str:
    """Return the URL of a version on the page of a project.

    Args:
        root: relative URL of the view's home page from the page with the link.
        project: normalized name of the project.
        version: the version in its normal form (PEP 440), or `NO_VERSION`.
    """
    return f"{root}project/{project}?version={quote(version, safe='')}#{get_version_anchor(version)}"


def build_file_url(root: str, project: NormalizedName, file: File) -> str:
    """Return the URL of a file on the page of a project. The arguments are those of `build_version_url`."""
    version = None if file.distribution is None else file.distribution.version
    return build_row_url(root, project, version, file.filename)


def build_row_url(root: str, project: NormalizedName, version: Version | None, filename: str) -> str:
    """Return the URL that `build_file_url` returns, for a file of which only the filename is known.

    Args:
        root: relative URL of the view's home page.
        project: project of the file.
        version: version of the file; None if the filename has no version.
        filename: filename.
    """
    selected = NO_VERSION if version is None else quote(str(version), safe="")
    return f"{root}project/{project}?version={selected}#{get_file_anchor(filename)}"


def get_version_anchor(version: str) -> str:
    """Return the id of a version's element."""
    return f"version-{version}"


def get_file_anchor(filename: str) -> str:
    """Return the id of a file's element: the filename, or a digest of it if a fragment cannot have the filename."""
    if _PLAIN_FILENAME.fullmatch(filename):
        return f"file-{filename}"
    return f"file-{hashlib.sha256(filename.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
