"""``/readyz``: whether this proxy can do its work now, and what is wrong if it cannot.

Owns the checks and the flag that a shutdown lowers first, so that a load balancer turns away before connections end.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from assay.assembly import Assembly
from assay.attestation.config import TrustSettings
from assay.errors import AssayError, VerificationUnavailableError
from assay.telemetry.audit_trail import AuditTrail
from assay.units import format_duration

ReadinessCheck = Callable[[], Awaitable[None]]
"""Raises `AssayError` with what is wrong."""


class Readiness:
    """Named checks, all of which must pass."""

    def __init__(self, checks: Mapping[str, ReadinessCheck]) -> None:
        self._checks = dict(checks)
        self.is_stopping = False

    async def respond(self) -> web.Response:
        """200 when all is well, else 503 with the sentence of each check that failed."""
        problems = {}
        if self.is_stopping:
            problems["server"] = "shutting down"
        for name, check in self._checks.items():
            try:
                await check()
            except AssayError as error:
                problems[name] = str(error)
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        document = {"ready": not problems, "problems": problems}
        return web.Response(
            status=status,
            body=json.dumps(document).encode() + b"\n",
            headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
        )


def build_readiness(
    assembly: Assembly,
    trust_settings: TrustSettings,
    clock: Callable[[], datetime],
    audit_trail: AuditTrail | None = None,
) -> Readiness:
    """What a proxy must be able to do: keep files, trust the roots that it verifies with, and record what it serves."""

    async def roots() -> None:
        for root in assembly.verifier.roots.for_index():
            age = root.age(clock())
            if trust_settings.max_age is not None and age > trust_settings.max_age:
                raise VerificationUnavailableError(
                    f"trust root {root.name} was not renewed for {age.days} days; the limit is"
                    f" {format_duration(trust_settings.max_age)}"
                )

    checks: dict[str, ReadinessCheck] = {"storage": assembly.store.check, "trust": roots}
    if audit_trail is not None:
        checks["audit"] = audit_trail.ensure_writable
    return Readiness(checks)
