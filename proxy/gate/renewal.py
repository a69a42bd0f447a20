"""Trust roots renewed on a timer, never in the way of a request; the last good one stays in force.

Owns the timer alone: how a root is renewed and proven is `attestation.refresh`'s, what a new root means for recorded
evidence is `Proofs`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from proxy import telemetry
from proxy.attestation.refresh import Refresher
from proxy.attestation.workers import Verifier


async def renew_for_ever(
    verifier: Verifier,
    refreshers: Sequence[Refresher],
    every: timedelta,
    clock: Callable[[], datetime],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Renew each root now, if it is older than `every`, and whenever that time has passed; until cancelled."""
    while refreshers:
        for refresher in refreshers:
            root = verifier.roots.named[refresher.name]
            if root.age(clock()) < every:
                continue
            renewed = await refresher.refresh(root)
            if renewed is not None:
                verifier.renew(renewed)
                telemetry.event(
                    "trust-root-renewed", root=root.name, digest=renewed.digest, changed=renewed.content != root.content
                )
        await pause(every.total_seconds())
