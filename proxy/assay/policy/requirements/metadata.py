"""`metadata`: where a wheel's metadata comes from. Pure.

A wheel whose own METADATA contradicts the index's is withheld with either value of the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class MetadataKeys(Settings):
    """The key `metadata`."""

    metadata: Literal["index", "wheel"] | None = None
    """``wheel`` serves metadata from verified wheels alone; ``index`` (the default) believes the index until then."""


@final
@dataclass(frozen=True, slots=True)
class _MetadataCheck(FileCheck):
    label: str | None

    def check_file(self, facts: FileFacts, context: PageContext, _now: datetime) -> Reason | None:
        if facts.file.sha256 not in context.mismatched_wheels:
            return None
        return make_reason(ReasonCode.METADATA_MISMATCH, self.label, _tell_mismatch, ())


def _tell_mismatch() -> Words:
    message = 'its own METADATA is not what the index says it is; ask for a waiver of "metadata"'
    return Words(message, "the wheel's own METADATA", "other metadata")


def _activate(_: MetadataKeys, terms: RuleTerms) -> _MetadataCheck:
    return _MetadataCheck(terms.label)


def _describe(stated: MetadataKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.metadata == "wheel":
        yield Phrase("has its metadata served from the verified wheel alone")


METADATA: Final = Requirement(
    keys=MetadataKeys,
    lift="metadata",
    codes=frozenset({ReasonCode.METADATA_MISMATCH}),
    active=_activate,
    describe=_describe,
)
