"""Obeying a changed policy file while running: a good policy at once, a bad one never.

Owns the watch over one view's file, which concerns no other view. Its bytes are read each second, off the loop, by its
name, so that a new file, an edited one and a swapped symbolic link (Kubernetes' ConfigMap) are all seen; a watcher on
the file itself missed two of three such swaps (docs/adr/0012-poll-changed-files.md). What cannot be a policy is refused
loudly and the old one stays: a proxy never runs without, and never by a part of one.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from assay import telemetry
from assay.assembly import View, utc_now
from assay.errors import ConfigurationError
from assay.gate.gate import Gate
from assay.operator_files import decode_text, read_file
from assay.policy.language.document import load_policy
from assay.policy.language.expiry import find_expiring_waivers
from assay.policy.language.model import Policy
from assay.telemetry.metrics import POLICY_REFUSED, POLICY_SINCE
from assay.views import DEFAULT_VIEW

POLL_INTERVAL_SECONDS = 1.0
"""Seconds between two looks."""
SETTLE_SECONDS = 0.1
"""Seconds for which a changed file must stay as it is: half of a policy may be TOML too, without its revocations."""
POLLS_PER_REMINDER = 60
"""Looks after which a refused policy is told again, for as long as it stands there."""


class PolicyWatch:
    """Looks at the policy file and hands what is good to the gate.

    Attributes:
        refused: why the file as it stands is not obeyed; None where it is.
    """

    def __init__(
        self,
        path: Path,
        gate: Gate,
        *,
        poll_interval_seconds: float = POLL_INTERVAL_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._path = path
        self._gate = gate
        self._poll_interval = poll_interval_seconds
        self._settle_delay = settle_seconds
        self._last_digest: bytes | None = None
        self._check_requested = asyncio.Event()
        self._polls_since_report = 0
        self._log_fields = {"policy": str(path), **_build_view_field(gate)}
        self.rejection: str | None = None

    def request_check(self) -> None:
        """Look now, and say what is found even if nothing changed (SIGHUP)."""
        self._last_digest, self._polls_since_report = None, POLLS_PER_REMINDER
        self._check_requested.set()

    async def run(self) -> None:
        """Look for ever. A fault of our own is logged, and the watch goes on."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._check_requested.wait(), self._poll_interval)
            asked = self._check_requested.is_set()
            self._check_requested.clear()
            try:
                if not await self.reload_if_changed() and asked and self.rejection is None:
                    telemetry.event("policy-kept", **self._log_fields, policy_digest=self._gate.policy.digest)
            except Exception as error:  # noqa: BLE001 - without the watch, a revocation would never arrive
                telemetry.failure("policy-watch-failed", error, **self._log_fields)

    async def reload_if_changed(self) -> bool:
        """Read the file once; whether another policy is in force now."""
        try:
            content = await asyncio.to_thread(read_file, self._path)
            digest = hashlib.sha256(content).digest()
            if digest == self._last_digest:
                self._remind_if_due()
                return False
            await asyncio.sleep(self._settle_delay)
            if content != await asyncio.to_thread(read_file, self._path):
                return False  # still being written: a later look sees it finished
            self._last_digest = digest
            return self._apply(await asyncio.to_thread(_parse_policy, content, str(self._path)))
        except ConfigurationError as error:
            self._reject(str(error))
            return False

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

    def _reject(self, reason: str) -> None:
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
    watching = [asyncio.create_task(watch.run(), name="policy watch") for watch in watches]
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


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
