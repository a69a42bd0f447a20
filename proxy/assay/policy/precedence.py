"""The checks of the first step of the precedence: what withholds a file whatever else would approve it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from assay.policy.candidate import FileFacts
from assay.policy.language.model import Policy
from assay.policy.revocations import compile_revocations
from assay.policy.verdict import Reason
from assay.simple.model import NormalizedName


class PrecedenceCheck(Protocol):
    """A check of the first step, compiled for one project."""

    @property
    def needs_evidence(self) -> bool:
        """Whether it may withhold a file only once the file's evidence is known."""

    def find_reasons(self, facts: FileFacts) -> Sequence[Reason]:
        """Return why the file is withheld, empty if it is not."""


PRECEDENCE_CHECKS: Final[tuple[Callable[[Policy, NormalizedName], PrecedenceCheck | None], ...]] = (
    compile_revocations,
)
"""What compiles each of them, in the order in which they are reported; None where it has nothing to say."""
