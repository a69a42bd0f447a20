"""Shared steps of commands for lockfiles: read a lockfile, judge its files, and collect their proven publishers."""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD
from assay.cli import findings as found
from assay.cli.dry_run import judge_pages, open_dry_run
from assay.cli.findings import LockfileFinding, build_findings
from assay.cli.policy_option import choose_policy
from assay.config import Configuration
from assay.errors import ConfigurationError
from assay.lockfiles import IncludedFile, Lockfile, read_lockfile
from assay.operator_files import read_text
from assay.policy.language.model import Policy
from assay.policy.language.proposal import ProvenProject
from assay.policy.verdict import Approved, ReasonCode
from assay.simple.model import NormalizedName

MAX_LOCKFILE_BYTES = 64 * 2**20
"""Maximum size of a lockfile, in bytes."""
# Reasons that cast doubt on the origin of a file.
_ORIGIN_CODES = frozenset(
    {
        ReasonCode.FORGED,
        ReasonCode.PROVENANCE_MISSING,
        ReasonCode.INDEX,
        ReasonCode.TRUST,
        ReasonCode.UNVERIFIABLE,
        ReasonCode.UNATTESTED,
        ReasonCode.PUBLISHER,
    }
    | {
        ReasonCode.PREDICATE,
        ReasonCode.BUILDER,
        ReasonCode.PROVENANCE_LOST,
        ReasonCode.PUBLISHER_CHANGED,
        ReasonCode.METADATA_MISMATCH,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLockfile:
    """Lockfile with its text, the policy that judged it, and a finding for each pinned file."""

    lockfile: Lockfile
    text: str
    policy: Policy
    findings: list[LockfileFinding]
    allows_unchecked: bool = False
    """True if entries that are not checked do not change the exit status (``--allow-unchecked``)."""

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Descriptions of the entries that no verdict covers."""
        return self.lockfile.unpinned

    @property
    def is_undecided(self) -> bool:
        """True if at least one file has no verdict at the moment, for example because an index is unavailable."""
        return any(each.status == found.STATUS_UNDECIDED for each in self.findings)

    @property
    def exit_status(self) -> int:
        """Exit status of a command: that of the findings, or 3 if an entry is not checked and this is not allowed."""
        if self.unchecked and not self.allows_unchecked:
            return get_exit_status(self.findings) or EXIT_UNDECIDED
        return get_exit_status(self.findings)


def judge_chosen_lockfile(options: Namespace) -> JudgedLockfile:
    """Judge the lockfile that the options of a command name, by the policy that the options choose.

    Raises:
        ConfigurationError: the configuration, the policy or the lockfile is invalid.
        AssayError: a component of the proxy cannot start.
    """
    lockfile, text = load_lockfile(options.lockfile)
    by = choose_policy(options)
    findings = asyncio.run(judge_lockfile(by.configuration, by.policy, lockfile))
    return JudgedLockfile(
        lockfile=lockfile, text=text, policy=by.policy, findings=findings, allows_unchecked=options.allow_unchecked
    )


def load_lockfile(path: Path) -> tuple[Lockfile, str]:
    """Return the parsed lockfile at `path` and its text, which has at most 64 MiB.

    The files that a requirements file includes are read too.

    Raises:
        ConfigurationError: the file or an included file cannot be read, is too large, or is not a valid lockfile.
    """
    text = read_text(path, max_bytes=MAX_LOCKFILE_BYTES)
    return read_lockfile(text, os.path.normpath(path), _read_included), text


def _read_included(named: str, including: str, where: str) -> IncludedFile:
    """Read a requirements file that another one includes. A relative path is relative to the including file.

    Raises:
        ConfigurationError: the path is not that of a regular file, or the file cannot be read or is too large.
    """
    path = os.path.normpath(os.path.join(os.path.dirname(including), named))  # noqa: PTH118, PTH120 - Path has no normpath
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        raise ConfigurationError(f"{where}: the included file {path} does not exist or is not a regular file")
    return IncludedFile(source=path, text=read_text(Path(path), max_bytes=MAX_LOCKFILE_BYTES))


async def judge_lockfile(configuration: Configuration, policy: Policy, lockfile: Lockfile) -> list[LockfileFinding]:
    """Return a finding for each pinned file, with the verdict that the proxy would reach by `policy`.

    Raises:
        AssayError: a component of the proxy cannot start.
    """
    async with open_dry_run(configuration, policy) as assembly:
        pages = await judge_pages(assembly, (pinned.project for pinned in lockfile.files))
    return build_findings(lockfile, pages)


def get_exit_status(findings: Iterable[LockfileFinding]) -> int:
    """Return the exit status for all findings of a lockfile.

    The status is 0 if all files are approved. It is 3 if at least one file is undecided and all others are approved.
    Otherwise it is 1.
    """
    kinds = {each.status for each in findings}
    if kinds - {found.STATUS_APPROVED, found.STATUS_UNDECIDED}:
        return EXIT_WITHHELD
    return EXIT_UNDECIDED if found.STATUS_UNDECIDED in kinds else EXIT_OK


def list_excepted_codes(finding: LockfileFinding) -> list[str]:
    """Return the codes of the reasons that cast doubt on the origin of an approved file.

    Such a reason does not withhold the file, because an exception lifted it or ``ratchet = "warn"`` turned it into a
    note. No permanent rule may be derived from a file with such codes. The list is empty for a file that is not
    approved.
    """
    if not isinstance(finding.verdict, Approved):
        return []
    lifted = [each.code.value for each in finding.verdict.despite if each.code in _ORIGIN_CODES]
    changed = ReasonCode.PUBLISHER_CHANGED.value
    warned = [changed for note in finding.verdict.notes if note.startswith(f"{changed}:")]
    return lifted + warned


def collect_proven(findings: Iterable[LockfileFinding]) -> list[ProvenProject]:
    """Return the projects of the approved files with their proven publishers, sorted by name.

    Files without a SHA-256 are left out. Files with a reason to doubt their origin (`list_excepted_codes`) are left out
    too.
    """
    projects: dict[NormalizedName, ProvenProject] = {}
    for each in findings:
        if (
            each.status != found.STATUS_APPROVED
            or each.verdict is None
            or each.verdict.file.sha256 is None
            or list_excepted_codes(each)
        ):
            continue
        file = each.verdict.file
        project = projects.setdefault(each.pinned.project, ProvenProject(project=each.pinned.project))
        if file.distribution is not None:
            project.versions.add(str(file.distribution.version))
        if not project.add(each.attestations):
            project.unproven[each.verdict.file.sha256] = file.filename
    return [projects[name] for name in sorted(projects)]
