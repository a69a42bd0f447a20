"""Established publishers of a project: the state of the ratchet while a page is judged in order of time. Pure.

A publisher is established for a project in one of three ways (docs/policy-semantics.md, "Ratchet"):

- A rule names the publisher.
- The ledger has recorded the publisher as established.
- The page lists a file that the publisher attested. The attestation was logged at least `ratchet-settle` ago. The file
  is accepted even while this publisher is not established.

This definition is not circular, because a file is judged only by publishers that earlier files have established.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias

from assay.evidence import PublisherIdentity
from assay.policy.language.times import add_duration
from assay.ports import EstablishedPublisher

SignerKey: TypeAlias = tuple[str | None, ...]
"""All claims of an attestation that identify or name its signer. Attestations with equal keys have the same signer."""
SigningOrigin: TypeAlias = tuple[str | None, str | None, str | None]
"""Repository, workflow and environment of a signature. A publisher can change them and stay the same publisher."""


ReleaseLine: TypeAlias = tuple[int, int]
"""Epoch and first number of a version (PEP 440)."""


class SignerStatus(Enum):
    """Status of the signers of a file as publishers of the project."""

    ESTABLISHED = auto()
    SETTLING = auto()
    """An accepted file has these signers, but `ratchet-settle` has not passed yet since their signature was logged."""
    UNKNOWN = auto()
    UNDETERMINED = auto()
    """The evidence of an earlier file is not known yet. This evidence could establish these signers."""


class Continuity(Enum):
    """Result of comparing a file with the publishers that earlier files have established."""

    KEPT = auto()
    """An established publisher signed the file."""
    EXEMPT = auto()
    """No publisher was established before the file existed."""
    LOST = auto()
    """The file has no verified attestation."""
    CHANGED = auto()
    """Other signers than the established publishers signed the file."""
    UNDETERMINED = auto()
    """The evidence of an earlier file is not known yet and could change the result."""


@dataclass(slots=True, kw_only=True)
class RatchetState:
    """State of the ratchet, which grows while the files of a page are judged, the earliest first."""

    established: dict[PublisherIdentity, datetime] = field(default_factory=dict)
    """For each publisher, the instant from which it is established. The instant lies in the future until
    `ratchet-settle` has passed."""
    established_since: datetime | None = None
    """Earliest instant in `established`; None if `established` is empty."""
    has_unknown_evidence: bool = False
    """True if the evidence of some earlier file is not known yet and could establish a publisher."""
    publishers: dict[PublisherIdentity, EstablishedPublisher] = field(default_factory=dict)
    """For each publisher in `established`, the fact that the ledger records."""
    origins: dict[PublisherIdentity, set[SigningOrigin]] = field(default_factory=dict)
    """For each publisher, all repositories, workflows and environments under which it has signed. If a later file has
    others, it gets a note."""
    established_signers: dict[SignerKey, datetime] = field(default_factory=dict)
    """For each signer key, the instant from which its signer is established. A look-up here is enough for most files,
    because they have the signer key of an earlier file."""

    lines: dict[PublisherIdentity, dict[ReleaseLine, datetime]] = field(default_factory=dict)
    """For each signer, the release lines in which it signed files, each with the instant from which it is established
    for this line and later ones. Filled only with ``ratchet-scope = "line"``."""

    def admit(self, publisher: EstablishedPublisher, settle_time: timedelta, now: datetime) -> None:
        """Establish a publisher, unless another publisher was established before the attested file existed.

        In that case, the new publisher is ignored. If the publisher itself is already known, the earlier instant is
        kept. The caller must admit publishers in the order of `EstablishedPublisher.existed`.
        """
        identity = publisher.identity
        known = self.established.get(identity)
        if known is None and self.applies_to(publisher.existed, now):
            return
        established_at = max(add_duration(publisher.logged, settle_time), publisher.existed)
        if known is None or established_at < known:
            self.established[identity] = established_at
            self.publishers[identity] = publisher
        if self.established_since is None or established_at < self.established_since:
            self.established_since = established_at

    def get_signer_status(
        self, identities: Iterable[PublisherIdentity], now: datetime
    ) -> tuple[SignerStatus, datetime | None]:
        """Return the status of a file's signers, and for `SETTLING` the instant at which they are established."""
        instants = [self.established[each] for each in identities if each in self.established]
        if instants and min(instants) <= now:
            return SignerStatus.ESTABLISHED, None
        if self.has_unknown_evidence:
            return SignerStatus.UNDETERMINED, None
        return (SignerStatus.SETTLING, min(instants)) if instants else (SignerStatus.UNKNOWN, None)

    def applies_to(self, existence_time: datetime, now: datetime) -> bool:
        """Return whether the ratchet checks a file that began to exist at `existence_time`.

        It does if some publisher is established now, and was established before that time.
        """
        return (
            self.established_since is not None
            and self.established_since <= now
            and existence_time > self.established_since
        )

    def list_settled(self, now: datetime) -> list[EstablishedPublisher]:
        """Return the publishers that are established by `now`."""
        return [self.publishers[identity] for identity, instant in self.established.items() if instant <= now]
