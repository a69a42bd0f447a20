"""What ``audit``, ``pin`` and ``policy diff`` have in common: a lockfile read, judged, and what its files prove."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from assay.cli import GOOD, UNDECIDED, WITHHELD
from assay.cli import findings as found
from assay.cli.dry_run import aside, judged_pages
from assay.cli.findings import Finding, findings_of
from assay.config import Configuration
from assay.lockfiles import Lockfile, read_lockfile
from assay.operator_files import read_text
from assay.policy.language.model import Policy
from assay.policy.language.proposal import Proven
from assay.policy.verdict import Approved, Code
from assay.simple.model import NormalizedName

_LARGEST = 64 * 2**20
_DOUBTS = frozenset(
    {Code.FORGED, Code.PROVENANCE_MISSING, Code.INDEX, Code.TRUST, Code.UNVERIFIABLE, Code.UNATTESTED, Code.PUBLISHER}
    | {Code.PREDICATE, Code.BUILDER, Code.PROVENANCE_LOST, Code.PUBLISHER_CHANGED, Code.METADATA_MISMATCH}
)


def read(path: Path) -> tuple[Lockfile, str]:
    """A lockfile and its text.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    text = read_text(path, largest=_LARGEST)
    return read_lockfile(text, str(path)), text


async def judged(configuration: Configuration, policy: Policy, lockfile: Lockfile) -> list[Finding]:
    """What the proxy would say of each pinned file.

    Raises:
        AssayError: the proxy's parts cannot be had.
    """
    async with aside(configuration, policy) as assembly:
        pages = await judged_pages(assembly, (pinned.project for pinned in lockfile.files))
    return findings_of(lockfile, pages)


def status(findings: Iterable[Finding]) -> int:
    """Exit status: what is withheld weighs more than what cannot be decided now."""
    kinds = {each.status for each in findings}
    if kinds - {found.APPROVED, found.UNKNOWN}:
        return WITHHELD
    return UNDECIDED if found.UNKNOWN in kinds else GOOD


def excepted(finding: Finding) -> list[str]:
    """Which doubts about its origin were only lifted, or warned of: no rule for good may come of these."""
    if not isinstance(finding.verdict, Approved):
        return []
    lifted = [each.code.value for each in finding.verdict.despite if each.code in _DOUBTS]
    changed = Code.PUBLISHER_CHANGED.value
    warned = [changed for note in finding.verdict.notes if note.startswith(f"{changed}:")]  # ratchet = "warn"
    return lifted + warned


def proven(findings: Iterable[Finding]) -> list[Proven]:
    """What the approved files prove, project by project, in the order of their names."""
    projects: dict[NormalizedName, Proven] = {}
    for each in findings:
        if each.status != found.APPROVED or each.verdict is None or each.verdict.file.sha256 is None or excepted(each):
            continue
        file = each.verdict.file
        project = projects.setdefault(each.pinned.project, Proven(project=each.pinned.project))
        if file.distribution is not None:
            project.versions.add(str(file.distribution.version))
        if not project.add(each.attestations):
            project.unproven[each.verdict.file.sha256] = file.filename
    return [projects[name] for name in sorted(projects)]
