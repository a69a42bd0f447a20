"""Tombstones: entries on a page for files that are withheld, so that installers print the reason. Pure.

A resolver that does not see a withheld version may silently choose an older release of the project, or of a project
that depends on it. The key `withheld` of a policy says which withheld versions a page lists, and how (`Showing`). A
tombstone is never served: a request for it gets 403 with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from packaging.version import Version

from assay.policy.language.model import Showing
from assay.policy.nearest_version import collect_recommended_versions, collect_versions
from assay.policy.reasons import summarize_withheld
from assay.policy.verdict import MISLISTED_CODES, Approved, Undecided, Verdict, Withheld
from assay.simple.model import File

TOMBSTONE_QUERY: Final = "withheld"
"""Query of the URL of a tombstone. The rest of the URL is that of the file."""


class Presentation(Enum):
    """Form in which a page lists the withheld files of a version."""

    OMITTED = "omitted"
    """The page does not list them."""
    YANKED = "yanked"
    """The page lists them as yanked, with the reason. Installers choose another version, and print the reason if the
    version is pinned."""
    AVAILABLE = "available"
    """The page lists them as the index does. An installer that chooses the version is stopped with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """Entry for a withheld file. It has a separate URL, and is never served."""

    file: File
    yanked: str | None
    """Yank text: the reason for which the file is withheld, or the index's own text. None if not yanked."""


def present_versions(showing: Showing, verdicts: Sequence[Verdict]) -> dict[Version, Presentation]:
    """Return how a page lists the withheld files of each version that has some.

    If a version has an approved or undecided file, its withheld files are left out, because uv would write them to its
    lock file.

    With ``stop``, a version is yanked if an approved version is lower, so that installers choose the nearest approved
    one. Otherwise it stays available: a requirement that only withheld versions satisfy is then stopped with the
    reason, instead of sending the resolver to an older release of the parent. Only a final release counts as approved
    here, with a wheel or an sdist that is approved and not yanked by the index.

    Args:
        showing: value of the key `withheld`.
        verdicts: the verdicts on all files of the page.
    """
    served = collect_versions(verdicts, Approved, Undecided)
    recommended = collect_recommended_versions(verdicts)
    lowest = min((each for each in recommended if not each.is_prerelease), default=None)

    def present(version: Version) -> Presentation:
        if showing is Showing.HIDE or version in served:
            return Presentation.OMITTED
        if showing is Showing.EXPLAIN or (lowest is not None and lowest < version):
            return Presentation.YANKED
        return Presentation.AVAILABLE

    return {version: present(version) for version in collect_versions(verdicts, Withheld)}


def make_tombstones(showing: Showing, verdicts: Sequence[Verdict]) -> tuple[Tombstone, ...]:
    """Return the entries for withheld files, in the order of the verdicts.

    An entry with a faulty filename, URL, digest or host, or that is listed twice, has no tombstone, because it may
    describe a file other than its filename says (`MISLISTED_CODES`).
    """
    if showing is Showing.HIDE or not any(isinstance(verdict, Withheld) for verdict in verdicts):
        return ()
    presentations = present_versions(showing, verdicts)
    return tuple(
        Tombstone(file=verdict.file, yanked=_choose_yank(verdict, presentation))
        for verdict in verdicts
        if isinstance(verdict, Withheld)
        and (distribution := verdict.file.distribution) is not None
        and (presentation := presentations.get(distribution.version, Presentation.OMITTED)) is not Presentation.OMITTED
        and not any(reason.code in MISLISTED_CODES for reason in verdict.reasons)
    )


def _choose_yank(withheld: Withheld, presentation: Presentation) -> str | None:
    return withheld.file.yanked if presentation is Presentation.AVAILABLE else summarize_withheld(withheld)
