"""Schedule for the renewal of trust roots in the background. If a renewal fails, the last good root stays in force.

`tuf` renews and verifies a trust root. `ProvenanceResolver` decides which recorded evidence stays valid under a renewed
root.
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
"""Time limit of a renewal. The process that runs the renewal has a separate, shorter limit."""


def create_root_refreshers(
    verifier: VerifierPool,
    refreshers: Sequence[TrustRootRefresher],
    settings: TrustSettings,
    clock: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Refresher[TrustRoot], ...]:
    """Return a schedule (`Refresher`) for the default root and for each further root. The caller starts the schedules.

    If `refreshers` has a client for a trust root, the schedule renews the root when it is older than `refresh-every`.
    The renewed root is put in force. After a failure, the schedule tries again after `refresh-every`.

    If a trust root has no client, the schedule only watches the age of the root. A root has no client if it is given by
    a path, or if renewal is off. While any root is older than `warn-age`, a warning is logged every `refresh-every`.

    Args:
        verifier: pool that holds the trust roots in force and receives renewed ones.
        refreshers: clients that renew trust roots, at most one for each trust root.
        settings: the `[trust]` table.
        clock: returns the current time, UTC.
        sleep: waits for a number of seconds.
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
        telemetry.warning("trust-root-outdated", root=name, days=age.days, renewed_here=bool(refreshers))

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
        raise RuntimeError("expected a trust root that the renewal can replace, found none")
    renewed = await refresher.refresh(request.last_good)
    if renewed is None:
        raise UpstreamUnavailableError(f"trust root {refresher.name} could not be renewed")
    return Fetched(value=renewed, obtained=renewed.obtained, size=len(renewed.content))


def _log_fault(name: str, error: BaseException) -> None:
    """Log an unexpected error of a renewal.

    Ignore an expected error (`AssayError`), because the `TrustRootRefresher` has already logged it.
    """
    if not isinstance(error, AssayError):
        telemetry.failure("trust-root-renewal-failed", error, root=name)
