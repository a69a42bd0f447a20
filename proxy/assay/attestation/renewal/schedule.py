"""Trust roots renewed on a schedule, never in the way of a request; the last good one stays in force.

How a root is renewed and proven is `tuf`'s. What a new root means for recorded evidence is the `ProvenanceResolver`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from assay import telemetry
from assay.attestation.config import TrustSettings
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.renewal.tuf_client import TrustRootRefresher
from assay.attestation.trust_roots import MAX_ROOT_BYTES, TrustRoot
from assay.caching.refresher import Fetched, FetchRequest, Refresher, RefreshSchedule
from assay.errors import AssayError, UpstreamUnavailableError

_TIMEOUT: Final = timedelta(minutes=10)
"""For a renewal; the process that does it is ended earlier."""


def create_root_refreshers(
    verifier: VerifierPool,
    refreshers: Sequence[TrustRootRefresher],
    settings: TrustSettings,
    clock: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Refresher[TrustRoot], ...]:
    """Return a refresher, not started yet, for each root in force.

    A root that one of `refreshers` renews is renewed once it is older than `refresh-every`, and put in force. A failed
    renewal is repeated after the same time. The others (air gap, a root given by path) are only watched: in each turn a
    root past `warn-age` is warned of.
    """
    schedule = RefreshSchedule(
        every=settings.refresh_every, timeout=_TIMEOUT, max_bytes=MAX_ROOT_BYTES, max_age=settings.warn_age
    )
    by_name = {refresher.name: refresher for refresher in refreshers}

    async def put_in_force(before: TrustRoot | None, renewed: TrustRoot) -> None:
        verifier.update_root(renewed)
        changed = before is None or renewed.content != before.content
        telemetry.event("trust-root-renewed", root=renewed.name, digest=renewed.digest, changed=changed)

    def warn(name: str, age: timedelta) -> None:
        telemetry.warning("trust-root-old", root=name, days=age.days, renewed_here=bool(refreshers))

    return tuple(
        Refresher(
            f"trust root {root.name}",
            partial(_renew, by_name[root.name]) if root.name in by_name else None,
            schedule=schedule,
            clock=clock,
            initial=Fetched(value=root, obtained=root.obtained),
            on_refreshed=put_in_force,
            on_failure=partial(_log_fault, root.name),
            on_stale=partial(warn, root.name),
            sleep=sleep,
        )
        for root in verifier.roots.for_index()
    )


async def _renew(refresher: TrustRootRefresher, request: FetchRequest[TrustRoot]) -> Fetched[TrustRoot]:
    if request.last_good is None:
        raise RuntimeError("a trust root is renewed from the one in force")
    renewed = await refresher.refresh(request.last_good)
    if renewed is None:
        raise UpstreamUnavailableError(f"trust root {refresher.name} could not be renewed")
    return Fetched(value=renewed, obtained=renewed.obtained, size=len(renewed.content))


def _log_fault(name: str, error: BaseException) -> None:
    """Log an unexpected error; the refresher of the root has logged the expected ones."""
    if not isinstance(error, AssayError):
        telemetry.failure("trust-root-not-renewed", error, root=name)
