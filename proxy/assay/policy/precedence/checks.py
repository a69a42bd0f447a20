"""Checks that overrule every approval (step 1 of the precedence): revocations and malware advisories. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from assay.policy.language.model import Policy
from assay.policy.precedence.base import PrecedenceCheck
from assay.policy.precedence.malware import compile_malware
from assay.policy.precedence.revocations import compile_revocations
from assay.simple.model import NormalizedName

PRECEDENCE_CHECKS: Final[tuple[Callable[[Policy, NormalizedName], PrecedenceCheck | None], ...]] = (
    compile_revocations,
    compile_malware,
)
"""Functions that compile the checks, in the order in which their reasons are reported. A function returns None if its
check has nothing to do for the project."""
