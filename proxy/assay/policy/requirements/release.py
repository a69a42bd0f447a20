"""Requirement `release`: a source archive can depend on the wheels of its version. Pure.

With ``whole``, a source archive is withheld if a wheel of the same version is withheld. Otherwise installers would
build the source archive instead of using the wheel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, final

from packaging.version import Version

from assay.policy.candidate import FileFacts
from assay.policy.requirements.base import Phrase, ReleaseCheck, Requirement, RuleTerms
from assay.policy.verdict import Approved, ReasonCode, Undecided, Verdict, Withheld, Words, make_reason
from assay.settings import Settings
from assay.simple.model import File, Kind

_MAX_INSTANT = datetime.max.replace(tzinfo=UTC)


class ReleaseKeys(Settings):
    """Model of the key `release`."""

    release: Literal["files", "whole"] | None = None
    """``whole``: the source archive of a version is withheld if a wheel of that version is withheld. ``files`` (the
    default): each file is judged by itself."""


@final
@dataclass(frozen=True, slots=True)
class _WholeReleaseCheck(ReleaseCheck):
    label: str | None

    def find_dependents(self, files: Sequence[File]) -> frozenset[int]:
        wheels = {version for file in files if (version := _get_version(file, Kind.WHEEL)) is not None}
        return frozenset(
            place
            for place, file in enumerate(files)
            if (version := _get_version(file, Kind.SDIST)) is not None and version in wheels
        )

    def withhold(
        self,
        verdicts: list[Verdict],
        all_facts: Sequence[FileFacts],
        is_exempt: Callable[[FileFacts, ReasonCode], bool],
    ) -> None:
        wheels: dict[Version, list[Verdict]] = {}
        for verdict in verdicts:
            if (version := _get_version(verdict.file, Kind.WHEEL)) is not None:
                wheels.setdefault(version, []).append(verdict)
        for place, verdict in enumerate(verdicts):
            version = _get_version(verdict.file, Kind.SDIST)
            if not isinstance(verdict, Approved) or version is None:
                continue
            if is_exempt(all_facts[place], ReasonCode.FILE_TYPE):
                continue
            siblings = wheels.get(version, ())
            if withheld := [each for each in siblings if isinstance(each, Withheld)]:
                verdicts[place] = self._withhold_sdist(verdict, withheld)
            elif any(isinstance(each, Undecided) for each in siblings):
                verdicts[place] = Undecided(file=verdict.file)

    def _withhold_sdist(self, verdict: Approved, withheld_wheels: list[Withheld]) -> Withheld:
        first = withheld_wheels[0]
        facts = (first.file.filename, first.reasons[0].code, len(withheld_wheels))
        ends = [max(reason.until or _MAX_INSTANT for reason in each.reasons) for each in withheld_wheels]
        until = None if _MAX_INSTANT in ends else max(ends)
        reason = make_reason(ReasonCode.FILE_TYPE, self.label, _tell_incomplete, facts, until)
        return Withheld(
            file=verdict.file,
            reasons=(reason,),
            enforced=False,
            rule=verdict.rule,
            evidence=verdict.evidence,
            changes_at=_earliest((verdict.changes_at, *(each.changes_at for each in withheld_wheels))),
        )


def _get_version(file: File, kind: Kind) -> Version | None:
    """Return the version of the file, or None if the file is not of this kind."""
    distribution = file.distribution
    return distribution.version if distribution is not None and distribution.kind is kind else None


def _earliest(instants: Iterable[datetime | None]) -> datetime | None:
    return min((each for each in instants if each is not None), default=None)


def _tell_incomplete(filename: str, code: ReasonCode, count: int) -> Words:
    message = (
        f"the wheel {filename} of the same release is withheld ({code}), and installers would build "
        'this source archive instead; ask for a waiver of "release"'
    )
    return Words(message, "a release whose wheels are all approved", f"{count} withheld")


def _activate(stated: ReleaseKeys, terms: RuleTerms) -> _WholeReleaseCheck | None:
    return _WholeReleaseCheck(terms.label) if stated.release == "whole" else None


def _describe(stated: ReleaseKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.release == "whole":
        yield Phrase("is not a source archive whose version has a withheld wheel")


RELEASE: Final = Requirement(
    keys=ReleaseKeys,
    lift="release",
    # The same code as `types`, so a waiver with either word lifts both.
    codes=frozenset({ReasonCode.FILE_TYPE}),
    active=_activate,
    describe=_describe,
)
