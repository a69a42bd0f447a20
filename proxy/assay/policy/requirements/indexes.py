"""`indexes`: a requirement, never a selector. Pure."""

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


class IndexKeys(Settings):
    """The key `indexes`."""

    indexes: Annotated[tuple[PrintableText, ...], NonEmpty] | None = None
    """Indexes that the file may come from: a requirement, it selects nothing."""


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
    message = f'it comes from the index {index}, the rule asks for {wanted}; ask for a waiver of "indexes"'
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
