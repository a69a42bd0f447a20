"""Who is established for a project: the memory of the ratchet while a page is judged in order of time. Pure.

"A publisher is established for a project when a rule names it, or when a file it attested was approved, is still listed
and unrevoked, and was logged more than `ratchet-settle` ago. Withheld, revoked and withdrawn files establish nobody"
(POLICY.md). Well-founded, because a file is judged only by what files before it have established.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias

from assay.evidence import Identity
from assay.ports import Established

Signature: TypeAlias = tuple[str | None, ...]
"""Everything of an attestation that says who signs and under which names."""
Origin: TypeAlias = tuple[str | None, str | None, str | None]
"""Repository, workflow and environment: what may change while the publisher stays the same."""


class Standing(Enum):
    """What is known of some signers, as a publisher of the project."""

    ESTABLISHED = auto()
    SETTLING = auto()
    """Their first file is approved, but not yet for long enough."""
    STRANGER = auto()
    OPEN = auto()
    """The evidence of an earlier file is not known yet, and could establish them."""


@dataclass(slots=True, kw_only=True)
class Continuity:
    """Grows while a page's files are judged, the earliest first."""

    established: dict[Identity, datetime] = field(default_factory=dict)
    """From when each publisher is established; an instant to come while it settles."""
    since: datetime | None = None
    """From when the first of them is."""
    open: bool = False
    """Some earlier file's evidence is not known yet."""
    origins: dict[Identity, set[Origin]] = field(default_factory=dict)
    """Under which names each has signed, for notes."""
    familiar: dict[Signature, datetime] = field(default_factory=dict)
    """From when whoever signs just so is established: most files of a project are signed as the one before."""

    @classmethod
    def of(cls, facts: Iterable[Established], settle: timedelta) -> Continuity:
        """What these facts establish, all of them approved, listed and unrevoked."""
        continuity = cls()
        for fact in facts:
            continuity.add(fact.identity, fact.logged + settle)
        return continuity

    def add(self, identity: Identity, instant: datetime) -> None:
        """`identity` is established from `instant`, if not from an earlier one."""
        known = self.established.get(identity)
        if known is None or instant < known:
            self.established[identity] = instant
        if self.since is None or instant < self.since:
            self.since = instant

    def standing(self, identities: Iterable[Identity], now: datetime) -> tuple[Standing, datetime | None]:
        """What is known of a file's signers, and when they will be established."""
        instants = [self.established[each] for each in identities if each in self.established]
        if instants and min(instants) <= now:
            return Standing.ESTABLISHED, None
        if self.open:
            return Standing.OPEN, None
        return (Standing.SETTLING, min(instants)) if instants else (Standing.STRANGER, None)

    def holds(self, existed: datetime, now: datetime) -> bool:
        """Whether some publisher was established before a file that existed at `existed`: the ratchet speaks of it."""
        return self.since is not None and self.since <= now and existed > self.since
