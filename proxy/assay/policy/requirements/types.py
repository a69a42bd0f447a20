"""Requirement `types`: only the named kinds of file may be served. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.language.values import NonEmpty
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms, join_or
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings
from assay.simple.model import Kind


class TypeKeys(Settings):
    """Model of the key `types`."""

    types: Annotated[tuple[Kind, ...], NonEmpty] | None = None
    """Kinds of file that may be served."""


@final
@dataclass(frozen=True, slots=True)
class _TypeCheck(FileCheck):
    label: str | None
    types: frozenset[Kind]
    wanted: str

    def check_file(self, facts: FileFacts, _context: PageContext, _now: datetime) -> Reason | None:
        distribution = facts.file.distribution
        if distribution is not None and distribution.kind in self.types:
            return None
        found = distribution.kind.value if distribution is not None else "unknown"
        return make_reason(ReasonCode.FILE_TYPE, self.label, _tell_type, (found, self.wanted))


def _tell_type(found: str, wanted: str) -> Words:
    message = f'the file type is {found}, but the rule requires {wanted}; ask for a waiver of "types"'
    return Words(message, wanted, found)


def _activate(stated: TypeKeys, terms: RuleTerms) -> _TypeCheck | None:
    return None if stated.types is None else _TypeCheck(terms.label, frozenset(stated.types), join_or(stated.types))


def _describe(stated: TypeKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.types:
        yield Phrase(f"has the file type {' or '.join(stated.types)}")


TYPES: Final = Requirement(
    keys=TypeKeys,
    lift="types",
    codes=frozenset({ReasonCode.FILE_TYPE}),
    active=_activate,
    describe=_describe,
)
