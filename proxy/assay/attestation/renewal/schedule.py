"""Trust roots renewed on a timer, never in the way of a request; the last good one stays in force.

Owns the timer alone: how a root is renewed and proven is `attestation`'s, what a new root means for recorded
evidence is `ProvenanceResolver`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from assay import telemetry
from assay.attestation.config import TrustSettings
from assay.attestation.pool.pool import Verifier
from assay.attestation.renewal.tuf_client import TrustRootRefresher


async def refresh_roots_forever(
    verifier: Verifier,
    refreshers: Sequence[TrustRootRefresher],
    settings: TrustSettings,
    clock: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Renew each root that is older than `refresh-every`, now and each time that has passed; until cancelled.

    Also where nothing renews them (air gap, a root given by path) roots past `warn-age` are warned of, each time.
    """
    every = settings.refresh_every
    while True:
        for refresher in refreshers:
            root = verifier.roots.by_name[refresher.name]
            if root.age(clock()) < every:
                continue
            renewed = await refresher.refresh(root)
            if renewed is not None:
                verifier.update_root(renewed)
                telemetry.event(
                    "trust-root-renewed", root=root.name, digest=renewed.digest, changed=renewed.content != root.content
                )
        for root in verifier.roots.for_index():
            age = root.age(clock())
            if age > settings.warn_age:
                telemetry.warning("trust-root-old", root=root.name, days=age.days, renewed_here=bool(refreshers))
        await sleep(every.total_seconds())
