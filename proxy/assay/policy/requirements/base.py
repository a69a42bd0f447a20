"""The parts of a requirement, and the four shapes that its check may have. Pure.

A module of this package holds one requirement: its keys, the word by which a waiver lifts it, its reason codes and
their words, and its check. A check is laid out for one rule (`Requirement.active`) and has one of these shapes:

- `PageCheck`: of the page, the same for all of its files;
- `FileCheck`: of a file; before its evidence is known, in the best case that evidence could make of it;
- `AttestationCheck`: of the attestations, a link of one chain;
- `TimeCheck`: of time and continuity; the answer may depend on the evidence of earlier files.

`ReleaseCheck` is a pass over the verdicts of a page, once there are all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import ClassVar, Final, Generic, TypeAlias, TypeVar

from assay.evidence import Attestation, Evidence
from assay.policy.candidate import FileFacts, PageContext
from assay.policy.verdict import Reason, ReasonCode, Verdict
from assay.settings import Settings
from assay.simple.model import File

KeysT = TypeVar("KeysT", bound=Settings)
Attestations: TypeAlias = tuple[Attestation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTerms:
    """What a requirement may know of the rest of its rule."""

    label: str | None
    """Name of the rule, for reasons; None where no rule governs."""
    requires_attestations: bool
    """Whether a file must have attestations, because the rule says so or implies it."""
    names_publishers: bool
    """Whether the rule names publishers: they are established for what they signed."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is worth knowing of an approved file."""

    text: str


class NotYet(Enum):
    """The type of `NOT_YET`."""

    NOT_YET = auto()


NOT_YET: Final = NotYet.NOT_YET
"""It cannot be said before the evidence of earlier files is known."""


class PageCheck(ABC):
    """A check of the page."""

    __slots__ = ()

    @abstractmethod
    def check_page(self, context: PageContext) -> Reason | None:
        """Return why every file of the page is withheld, or None."""


class FileCheck(ABC):
    """A check of a file."""

    __slots__ = ()

    @abstractmethod
    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        """Return why the file is withheld, or None."""

    def check_best_case(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        """Return why the file is withheld whatever its evidence will be, or None; evidence only makes it younger."""
        return self.check_file(facts, context, now)


class AttestationCheck(ABC):
    """A check of attestations, one link of the chain that `assay.policy.provenance` runs."""

    __slots__ = ()

    order: ClassVar[int] = 0
    """Links of a higher order come later; links of the same order come as their requirements are listed."""

    @abstractmethod
    def select(self, attestations: Attestations) -> Attestations:
        """Return the attestations that meet the requirement."""

    @abstractmethod
    def explain(self, attestations: Attestations) -> Reason:
        """Return why the file is withheld where none of its attestations meets the requirement."""

    def narrow(self, attestations: Attestations) -> tuple[Attestations, Reason | None]:
        """Return the attestations for the next link, and why the file is withheld.

        Where none meets the requirement, the next link gets the same attestations, so that a waiver of this requirement
        does not lift the next.
        """
        selected = self.select(attestations)
        return (selected, None) if selected else (attestations, self.explain(attestations))

    def check_absence(self, _evidence: Evidence) -> Reason | None:
        """Return why a file whose evidence has no attestation is withheld, or None."""
        return None

    def note(self, _attestations: Attestations) -> tuple[str, ...]:
        """Return what is worth knowing of the attestations that count."""
        return ()


class TimeCheck(ABC):
    """A check of time and continuity."""

    __slots__ = ()

    @property
    def depends_on_earlier_files(self) -> bool:
        """Whether the answer may depend on what earlier files of the page establish."""
        return True

    @abstractmethod
    def check_time(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | Note | NotYet | None:
        """Return why the file is withheld, a note, `NOT_YET`, or None."""

    def check_best_case(self, _facts: FileFacts, _context: PageContext, _now: datetime) -> Reason | None:
        """Return why the file is withheld whatever its evidence and that of earlier files will be, or None."""
        return None


class ReleaseCheck(ABC):
    """A pass over the verdicts of a page."""

    __slots__ = ()

    @abstractmethod
    def find_dependents(self, files: Sequence[File]) -> frozenset[int]:
        """Return the places on the page of the files whose verdict depends on others' verdicts."""

    @abstractmethod
    def withhold(
        self,
        verdicts: list[Verdict],
        all_facts: Sequence[FileFacts],
        is_exempt: Callable[[FileFacts, ReasonCode], bool],
    ) -> None:
        """Withhold, in place, what the verdicts of other files forbid.

        `is_exempt` tells whether a pin or a waiver spares a file from reasons of a code.
        """


Check: TypeAlias = PageCheck | FileCheck | AttestationCheck | TimeCheck | ReleaseCheck


@dataclass(frozen=True, slots=True)
class Phrase:
    """What a rule asks for, as the page of the policy says it after "A file is approved where it …"."""

    text: str
    items: tuple[str, ...] = ()
    """A list below the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement(Generic[KeysT]):
    """One requirement of the policy language."""

    keys: type[KeysT]
    """Its keys; `assay.policy.language.model.Requirements` inherits them."""
    lift: str
    """The word in `lifts` of a waiver."""
    codes: frozenset[ReasonCode]
    """The codes of its reasons: what a waiver lifts."""
    active: Callable[[KeysT, RuleTerms], Check | None]
    """Lays the check out for a rule; None where the keys ask for nothing."""
    describe: Callable[[KeysT, RuleTerms], Iterable[Phrase]]
    """Says what the keys ask for, on the page of the policy."""
    implies_attestations: bool = False
    """Whether stating one of its keys makes attestations required."""


def join_or(values: Iterable[str]) -> str:
    """Return ``a or b``, in order of the alphabet."""
    return " or ".join(sorted(values))
