"""Proxy under test, in process and on loopback, in front of a test index.

::

    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        response = await proxy.get("/simple/foo/")
        proxy.url                     # "http://127.0.0.1:PORT/simple/" for pip and uv
        proxy.files_path(listed)      # "/files/127.0.0.1:PORT/packages/…/foo-1.0-py3-none-any.whl"
        proxy.clock.now += timedelta(days=1)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from assay.assembly import Assembly, Tuning, assemble
from assay.config import Configuration
from assay.gate.gate import Gate, GateSettings
from assay.gate.ledger_watch import watch_ledger
from assay.policy.language.document import BUILT_IN_POLICY, load_policy
from assay.policy.language.model import Policy
from assay.simple.model import Sha256
from assay.telemetry.audit_trail import open_audit_trail
from assay.telemetry.metrics import measure_loop_delay
from assay.upstream.client import UpstreamClient
from assay.upstream.pacing import RetryPacing
from assay.web.app import create_app
from assay.web.auth import open_authenticator
from assay.web.health import Readiness
from assay.web.server.connection_server import ServerTimeouts
from assay.web.server.server import run_server
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.proxy_client import SIMPLE_JSON, ProxyClient, ReadResponse
from tests.world.sigstore.private_sigstore import PrivateSigstore

__all__ = [
    "ATTESTED_ONLY_POLICY",
    "NOW",
    "SHORT_PAUSES",
    "SIMPLE_JSON",
    "ManualClock",
    "ReadResponse",
    "RunningProxy",
    "fetch_body_or_none",
    "forget_retry_after",
    "make_configuration",
    "retry_documents",
    "run_test_proxy",
    "wait_for_refreshes",
]

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
ATTESTED_ONLY_POLICY = """
version = 1
[defaults]
min-age = "0 days"
[[rules]]
name = "attested"
projects = ["*"]
attestations = "required"
publishers = "any"
"""


@dataclass
class ManualClock:
    """Clock that the test sets."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class RunningProxy(ProxyClient):
    """Listening proxy with a client session."""

    assembly: Assembly
    clock: ManualClock
    readiness: Readiness = field(default_factory=lambda: Readiness({}))

    def at_path(self, path: str) -> RunningProxy:
        """Return the same proxy with requests below `path`, the path of a view."""
        return replace(self, origin=f"{self.origin}{path.rstrip('/')}")

    def get_gate(self, view: str) -> Gate:
        """Return the gate of a view by the view's name."""
        return next(each.gate for each in self.assembly.views if each.gate.view == view)

    async def wait_until_stored(self, listed: ListedFile) -> None:
        """Wait until the blob is stored: the response does not wait for fsync, and the store reports no event."""
        digest = Sha256(listed.built.sha256)
        while (blob := await self.assembly.store.blobs.open(digest)) is None:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        await blob.close()


def make_configuration(
    index: Index, directory: Path, sigstore: PrivateSigstore | None = None, **tables: Any
) -> Configuration:
    """Return a configuration for one test index; `tables` replace its tables."""
    root: dict[str, Any] = {}
    if sigstore is not None:
        path = directory.parent / f"{directory.name}-trusted-root.json"
        path.write_bytes(sigstore.trusted_root())
        root = {"root": str(path)}
    return Configuration.model_validate(
        {
            "server": {"port": 0},
            "storage": {"directory": str(directory)},
            "trust": {**root, "refresh": False},
            "verification": {"workers": 0},
            "indexes": [{"name": "test", "url": index.url, "file-hosts": [index.files_host]}],
            **tables,
        }
    )


SHORT_PAUSES = RetryPacing(min_delay_seconds=0.01)
"""Usual number of retries with short pauses; tests/unit/upstream tests the real pauses."""


@asynccontextmanager
async def run_test_proxy(
    index: Index,
    directory: Path,
    *,
    policy: Policy | str = BUILT_IN_POLICY,
    policies: Mapping[str, Policy | str] | None = None,
    sigstore: PrivateSigstore | None = None,
    clock: ManualClock | None = None,
    patience: timedelta = timedelta(seconds=10),
    configuration: Configuration | None = None,
    environ: Mapping[str, str] | None = None,
    tuning: Tuning | None = None,
    timeouts: ServerTimeouts | None = None,
) -> AsyncIterator[RunningProxy]:
    """Run a proxy in front of `index` with its storage under `directory`; `policies` has those of further views.

    The page timeout (`patience`) and the pauses between retries replace those of `tuning`.
    """
    clock = clock or ManualClock()
    gate = GateSettings(page_timeout=patience, evidence_timeout=min(patience / 2, timedelta(seconds=5)))
    tuned = replace(tuning or Tuning(), gate=gate, retries=SHORT_PAUSES)
    chosen = configuration or make_configuration(index, directory / "assay", sigstore)
    judged_by = {
        name: load_policy(each, f"{name}.toml") if isinstance(each, str) else each
        for name, each in {"default": policy, **(policies or {})}.items()
    }
    async with (
        open_authenticator(chosen.server) as access,
        open_audit_trail(chosen.audit, clock) as trail,
        assemble(chosen, judged_by, environ=environ or {}, clock=clock, tuning=tuned) as assembly,
        watch_ledger(assembly.store, trail),
        measure_loop_delay(),
    ):
        handler, ready = create_app(assembly, chosen, clock=clock, audit_trail=trail, authenticator=access)
        async with (
            run_server(handler, ready, chosen.server, timeouts=timeouts) as (host, port),
            aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Accept-Encoding",)) as session,
        ):
            scheme = "https" if chosen.server.tls else "http"
            yield RunningProxy(f"{scheme}://{host}:{port}", session, assembly, clock, ready)


async def fetch_body_or_none(proxy: RunningProxy, path: str) -> bytes | None:
    """Return the body of a complete response with status 200; None if it was cut or refused."""
    try:
        answer = await proxy.get(path)
    except (aiohttp.ClientError, ConnectionError):
        return None
    return answer.body if answer.status == 200 else None


def forget_retry_after(proxy: RunningProxy) -> None:
    """End the pauses that indexes requested with Retry-After."""
    upstream = proxy.assembly.gate.resources.pages.cache._upstream
    assert isinstance(upstream, UpstreamClient)
    upstream._backoff._held_until.clear()


async def retry_documents(proxy: RunningProxy, project: str) -> None:
    """Let an hour pass, after which each failed document is due, and wait for the next tries."""
    forget_retry_after(proxy)
    proxy.clock.now += timedelta(hours=1, seconds=1)
    await proxy.get(f"/simple/{project}/")
    await proxy.assembly.gate.resources.provenance.wait_until_idle()


async def wait_for_refreshes(proxy: RunningProxy) -> None:
    """Wait until no page is refreshed in the background."""
    flights = (proxy.assembly.gate._refreshes, proxy.assembly.gate.resources.pages.cache._requests)
    while any(flights):
        for each in flights:
            await each.wait_until_idle()
