"""Requirement `yanked`: the policy can withhold yanked files. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class YankedKeys(Settings):
    """Model of the key `yanked`."""

    yanked: Literal["allow", "deny"] | None = None
    """``deny``: yanked files are withheld. ``allow`` (the default): yanked files are listed as yanked, and the
    installer decides if it uses them."""


@final
@dataclass(frozen=True, slots=True)
class _YankedCheck(FileCheck):
    label: str | None

    def check_file(self, facts: FileFacts, _context: PageContext, _now: datetime) -> Reason | None:
        yanked = facts.file.yanked
        return None if yanked is None else make_reason(ReasonCode.YANKED, self.label, _tell_yanked, (yanked,))


def _tell_yanked(text: str) -> Words:
    why = f": {text}" if text else ""
    message = f'the file was yanked{why}; use another version, or ask for a waiver of "yanked"'
    return Words(message, "a file that is not yanked", text or "yanked")


def _activate(stated: YankedKeys, terms: RuleTerms) -> _YankedCheck | None:
    return _YankedCheck(terms.label) if stated.yanked == "deny" else None


def _describe(stated: YankedKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.yanked == "deny":
        yield Phrase("is not yanked")


YANKED: Final = Requirement(
    keys=YankedKeys,
    lift="yanked",
    codes=frozenset({ReasonCode.YANKED}),
    active=_activate,
    describe=_describe,
)
