"""Releases that a command names as ``NAME==VERSION``, and the verdicts on their files."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from assay.cli.tables import escape_unprintable
from assay.errors import AssayError, ConfigurationError, ProjectNotFoundError
from assay.gate.judged_page import JudgedPage
from assay.policy.verdict import Approved, Withheld


@dataclass(frozen=True, slots=True)
class Release:
    """All files of one version, given as ``NAME==VERSION``."""

    project: NormalizedName
    version: Version

    def __str__(self) -> str:
        """Return the project and the version, for messages."""
        return f"{self.project} {self.version}"


def parse_release(text: str, alternative: str) -> Release:
    """Return the release that ``NAME==VERSION`` names.

    Args:
        text: the argument of a command.
        alternative: other arguments that the command accepts, for the message, such as ``a filename``.

    Raises:
        ConfigurationError: the text names no release.
    """
    name, _, version = text.partition("==")
    try:
        return Release(canonicalize_name(name.strip(), validate=True), Version(version))
    except ValueError as error:  # InvalidName, InvalidVersion, or a number of more digits than Python converts
        expected = f"{alternative}, or NAME==VERSION such as numpy==1.26.4"
        raise ConfigurationError(f"expected {expected}, found {escape_unprintable(text)!r}") from error


def find_release_verdicts(release: Release, page: JudgedPage | AssayError) -> list[Approved | Withheld]:
    """Return the verdicts on all files of a release; at least one.

    Args:
        release: the release.
        page: the judged page of its project, or the error that prevented the judgement.

    Raises:
        ConfigurationError: the project or the version is unknown.
        AssayError: the page of the project is unavailable.
    """
    if isinstance(page, ProjectNotFoundError):
        raise ConfigurationError(f"no index of this proxy has the project {release.project}")
    if isinstance(page, AssayError):
        raise page
    verdicts = [
        each
        for each in page.verdicts
        if each.file.distribution is not None and each.file.distribution.version == release.version
    ]
    if not verdicts:
        raise ConfigurationError(f"{page.page.index.name} lists no file of {release}")
    return verdicts
