"""Checks that overrule every approval (step 1 of the precedence), such as revocations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from assay.policy.candidate import FileFacts
from assay.policy.language.model import Policy
from assay.policy.precedence.revocations import compile_revocations
from assay.policy.verdict import Reason
from assay.simple.model import NormalizedName


class PrecedenceCheck(Protocol):
    """Check that overrules every approval, compiled for one project."""

    @property
    def needs_evidence(self) -> bool:
        """True if the check can withhold some file only after the evidence of the file is known."""

    def find_reasons(self, facts: FileFacts) -> Sequence[Reason]:
        """Return the reasons to withhold the file; empty if the check permits it."""


PRECEDENCE_CHECKS: Final[tuple[Callable[[Policy, NormalizedName], PrecedenceCheck | None], ...]] = (
    compile_revocations,
)
"""Functions that compile the checks, in the order in which their reasons are reported. A function returns None if its
check has nothing to do for the project."""
