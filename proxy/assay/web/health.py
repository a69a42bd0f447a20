"""Readiness of the proxy, for ``/readyz``: named checks, and a message for each check that fails.

A shutdown first sets the flag `is_stopping`, which makes ``/readyz`` fail. A load balancer then sends requests
elsewhere before the proxy closes connections.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from assay.assembly import Assembly, View
from assay.attestation.config import TrustSettings
from assay.errors import AssayError, NotReadyError, VerificationUnavailableError
from assay.telemetry.audit_trail import AuditTrail
from assay.units import format_duration
from assay.views import DEFAULT_VIEW

ReadinessCheck = Callable[[], Awaitable[None]]
"""Check that raises `AssayError` if it fails. The message of the error states the problem."""


class Readiness:
    """Named checks. The proxy is ready if all of them pass and no shutdown has begun.

    Args:
        checks: checks by name.
        list_warnings: returns a message for each problem, by name, that does not make the proxy unready.
        list_degraded: returns the names of the engines of a shared storage that are away. The proxy stays ready: if
            it did not, one outage would take all replicas out of service.

    Attributes:
        is_stopping: True after a shutdown has begun.
    """

    def __init__(
        self,
        checks: Mapping[str, ReadinessCheck],
        list_warnings: Callable[[], Mapping[str, str]] = dict,
        list_degraded: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._checks = dict(checks)
        self._list_warnings = list_warnings
        self._list_degraded = list_degraded
        self.is_stopping = False

    async def respond(self) -> web.Response:
        """Run all checks. Return 200 if all pass, else 503.

        The JSON body contains a message for each failed check, and for each problem that does not make the proxy
        unready, and the names of the engines that are away.
        """
        problems: dict[str, str] = {}
        if self.is_stopping:
            problems["server"] = "shutting down"
        for name, check in self._checks.items():
            try:
                await check()
            except AssayError as error:
                problems[name] = str(error)
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        document = {
            "ready": not problems,
            "problems": {**problems, **self._list_warnings()},
            "degraded": list(self._list_degraded()),
        }
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
    """Return the readiness checks of a proxy: its storage, its trust roots, its advisories and its audit trail.

    The storage and the audit trail must be writable. The trust roots must not be older than the configured maximum age.
    A policy file that is refused, and a problem of a feed, are warnings: without the proxy, clients would not be safer.
    Each required feed of advisories must have a snapshot.

    Args:
        assembly: contains the storage and the verifier of the proxy.
        trust_settings: settings with the maximum age of trust roots.
        clock: returns the current time in UTC.
        audit_trail: audit trail; None if no audit trail is configured.
    """

    async def roots() -> None:
        for root in assembly.verifier.roots.for_index():
            age = root.age(clock())
            if trust_settings.max_age is not None and age > trust_settings.max_age:
                raise VerificationUnavailableError(
                    f"trust root {root.name} was not renewed for {age.days} days; the limit is"
                    f" {format_duration(trust_settings.max_age)}"
                )

    async def advisories() -> None:
        if (why := assembly.advisories.explain_not_ready()) is not None:
            raise NotReadyError(why)

    def list_warnings() -> dict[str, str]:
        feeds = {
            f"advisories {each.name}": each.problem
            for each in assembly.feeds.list_statuses()
            if each.problem is not None
        }
        return {**_list_refused_policies(assembly.views), **feeds}

    checks: dict[str, ReadinessCheck] = {"storage": assembly.store.check, "trust": roots, "advisories": advisories}
    if audit_trail is not None:
        checks["audit"] = audit_trail.ensure_writable
    return Readiness(checks, list_warnings, lambda: assembly.store.degraded)


def _list_refused_policies(views: Sequence[View]) -> dict[str, str]:
    """Return the reason why a policy file is refused, by ``policy``, or by ``policy of view NAME`` for other views."""
    return {
        "policy" if each.settings.name == DEFAULT_VIEW else f"policy of view {each.settings.name}": rejection
        for each in views
        if (rejection := each.policy_file.rejection) is not None
    }
