"""Base classes of requirements and of their checks. Pure.

Each module of this package defines one requirement: its keys, the word for it in `lifts` of a waiver, its reason codes,
the texts of its reasons, and its check. `Requirement.active` compiles the check for one rule. The base class of a check
states the object that it checks:

- `PageCheck` checks the page. Its result applies to all files of the page.
- `FileCheck` checks a file. Before the evidence of the file is known, it assumes the best possible evidence.
- `AttestationCheck` checks the attestations of a file. These checks form a chain.
- `TimeCheck` checks a file by time and by the publishers of earlier files. It may need the evidence of those files.
- `ReleaseCheck` checks all verdicts of a page after they have been computed.
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


def is_never_revoked(_: Attestation) -> bool:
    """Return False: no revocation covers the attestation."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTerms:
    """Facts about a rule that its requirements may use."""

    label: str | None
    """Name of the rule, for reasons; None if no rule governs."""
    requires_attestations: bool
    """True if the rule requires attestations, by `attestations` or by a key that implies it."""
    names_publishers: bool
    """True if the rule names publishers. A named publisher counts as established for each file that it signed."""
    sources: frozenset[str] | None = None
    """Names of the evidence sources that count under the rule; None: all."""
    revoked_keys: frozenset[str] = frozenset()
    """Names of the keys that the policy has revoked."""
    is_revoked: Callable[[Attestation], bool] = is_never_revoked
    """Function that returns whether a revocation of the policy covers an attestation."""


@dataclass(frozen=True, slots=True)
class Note:
    """Remark on an approved file."""

    text: str


class NotYet(Enum):
    """Type of `NOT_YET`."""

    NOT_YET = auto()


NOT_YET: Final = NotYet.NOT_YET
"""Result of a `TimeCheck` that cannot be decided until the evidence of earlier files is known."""


class PageCheck(ABC):
    """Base class of checks of a page."""

    __slots__ = ()

    @abstractmethod
    def check_page(self, context: PageContext) -> Reason | None:
        """Return the reason to withhold every file of the page, or None."""


class FileCheck(ABC):
    """Base class of checks of a file."""

    __slots__ = ()

    @abstractmethod
    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        """Return the reason to withhold the file, or None."""

    def check_best_case(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        """Return the reason to withhold the file whatever its evidence turns out to be, or None.

        By default this is the reason of `check_file`. If evidence could satisfy a check, the check overrides this
        method.
        """
        return self.check_file(facts, context, now)


class AttestationCheck(ABC):
    """Base class of checks of attestations. Each check is one link of the chain that `assay.policy.provenance` runs."""

    __slots__ = ()

    order: ClassVar[int] = 0
    """Place in the chain. A link with a higher number runs later. Links with equal numbers run in the order of the
    registry."""

    @abstractmethod
    def select(self, attestations: Attestations) -> Attestations:
        """Return the attestations that meet the requirement."""

    @abstractmethod
    def explain(self, attestations: Attestations) -> Reason:
        """Return the reason to withhold the file if none of its `attestations` meets the requirement."""

    def narrow(self, attestations: Attestations) -> tuple[Attestations, Reason | None]:
        """Return the attestations for the next link, and the reason to withhold the file or None.

        If no attestation meets this requirement, the next link gets all `attestations`. A waiver of this requirement
        therefore does not lift the next requirement.
        """
        selected = self.select(attestations)
        return (selected, None) if selected else (attestations, self.explain(attestations))

    def check_absence(self, _evidence: Evidence) -> Reason | None:
        """Return the reason to withhold a file without attestations, or None."""
        return None

    def note(self, _attestations: Attestations) -> tuple[str, ...]:
        """Return notes on the attestations that count."""
        return ()


class TimeCheck(ABC):
    """Base class of checks of a file by time and by the publishers of earlier files."""

    __slots__ = ()

    @abstractmethod
    def check_time(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | Note | NotYet | None:
        """Return a reason to withhold the file, a note, `NOT_YET`, or None if the file meets the requirement."""

    def check_best_case(self, _facts: FileFacts, _context: PageContext, _now: datetime) -> Reason | None:
        """Return the reason to withhold the file whatever the unknown evidence turns out to be, or None.

        Unknown evidence can be that of this file or of earlier files.
        """
        return None


class ReleaseCheck(ABC):
    """Base class of checks of all verdicts of a page."""

    __slots__ = ()

    @abstractmethod
    def find_dependents(self, files: Sequence[File]) -> frozenset[int]:
        """Return the positions in `files` of those files whose verdict depends on the verdicts of other files."""

    @abstractmethod
    def withhold(
        self,
        verdicts: list[Verdict],
        all_facts: Sequence[FileFacts],
        is_exempt: Callable[[FileFacts, ReasonCode], bool],
    ) -> None:
        """Replace an approval in `verdicts` if the verdicts on other files do not permit the approval.

        Args:
            verdicts: verdicts on all files of the page.
            all_facts: facts about the same files, in the same order.
            is_exempt: returns True if a pin or a waiver exempts a file from reasons with the given code.
        """


Check: TypeAlias = PageCheck | FileCheck | AttestationCheck | TimeCheck | ReleaseCheck


@dataclass(frozen=True, slots=True)
class Phrase:
    """Description of a requirement of a rule. It completes the sentence "A file is approved if it …"."""

    text: str
    items: tuple[str, ...] = ()
    """Items of a list below the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement(Generic[KeysT]):
    """Definition of one requirement of the policy language."""

    keys: type[KeysT]
    """Model of the requirement's keys. `assay.policy.language.model.Requirements` inherits from it."""
    lift: str
    """Word in `lifts` of a waiver that lifts this requirement."""
    codes: frozenset[ReasonCode]
    """Codes of the requirement's reasons. A waiver with the word `lift` lifts reasons with these codes."""
    active: Callable[[KeysT, RuleTerms], Check | None]
    """Function that compiles the check for a rule. It returns None if the rule does not use the requirement."""
    describe: Callable[[KeysT, RuleTerms], Iterable[Phrase]]
    """Function that describes the values of the keys for the policy page."""
    implies_attestations: bool = False
    """True if a rule that uses the requirement requires attestations too."""


def join_or(values: Iterable[str]) -> str:
    """Join the values with "or", in alphabetical order: ``a or b``."""
    return " or ".join(sorted(values))
