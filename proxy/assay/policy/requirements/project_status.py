"""Requirement `project-status`: the project must have one of the named statuses (PEP 792). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, final

from assay.policy.candidate import PageContext
from assay.policy.language.values import NonEmpty
from assay.policy.requirements.base import PageCheck, Phrase, Requirement, RuleTerms, join_or
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.base import PrintableText
from assay.settings import Settings

DEFAULT_PROJECT_STATUS: Final = "active"
"""Status of a project whose page states no status (PEP 792)."""


class ProjectStatusKeys(Settings):
    """Model of the key `project-status`."""

    project_status: Annotated[tuple[PrintableText, ...], NonEmpty] | None = None
    """Permitted statuses of the project (PEP 792). Default: every status."""


@final
@dataclass(frozen=True, slots=True)
class _ProjectStatusCheck(PageCheck):
    label: str | None
    statuses: frozenset[str]

    def check_page(self, context: PageContext) -> Reason | None:
        status, why = DEFAULT_PROJECT_STATUS, None
        if context.status is not None:
            status, why = context.status.status, context.status.reason
        if status in self.statuses:
            return None
        return make_reason(ReasonCode.PROJECT_STATUS, self.label, _tell_status, (status, why, join_or(self.statuses)))


def _tell_status(status: str, why: str | None, wanted: str) -> Words:
    because = f" ({why})" if why else ""
    message = f'the project is {status}{because}, but the rule requires {wanted}; ask for a waiver of "project-status"'
    return Words(message, wanted, status)


def _activate(stated: ProjectStatusKeys, terms: RuleTerms) -> _ProjectStatusCheck | None:
    status = stated.project_status
    return None if status is None else _ProjectStatusCheck(terms.label, frozenset(status))


def _describe(stated: ProjectStatusKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.project_status:
        yield Phrase(f"belongs to a project whose status is {' or '.join(stated.project_status)}")


PROJECT_STATUS: Final = Requirement(
    keys=ProjectStatusKeys,
    lift="project-status",
    codes=frozenset({ReasonCode.PROJECT_STATUS}),
    active=_activate,
    describe=_describe,
)
