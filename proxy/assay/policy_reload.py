"""Reload of a changed policy file while running: a good policy at once, a bad one never.

Owns what a change of one view's file does, which concerns no other view. What is no valid policy is refused loudly and
the old one stays in force: a proxy never runs without a policy, and never by a part of one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from assay import telemetry
from assay.assembly import View, utc_now
from assay.caching.background import BackgroundTasks
from assay.errors import ConfigurationError
from assay.file_watch import FileState, FileWatch
from assay.gate.gate import Gate
from assay.operator_files import decode_text
from assay.policy.language.document import load_policy
from assay.policy.language.expiry import find_expiring_waivers
from assay.policy.language.model import Policy
from assay.telemetry.metrics import POLICY_REFUSED, POLICY_SINCE
from assay.views import DEFAULT_VIEW

SETTLE_SECONDS = 0.1
"""Seconds for which a changed file must stay as it is: half of a policy may be TOML too, without its revocations."""
POLLS_PER_REMINDER = 60
"""Checks after which a refused policy is reported again, for as long as it stands there."""


class PolicyWatch(FileWatch[Policy]):
    """Reloads one view's policy.

    Attributes:
        rejection: why the file as it stands is not in force; None where it is.
    """

    def __init__(
        self,
        path: Path,
        gate: Gate,
        *,
        poll_interval_seconds: float | None = None,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        super().__init__([path], poll_interval_seconds=poll_interval_seconds, settle_seconds=settle_seconds)
        self._path = path
        self._gate = gate
        self._polls_since_report = 0
        self._log_fields = {"policy": str(path), **_build_view_field(gate)}
        self.rejection: str | None = None

    def request_check(self) -> None:
        """Check now, and say what is found even if nothing has changed (SIGHUP)."""
        super().request_check()
        self._polls_since_report = POLLS_PER_REMINDER

    async def reload_if_changed(self) -> bool:
        """Read the file once; return whether another policy is in force now. A bad policy is reported."""
        try:
            return await super().reload_if_changed()
        except ConfigurationError as error:
            self._on_refused(error)
            return False

    def _load(self, state: FileState) -> Policy:
        (content,) = state.contents
        if isinstance(content, ConfigurationError):
            raise content
        return _parse_policy(content, str(self._path))

    def _apply(self, policy: Policy) -> bool:
        self.rejection = None
        POLICY_REFUSED.labels(self._gate.view).set(0)
        before = self._gate.policy
        if policy == before:
            return False
        # One assignment: each answer takes the policy once, and is wholly by the one or by the other.
        self._gate.policy = policy
        POLICY_SINCE.labels(self._gate.view).set_to_current_time()
        telemetry.event("policy-reloaded", **self._log_fields, policy_digest=policy.digest, before=before.digest)
        warn_of_expiring_waivers(policy, utc_now(), **_build_view_field(self._gate))
        return True

    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:
        if requested and not has_changed and self.rejection is None:
            telemetry.event("policy-kept", **self._log_fields, policy_digest=self._gate.policy.digest)

    def _on_unchanged(self) -> None:
        self._remind_if_due()

    def _on_fault(self, error: Exception) -> None:
        telemetry.failure("policy-watch-failed", error, **self._log_fields)

    def _on_refused(self, error: ConfigurationError) -> None:
        reason = str(error)
        if reason == self.rejection:
            self._remind_if_due()
            return
        self.rejection = reason
        POLICY_REFUSED.labels(self._gate.view).set(1)
        self._log_rejection()

    def _remind_if_due(self) -> None:
        self._polls_since_report += 1
        if self.rejection is not None and self._polls_since_report >= POLLS_PER_REMINDER:
            self._log_rejection()

    def _log_rejection(self) -> None:
        self._polls_since_report = 0
        telemetry.warning(
            "policy-refused", **self._log_fields, in_force=self._gate.policy.digest, error=str(self.rejection)
        )


@asynccontextmanager
async def watch_policies(views: Sequence[View]) -> AsyncIterator[None]:
    """Obey each view's policy as its file changes, and all of them at SIGHUP; a built-in one never changes."""
    watches = [PolicyWatch(each.settings.policy, each.gate) for each in views if each.settings.policy is not None]
    built_in = [each.gate for each in views if each.settings.policy is None]

    def ask() -> None:
        for watch in watches:
            watch.request_check()
        for gate in built_in:
            telemetry.event("policy-kept", policy="built-in", **_build_view_field(gate))

    for view in views:
        POLICY_SINCE.labels(view.gate.view).set_to_current_time()
        POLICY_REFUSED.labels(view.gate.view).set(0)
        warn_of_expiring_waivers(view.gate.policy, utc_now(), **_build_view_field(view.gate))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, ask)
    async with BackgroundTasks() as tasks:
        for watch in watches:
            tasks.spawn(watch.run(), name="policy watch")
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)


def warn_of_expiring_waivers(policy: Policy, now: datetime, **view: str) -> None:
    """Say which waivers are over or soon will be, before a build fails for it; `/metrics` has when each ends."""
    for each in find_expiring_waivers(policy, now):
        telemetry.warning("waiver-over" if each.is_expired else "waiver-ends-soon", **view, waiver=str(each))


def _build_view_field(gate: Gate) -> dict[str, str]:
    """The view as a field of the log."""
    return {} if gate.view == DEFAULT_VIEW else {"view": gate.view}


def _parse_policy(content: bytes, source: str) -> Policy:
    policy = load_policy(decode_text(content, source), source)
    policy.digest  # noqa: B018 - computed once, and here, off the loop
    return policy
