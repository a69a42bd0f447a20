"""Protocol of the checks that overrule every approval, and the type of their findings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.verdict import Reason


class Findings(NamedTuple):
    """Findings of a check about one file."""

    reasons: Sequence[Reason] = ()
    """Reasons to withhold the file; empty if the check permits it."""
    lifted_reasons: tuple[Reason, ...] = ()
    """Reasons that the policy lifts, such as those of ignored advisories."""
    notes: tuple[str, ...] = ()
    """Notes on the file if it is approved."""
    changes_at: datetime | None = None
    """Next instant at which time alone changes these findings; None if there is no such instant."""

    def join(self, other: Findings) -> Findings:
        """Return these findings followed by those of another check."""
        instants = [each for each in (self.changes_at, other.changes_at) if each is not None]
        return Findings(
            (*self.reasons, *other.reasons),
            (*self.lifted_reasons, *other.lifted_reasons),
            (*self.notes, *other.notes),
            min(instants, default=None),
        )


NO_FINDINGS: Final = Findings()


class PrecedenceCheck(Protocol):
    """Check that overrules every approval, compiled for one project."""

    @property
    def needs_evidence(self) -> bool:
        """True if the check can withhold some file only after the evidence of the file is known."""

    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Findings:
        """Return the findings about a file. `context` has the facts about its page; `now` is the time in UTC."""
