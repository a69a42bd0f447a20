"""Requirement `indexes`: a file must come from one of the named indexes. It does not choose an index. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, final

from assay.policy.candidate import PageContext
from assay.policy.language.values import IndexName, NonEmpty
from assay.policy.requirements.base import PageCheck, Phrase, Requirement, RuleTerms, join_or
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class IndexKeys(Settings):
    """Model of the key `indexes`."""

    indexes: Annotated[tuple[IndexName, ...], NonEmpty] | None = None
    """Names of the indexes from which the file may come. The key does not choose the index for a project."""


@final
@dataclass(frozen=True, slots=True)
class _IndexCheck(PageCheck):
    label: str | None
    indexes: frozenset[str]

    def check_page(self, context: PageContext) -> Reason | None:
        index = context.index.name
        if index in self.indexes:
            return None
        return make_reason(ReasonCode.INDEX, self.label, _tell_index, (index, join_or(self.indexes)))


def _tell_index(index: str, wanted: str) -> Words:
    message = f'the file comes from the index {index}, but the rule requires {wanted}; ask for a waiver of "indexes"'
    return Words(message, wanted, index)


def _activate(stated: IndexKeys, terms: RuleTerms) -> _IndexCheck | None:
    return None if stated.indexes is None else _IndexCheck(terms.label, frozenset(stated.indexes))


def _describe(stated: IndexKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.indexes:
        yield Phrase(f"comes from {' or '.join(stated.indexes)}")


INDEXES: Final = Requirement(
    keys=IndexKeys,
    lift="indexes",
    codes=frozenset({ReasonCode.INDEX}),
    active=_activate,
    describe=_describe,
)
