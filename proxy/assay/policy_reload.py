"""Reload of changed policy files while the proxy runs.

Each view's policy file is reloaded on its own. A valid policy replaces the old policy as a whole. An invalid policy is
refused: the old policy stays in force, and a log line and a metric report the refusal. The proxy therefore never runs
without a policy, or with only a part of one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from assay import telemetry
from assay.assembly import PolicyFile, View
from assay.assembly.inputs import utc_now
from assay.caching.background import BackgroundTasks
from assay.errors import ConfigurationError
from assay.file_watch import FileState, FileWatch
from assay.gate.gate import Gate
from assay.operator_files import decode_text
from assay.policy.language.document import load_policy
from assay.policy.language.expiry import find_expiring_waivers
from assay.policy.language.model import Policy
from assay.policy.language.values import KnownNames
from assay.telemetry.metrics import POLICY_REFUSED, POLICY_SINCE
from assay.views import DEFAULT_VIEW

SETTLE_SECONDS = 0.1
"""Seconds for which a changed policy file must stay unchanged before it is loaded. A half-written file may be valid
TOML that lacks the revocations."""
POLLS_PER_REMINDER = 60
"""Number of checks of the file after which a refused policy is reported again."""


class PolicyWatch(FileWatch[Policy]):
    """Watcher of one view's policy file, which reloads the policy when the file changes.

    Args:
        path: the policy file.
        gate: gate of the view.
        state: state of the file for pages and ``/readyz``, which this watcher keeps current.
        known: names that the policy may use for indexes and trust roots; None: any.
        poll_interval_seconds: time between two checks; None: the usual time.
        settle_seconds: time for which a changed file must stay unchanged before it is loaded.
    """

    def __init__(
        self,
        path: Path,
        gate: Gate,
        state: PolicyFile | None = None,
        *,
        known: KnownNames | None = None,
        poll_interval_seconds: float | None = None,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        super().__init__([path], poll_interval_seconds=poll_interval_seconds, settle_seconds=settle_seconds)
        self._path = path
        self._gate = gate
        self._known = known
        self._polls_since_report = 0
        self._log_fields = {"policy": str(path), **_build_view_field(gate)}
        self._state = PolicyFile() if state is None else state

    @property
    def rejection(self) -> str | None:
        """Reason why the file's current contents are refused; None if the current contents are in force."""
        return self._state.rejection

    def request_check(self) -> None:
        """Request an immediate check (SIGHUP), whose result is logged even if the file has not changed."""
        super().request_check()
        self._polls_since_report = POLLS_PER_REMINDER

    async def reload_if_changed(self) -> bool:
        """Check the file once, and load it if it has changed; return True if a different policy is now in force.

        An invalid policy is logged, and no exception is raised.
        """
        try:
            return await super().reload_if_changed()
        except ConfigurationError as error:
            self._on_refused(error)
            return False

    def _load(self, state: FileState) -> Policy:
        (content,) = state.contents
        if isinstance(content, ConfigurationError):
            raise content
        return _parse_policy(content, str(self._path), self._known)

    def _apply(self, policy: Policy) -> bool:
        self._state.rejection = None
        POLICY_REFUSED.labels(self._gate.view).set(0)
        before = self._gate.policy
        if policy == before:
            return False
        # One assignment, so that each judgement, which reads the policy once, uses the old or the new one as a whole.
        self._gate.policy = policy
        self._state.in_force_since = utc_now()
        POLICY_SINCE.labels(self._gate.view).set_to_current_time()
        telemetry.event("policy-reloaded", **self._log_fields, policy_digest=policy.digest, before=before.digest)
        warn_of_expiring_waivers(policy, utc_now(), **_build_view_field(self._gate))
        return True

    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:
        if requested and not has_changed and self.rejection is None:
            telemetry.event("policy-unchanged", **self._log_fields, policy_digest=self._gate.policy.digest)

    def _on_unchanged(self) -> None:
        self._remind_if_due()

    def _on_fault(self, error: Exception) -> None:
        telemetry.failure("policy-watch-failed", error, **self._log_fields)

    def _on_refused(self, error: ConfigurationError) -> None:
        reason = str(error)
        if reason == self.rejection:
            self._remind_if_due()
            return
        self._state.rejection = reason
        POLICY_REFUSED.labels(self._gate.view).set(1)
        self._log_rejection()

    def _remind_if_due(self) -> None:
        self._polls_since_report += 1
        if self.rejection is not None and self._polls_since_report >= POLLS_PER_REMINDER:
            self._log_rejection()

    def _log_rejection(self) -> None:
        self._polls_since_report = 0
        telemetry.warning(
            "policy-invalid", **self._log_fields, in_force=self._gate.policy.digest, error=str(self.rejection)
        )


@asynccontextmanager
async def watch_policies(views: Sequence[View], known: KnownNames | None = None) -> AsyncIterator[None]:
    """Reload each view's policy when its file changes, until the context ends; check all files on SIGHUP.

    A view with the built-in policy has no file to watch.

    Args:
        views: the views of the proxy.
        known: names that a policy may use for indexes and trust roots; None: any.
    """
    watches = [
        PolicyWatch(each.settings.policy, each.gate, each.policy_file, known=known)
        for each in views
        if each.settings.policy is not None
    ]
    built_in = [each.gate for each in views if each.settings.policy is None]

    def check_all() -> None:
        for watch in watches:
            watch.request_check()
        for gate in built_in:
            telemetry.event("policy-unchanged", policy="built-in", **_build_view_field(gate))

    for view in views:
        view.policy_file.in_force_since = utc_now()
        POLICY_SINCE.labels(view.gate.view).set_to_current_time()
        POLICY_REFUSED.labels(view.gate.view).set(0)
        warn_of_expiring_waivers(view.gate.policy, utc_now(), **_build_view_field(view.gate))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, check_all)
    async with BackgroundTasks() as tasks:
        for watch in watches:
            tasks.spawn(watch.run(), name="policy watch")
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)


def warn_of_expiring_waivers(policy: Policy, now: datetime, **view: str) -> None:
    """Log each waiver that has expired or ends soon, so that the operator can act before a build fails.

    The metrics also have the end of each waiver.
    """
    for each in find_expiring_waivers(policy, now):
        telemetry.warning("waiver-expired" if each.is_expired else "waiver-ends-soon", **view, waiver=str(each))


def _build_view_field(gate: Gate) -> dict[str, str]:
    """Return the log field that names the view; an empty dictionary for the default view."""
    return {} if gate.view == DEFAULT_VIEW else {"view": gate.view}


def _parse_policy(content: bytes, source: str, known: KnownNames | None) -> Policy:
    policy = load_policy(decode_text(content, source), source, known)
    policy.digest  # noqa: B018 - a cached property; computing it here keeps the work off the event loop
    return policy
