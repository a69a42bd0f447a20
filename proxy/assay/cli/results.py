"""Results of commands about files: one row for each release with counts, or one for each file; problems first.

Releases of a project are in descending order of their versions (PEP 440).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

from packaging.version import Version

from assay.cli.findings import STATUS_APPROVED, STATUS_UNDECIDED, LockfileFinding
from assay.cli.tables import Cell, Mark, Marked
from assay.cli.verdicts import explain_verdict, summarize_evidence
from assay.policy.verdict import Approved, Withheld

FILE_HEADER: Final = ("FILE", "VERDICT", "RULE", "EVIDENCE", "BECAUSE")
RELEASE_HEADER: Final = ("PROJECT", "VERSION", "FILES", "RULE", "EVIDENCE", "BECAUSE")
_MAX_NAMES: Final = 3
"""Maximum number of different rules or signers in one cell."""
_NO_TEXT: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """Result for one file, in the words of the tables."""

    project: str
    version: Version | None
    filename: str
    status: str
    """Status of a finding: ``approved``, ``withheld``, ``undecided`` …"""
    codes: tuple[str, ...]
    """Codes of the reasons, if the file is not approved."""
    rule: str
    evidence: str
    because: str
    """Reasons or notes as one line; ``-`` if there are none."""

    @property
    def rank(self) -> int:
        """Place in the order of tables: 0 for a problem, 1 for an undecided file, 2 for an approved one."""
        return 2 if self.status == STATUS_APPROVED else int(self.status == STATUS_UNDECIDED)


def describe_finding(finding: LockfileFinding) -> FileResult:
    """Return the result for a pinned file of a lockfile."""
    verdict = finding.verdict
    return FileResult(
        project=finding.pinned.project,
        version=_find_version(verdict) if finding.pinned.version is None else finding.pinned.version,
        filename=finding.pinned.label if verdict is None else verdict.file.filename,
        status=finding.status,
        codes=tuple(finding.codes),
        rule=(verdict.rule if verdict else None) or _NO_TEXT,
        evidence=summarize_evidence(verdict.evidence) if verdict else _NO_TEXT,
        because=finding.problem or (explain_verdict(verdict) if verdict else _NO_TEXT),
    )


def describe_verdict(project: str, verdict: Approved | Withheld) -> FileResult:
    """Return the result for a file on the page of a project."""
    return FileResult(
        project=project,
        version=_find_version(verdict),
        filename=verdict.file.filename,
        status=STATUS_APPROVED if isinstance(verdict, Approved) else "withheld",
        codes=tuple(reason.code.value for reason in verdict.reasons) if isinstance(verdict, Withheld) else (),
        rule=verdict.rule or _NO_TEXT,
        evidence=summarize_evidence(verdict.evidence),
        because=explain_verdict(verdict),
    )


def _find_version(verdict: Approved | Withheld | None) -> Version | None:
    return None if verdict is None or verdict.file.distribution is None else verdict.file.distribution.version


def sort_results(results: Iterable[FileResult]) -> list[FileResult]:
    """Return the files of releases with problems first, then by project, newest version first, and by filename."""
    everything = sorted(results, key=lambda each: each.filename)
    everything.sort(key=lambda each: (each.version is not None, each.version or Version("0")), reverse=True)
    everything.sort(key=lambda each: each.project)
    ranks: dict[_Release, int] = {}
    for each in everything:
        ranks[_get_release(each)] = min(each.rank, ranks.get(_get_release(each), each.rank))
    everything.sort(key=lambda each: ranks[_get_release(each)])
    return everything


def make_file_rows(results: Iterable[FileResult]) -> list[tuple[Cell, ...]]:
    """Return a row for each file, for a table with `FILE_HEADER`."""
    return [
        (each.filename, Marked(each.status, _get_mark(each.rank)), each.rule, each.evidence, each.because)
        for each in sort_results(results)
    ]


def make_release_rows(results: Iterable[FileResult]) -> list[tuple[Cell, ...]]:
    """Return a row for each release, for a table with `RELEASE_HEADER`."""
    return [_make_release_row(list(files)) for _, files in groupby(sort_results(results), key=_get_release)]


_Release: TypeAlias = tuple[str, Version | None]


def _get_release(result: FileResult) -> _Release:
    return result.project, result.version


def _make_release_row(files: Sequence[FileResult]) -> tuple[Cell, ...]:
    counts = Counter((each.rank, each.status) for each in files)
    return (
        files[0].project,
        _NO_TEXT if files[0].version is None else str(files[0].version),
        Marked(
            ", ".join(f"{count} {status}" for (_, status), count in sorted(counts.items())),
            _get_mark(min(each.rank for each in files)),
        ),
        _join_different(each.rule for each in files),
        _join_different(each.evidence for each in files),
        _join_reasons(files),
    )


def _get_mark(rank: int) -> Mark:
    return (Mark.BAD, Mark.UNSURE, Mark.GOOD)[rank]


def _join_different(texts: Iterable[str]) -> str:
    different = [*dict.fromkeys(texts)]
    more = f" and {len(different) - _MAX_NAMES} more" if len(different) > _MAX_NAMES else ""
    return ", ".join(different[:_MAX_NAMES]) + more


def _join_reasons(files: Sequence[FileResult]) -> str:
    """Return the reasons of a release, each once. Reasons with equal codes differ only in details, such as an age."""
    groups: dict[tuple[object, ...], list[FileResult]] = {}
    for each in files:
        if each.because != _NO_TEXT:
            groups.setdefault((each.rank, each.codes or each.because), []).append(each)
    parts = []
    for group in groups.values():
        is_shared = len({each.because for each in group}) == 1
        if is_shared and len(group) == len(files):
            parts.append(group[0].because)
        elif is_shared:
            parts.append(f"{_count(len(group))}: {group[0].because}")
        else:
            parts.append(f"{_count(len(group))}, such as {group[0].filename}: {group[0].because}")
    return " ".join(parts) or _NO_TEXT


def _count(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
