"""Requirement `metadata`: the source of the METADATA that Assay serves for a wheel. Pure.

With either value of the key, a wheel is withheld if its own METADATA differs from the index's METADATA.
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
    """Model of the key `metadata`."""

    metadata: Literal["index", "wheel"] | None = None
    """``wheel``: METADATA is served only from the verified wheel. ``index`` (the default): METADATA of the index is
    served until the wheel has been verified."""


@final
@dataclass(frozen=True, slots=True)
class _MetadataCheck(FileCheck):
    label: str | None

    def check_file(self, facts: FileFacts, context: PageContext, _now: datetime) -> Reason | None:
        if facts.file.sha256 not in context.mismatched_wheels:
            return None
        return make_reason(ReasonCode.METADATA_MISMATCH, self.label, _tell_mismatch, ())


def _tell_mismatch() -> Words:
    message = 'the METADATA in the wheel differs from the METADATA of the index; ask for a waiver of "metadata"'
    return Words(message, "METADATA of the index equal to the METADATA in the wheel", "different METADATA")


def _activate(_: MetadataKeys, terms: RuleTerms) -> _MetadataCheck:
    return _MetadataCheck(terms.label)


def _describe(stated: MetadataKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.metadata == "wheel":
        yield Phrase("has its metadata served only from the verified wheel")


METADATA: Final = Requirement(
    keys=MetadataKeys,
    lift="metadata",
    codes=frozenset({ReasonCode.METADATA_MISMATCH}),
    active=_activate,
    describe=_describe,
)
