"""Advisories that pages and commands show for the listed versions of a project. They decide nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypedDict

from assay.advisories.model import Advisory
from assay.policy.language.model import AdvisoryMode, Policy
from assay.policy.language.times import format_instant
from assay.policy.reasons import escape_controls
from assay.simple.model import File, NormalizedName

MAX_SHOWN: Final = 100
"""Maximum number of advisories that are shown for one project. A few projects have several hundred."""

_MAX_NAMED_VERSIONS: Final = 3


class AdvisoryJson(TypedDict):
    """Advisory in the JSON of pages and commands."""

    id: str
    summary: str
    url: str
    malware: bool
    versions: list[str]
    """Listed versions that the record covers, in ascending order."""
    ignored: bool
    """True while `[[ignored-advisories]]` names the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAdvisory:
    """Advisory with the listed versions that it covers."""

    id: str
    summary: str
    """Summary by the feed. It may be empty and may contain any characters."""
    link: str
    is_malware: bool
    versions: tuple[str, ...]
    """Listed versions that the record covers, in ascending order; at least one."""
    ignored_until: datetime | None
    """End of the exception in `[[ignored-advisories]]`; None if the record counts."""

    @property
    def kind(self) -> str:
        """Kind of the record in words, with the end of an exception."""
        kind = "malware" if self.is_malware else "vulnerability"
        return kind if self.ignored_until is None else f"{kind}, ignored until {format_instant(self.ignored_until)}"

    @property
    def named_versions(self) -> str:
        """Versions as text. Of many versions, only the first and the last ones are named."""
        if len(self.versions) <= 2 * _MAX_NAMED_VERSIONS:
            return ", ".join(self.versions)
        first, last = self.versions[:_MAX_NAMED_VERSIONS], self.versions[-_MAX_NAMED_VERSIONS:]
        return f"{', '.join(first)}, … {', '.join(last)} ({len(self.versions)} versions)"

    def to_json(self) -> AdvisoryJson:
        """Return the advisory as a JSON object. Control characters in the summary are escaped."""
        return {
            "id": self.id,
            "summary": escape_controls(self.summary),
            "url": self.link,
            "malware": self.is_malware,
            "versions": list(self.versions),
            "ignored": self.ignored_until is not None,
        }


def select_counting(policy: Policy, advisories: Iterable[Advisory], now: datetime) -> tuple[Advisory, ...]:
    """Return the advisories that a policy shows and does not ignore at the time `now`."""
    return tuple(
        each for each in advisories if _is_shown(policy, each) and policy.find_ignored_advisory(each.id, now) is None
    )


def _is_shown(policy: Policy, advisory: Advisory) -> bool:
    return advisory.is_malware or policy.advisories is AdvisoryMode.NOTE


def select_shown(
    policy: Policy, project: NormalizedName, files: Iterable[File], advisories: Iterable[Advisory], now: datetime
) -> tuple[ShownAdvisory, ...]:
    """Return the advisories that a policy shows for the files of a page: malware first, then the newest first.

    Args:
        policy: the policy of the view.
        project: the project of the page.
        files: all files of the page.
        advisories: advisories about the project.
        now: the current time, UTC.
    """
    shown = [each for each in advisories if _is_shown(policy, each)]
    if not shown:
        return ()
    listed = sorted({file.distribution.version for file in files if file.distribution is not None})
    versions = [(version, str(version)) for version in listed]
    found: list[ShownAdvisory] = []
    for each in sorted(shown, key=lambda each: (each.is_malware, each.modified, each.id), reverse=True):
        covered = tuple(text for version, text in versions if each.covers(project, version))
        if covered:
            exception = policy.find_ignored_advisory(each.id, now)
            found.append(
                ShownAdvisory(
                    id=each.id,
                    summary=each.summary,
                    link=each.link,
                    is_malware=each.is_malware,
                    versions=covered,
                    ignored_until=None if exception is None else exception.expires,
                )
            )
        if len(found) == MAX_SHOWN:
            break
    return tuple(found)
