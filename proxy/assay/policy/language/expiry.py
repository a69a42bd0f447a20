"""Waivers and ignored advisories that have expired or will expire soon, so that operators can act in time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from assay.policy.language.model import Policy
from assay.policy.language.times import format_instant

EXPIRY_NOTICE_PERIOD: Final = timedelta(days=14)
"""Default time before the end of a waiver from which on the waiver is reported. It is longer than a usual absence of
the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverExpiry:
    """Waiver or ignored advisory that has expired or will expire soon."""

    label: str
    expires: datetime
    is_expired: bool

    def __str__(self) -> str:
        """Return one sentence for the operator."""
        if self.is_expired:
            return f"{self.label}: expired on {format_instant(self.expires)} and has no effect; remove it"
        return f"{self.label}: expires on {format_instant(self.expires)}"


def find_expiring_waivers(
    policy: Policy, now: datetime, horizon: timedelta = EXPIRY_NOTICE_PERIOD
) -> tuple[WaiverExpiry, ...]:
    """Return the waivers and ignored advisories that end within `horizon` or have ended, the earliest end first."""
    ends = [
        (f"waivers[{number}]: {each.name or each.reason}", each.expires) for number, each in enumerate(policy.waivers)
    ]
    ends += [
        (f"ignored-advisories[{number}]: {each.id}", each.expires)
        for number, each in enumerate(policy.ignored_advisories)
    ]
    found = [
        WaiverExpiry(label=label, expires=expires, is_expired=expires <= now)
        for label, expires in ends
        if expires - now <= horizon
    ]
    return tuple(sorted(found, key=lambda each: each.expires))
