"""Which waivers are over and which soon will be, so that nobody learns it from a build that fails. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from assay.policy.language.model import Policy
from assay.policy.language.times import format_instant

EXPIRY_NOTICE_PERIOD: Final = timedelta(days=14)
"""Long enough before the end for somebody to be back from leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverExpiry:
    """A waiver whose end is near or past."""

    label: str
    expires: datetime
    is_expired: bool

    def __str__(self) -> str:
        """In one sentence."""
        if self.is_expired:
            return f"{self.label}: expired on {format_instant(self.expires)} and lifts nothing any more; remove it"
        return f"{self.label}: expires on {format_instant(self.expires)}"


def find_expiring_waivers(
    policy: Policy, now: datetime, horizon: timedelta = EXPIRY_NOTICE_PERIOD
) -> tuple[WaiverExpiry, ...]:
    """The waivers that are over, or will be within `horizon`; the earliest first."""
    found = [
        WaiverExpiry(
            label=f"waivers[{number}]: {waiver.name or waiver.reason}",
            expires=waiver.expires,
            is_expired=waiver.expires <= now,
        )
        for number, waiver in enumerate(policy.waivers)
        if waiver.expires - now <= horizon
    ]
    return tuple(sorted(found, key=lambda each: each.expires))
