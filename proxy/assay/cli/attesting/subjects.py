"""Files that the arguments of ``assay attest`` name: files on disk, pinned files of lockfiles, and files of releases.

An index's page is needed only for a release, and for entries of a lockfile without a filename or a digest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from assay.attestation.renewal.report import describe_local_file
from assay.cli.dry_run import PageResults, judge_pages, open_dry_run
from assay.cli.findings import build_findings
from assay.cli.lockfile_report import load_lockfile
from assay.cli.policy_option import choose_policy
from assay.cli.releases import Release, find_release_verdicts, parse_release
from assay.errors import ConfigurationError
from assay.lockfiles import Lockfile, PinnedFile
from assay.simple.filename import has_distribution_ending, parse_filename, possible_projects
from assay.simple.model import File, NormalizedName, Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """File that a statement is about."""

    filename: str
    sha256: Sha256

    def to_file(self) -> File:
        """Return the file as a `File`, for its verification."""
        return File(filename=self.filename, url="", location="", route="", distribution=None, sha256=self.sha256)


@dataclass(slots=True, kw_only=True)
class Subjects:
    """Files to attest, and entries of lockfiles that cannot be attested."""

    files: list[Subject] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """A sentence for each entry that names no file, or a file whose name or digest is unknown."""


def find_subjects(options: argparse.Namespace) -> Subjects:
    """Return the files that the arguments name, each once, in their order.

    Raises:
        ConfigurationError: an argument is invalid, a file cannot be read, or a release is unknown.
        AssayError: an index is unavailable, or a component of the proxy cannot start.
    """
    arguments = [_read_argument(text) for text in options.files]
    needed = sorted({name for each in arguments for name in _list_needed_projects(each)})
    pages: PageResults = {}
    if needed:
        chosen = choose_policy(options)

        async def judge() -> PageResults:
            async with open_dry_run(chosen.configuration, chosen.policy) as assembly:
                return await judge_pages(assembly, needed)

        pages = asyncio.run(judge())
    found = Subjects()
    for each in arguments:
        _add_files(found, each, pages)
    found.files = list(dict.fromkeys(found.files))
    return found


def _read_argument(text: str) -> Subject | Lockfile | Release:
    """Return the file, lockfile or release that an argument names.

    Raises:
        ConfigurationError: the argument is none of these, or the file cannot be read.
    """
    path = Path(text)
    if not os.path.exists(text) and not has_distribution_ending(text):  # noqa: PTH110 - Path.exists raises for a name that is too long
        return parse_release(text, "a file, a lockfile")
    if not has_distribution_ending(path.name):
        return load_lockfile(path)[0]
    if all(parse_filename(path.name, each).distribution is None for each in possible_projects(path.name)):
        raise ConfigurationError(f"{path}: expected the filename of a distribution, as on the page of its index")
    try:
        described = describe_local_file(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if described.sha256 is None:
        raise ConfigurationError(f"{path}: has no digest")
    return Subject(filename=described.filename, sha256=described.sha256)


def _list_needed_projects(argument: Subject | Lockfile | Release) -> Iterable[NormalizedName]:
    match argument:
        case Release():
            return [argument.project]
        case Lockfile():
            return [each.project for each in argument.files if _read_pinned(each) is None]
        case _:
            return []


def _read_pinned(pinned: PinnedFile) -> Subject | None:
    """Return a pinned file; None if the lockfile does not have both its name and its digest."""
    if pinned.filename is None or pinned.sha256 is None:
        return None
    return Subject(filename=pinned.filename, sha256=pinned.sha256)


def _add_files(found: Subjects, argument: Subject | Lockfile | Release, pages: PageResults) -> None:
    match argument:
        case Release():
            verdicts = find_release_verdicts(argument, pages[argument.project])
            _add_listed(found, [each.file for each in verdicts])
        case Lockfile():
            complete = [subject for each in argument.files if (subject := _read_pinned(each)) is not None]
            found.files += complete
            found.problems += [f"not attested: {entry}" for entry in argument.unpinned]
            partial = tuple(each for each in argument.files if _read_pinned(each) is None)
            for finding in build_findings(replace(argument, files=partial), pages):
                if finding.verdict is None:
                    found.problems.append(f"not attested: {finding.pinned.label}: {finding.problem}")
                else:
                    _add_listed(found, [finding.verdict.file])
        case _:
            found.files.append(argument)


def _add_listed(found: Subjects, files: Sequence[File]) -> None:
    for file in files:
        if file.sha256 is None:
            found.problems.append(f"not attested: {file.filename}: its index gives no SHA-256")
        else:
            found.files.append(Subject(filename=file.filename, sha256=file.sha256))
