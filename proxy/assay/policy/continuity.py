"""Who is established for a project: the memory of the ratchet while a page is judged in order of time. Pure.

A publisher is established for a project when a rule names it, or when a file it attested is on the page, is approved,
and was logged at least `ratchet-settle` ago. Withheld, revoked and withdrawn files establish nobody
(docs/policy-semantics.md, "Ratchet"). Well-founded, because a file is judged only by what files before it have
established.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias

from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity

SignerKey: TypeAlias = tuple[str | None, ...]
"""Everything of an attestation that says who signs and under which names."""
SigningOrigin: TypeAlias = tuple[str | None, str | None, str | None]
"""Repository, workflow and environment: what may change while the publisher stays the same."""


class SignerStatus(Enum):
    """What is known of some signers, as a publisher of the project."""

    ESTABLISHED = auto()
    SETTLING = auto()
    """Their first file is approved, but not yet for long enough."""
    UNKNOWN = auto()
    UNDETERMINED = auto()
    """The evidence of an earlier file is not known yet, and could establish them."""


@dataclass(slots=True, kw_only=True)
class RatchetState:
    """Grows while a page's files are judged, the earliest first."""

    established: dict[PublisherIdentity, datetime] = field(default_factory=dict)
    """From when each publisher is established; an instant to come while it settles."""
    established_since: datetime | None = None
    """From when the first of them is."""
    has_unknown_evidence: bool = False
    """Some earlier file's evidence is not known yet."""
    origins: dict[PublisherIdentity, set[SigningOrigin]] = field(default_factory=dict)
    """Under which names each has signed, for notes."""
    established_signers: dict[SignerKey, datetime] = field(default_factory=dict)
    """From when whoever signs just so is established: most files of a project are signed as the one before."""

    @classmethod
    def from_facts(cls, established_identities: Iterable[EstablishedIdentity], settle_time: timedelta) -> RatchetState:
        """What these facts establish, all of them approved, listed and unrevoked."""
        continuity = cls()
        for fact in established_identities:
            continuity.establish(fact.identity, fact.logged + settle_time)
        return continuity

    def establish(self, identity: PublisherIdentity, established_at: datetime) -> None:
        """`identity` is established from `established_at`, if not from an earlier one."""
        known = self.established.get(identity)
        if known is None or established_at < known:
            self.established[identity] = established_at
        if self.established_since is None or established_at < self.established_since:
            self.established_since = established_at

    def get_signer_status(
        self, identities: Iterable[PublisherIdentity], now: datetime
    ) -> tuple[SignerStatus, datetime | None]:
        """What is known of a file's signers, and when they will be established."""
        instants = [self.established[each] for each in identities if each in self.established]
        if instants and min(instants) <= now:
            return SignerStatus.ESTABLISHED, None
        if self.has_unknown_evidence:
            return SignerStatus.UNDETERMINED, None
        return (SignerStatus.SETTLING, min(instants)) if instants else (SignerStatus.UNKNOWN, None)

    def applies_to(self, existence_time: datetime, now: datetime) -> bool:
        """Whether some publisher was established before a file of `existence_time`: the ratchet speaks of it."""
        return (
            self.established_since is not None
            and self.established_since <= now
            and existence_time > self.established_since
        )
