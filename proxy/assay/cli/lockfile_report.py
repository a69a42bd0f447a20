"""What ``audit``, ``pin`` and ``policy diff`` have in common: a lockfile read, judged, and what its files prove."""

from __future__ import annotations

import asyncio
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
from assay.lockfiles import Lockfile, read_lockfile
from assay.operator_files import read_text
from assay.policy.language.model import Policy
from assay.policy.language.proposal import ProvenProject
from assay.policy.verdict import Approved, ReasonCode
from assay.simple.model import NormalizedName

_MAX_LOCKFILE_BYTES = 64 * 2**20
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
    """A lockfile, and what the policy says of its files."""

    lockfile: Lockfile
    text: str
    policy: Policy
    findings: list[LockfileFinding]


def judge_chosen_lockfile(options: Namespace) -> JudgedLockfile:
    """Judge the lockfile that the options of a command name, by the policy that they choose.

    Raises:
        ConfigurationError: configuration, policy or lockfile cannot be used.
        AssayError: the proxy's parts cannot be had.
    """
    lockfile, text = load_lockfile(options.lockfile)
    by = choose_policy(options)
    findings = asyncio.run(judge_lockfile(by.configuration, by.policy, lockfile))
    return JudgedLockfile(lockfile=lockfile, text=text, policy=by.policy, findings=findings)


def load_lockfile(path: Path) -> tuple[Lockfile, str]:
    """A lockfile and its text.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    text = read_text(path, max_bytes=_MAX_LOCKFILE_BYTES)
    return read_lockfile(text, str(path)), text


async def judge_lockfile(configuration: Configuration, policy: Policy, lockfile: Lockfile) -> list[LockfileFinding]:
    """What the proxy would say of each pinned file.

    Raises:
        AssayError: the proxy's parts cannot be had.
    """
    async with open_dry_run(configuration, policy) as assembly:
        pages = await judge_pages(assembly, (pinned.project for pinned in lockfile.files))
    return build_findings(lockfile, pages)


def get_exit_status(findings: Iterable[LockfileFinding]) -> int:
    """Exit status: what is withheld weighs more than what cannot be decided now."""
    kinds = {each.status for each in findings}
    if kinds - {found.STATUS_APPROVED, found.STATUS_UNDECIDED}:
        return EXIT_WITHHELD
    return EXIT_UNDECIDED if found.STATUS_UNDECIDED in kinds else EXIT_OK


def list_excepted_codes(finding: LockfileFinding) -> list[str]:
    """Which doubts about its origin were only lifted, or warned of: no rule for good may come of these."""
    if not isinstance(finding.verdict, Approved):
        return []
    lifted = [each.code.value for each in finding.verdict.despite if each.code in _ORIGIN_CODES]
    changed = ReasonCode.PUBLISHER_CHANGED.value
    warned = [changed for note in finding.verdict.notes if note.startswith(f"{changed}:")]  # ratchet = "warn"
    return lifted + warned


def collect_proven(findings: Iterable[LockfileFinding]) -> list[ProvenProject]:
    """What the approved files prove, project by project, in the order of their names."""
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
