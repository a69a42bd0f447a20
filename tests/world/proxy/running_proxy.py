"""The proxy under test, in process and on loopback, in front of a test index.

::

    async with Index() as index, running(index, tmp_path, policy=POLICY, sigstore=sigstore) as proxy:
        async with proxy.get("/simple/foo/") as response: …
        proxy.url                     # "http://127.0.0.1:PORT/simple/" for pip and uv
        proxy.files_path(listed)      # "/files/127.0.0.1:PORT/packages/…/foo-1.0-py3-none-any.whl"
        proxy.clock.now += timedelta(days=1)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from assay.assembly import Assembly, Tuning, assemble
from assay.config import Configuration
from assay.gate.gate import Gate, GateSettings
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
from assay.web.server.server import ServerTimeouts, run_server
from tests.world.index.fake_index import Index, ListedFile
from tests.world.sigstore.private_sigstore import PrivateSigstore

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
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class ManualClock:
    """A clock that the test moves."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class ReadResponse:
    """A response that has been read."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningProxy:
    """A proxy that listens."""

    origin: str
    assembly: Assembly
    clock: ManualClock
    session: aiohttp.ClientSession
    readiness: Readiness = field(default_factory=lambda: Readiness({}))

    @property
    def url(self) -> str:
        return f"{self.origin}/simple/"

    def at_path(self, path: str) -> RunningProxy:
        """The same proxy, asked for what stands below `path`: a view's."""
        return replace(self, origin=f"{self.origin}{path.rstrip('/')}")

    def get_gate(self, view: str) -> Gate:
        """Of a view, by its name."""
        return next(each.gate for each in self.assembly.views if each.gate.view == view)

    @asynccontextmanager
    async def open(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response while it streams; the path goes out as it is, never normalised."""
        target = URL(f"{self.origin}{path}", encoded=True)
        async with self.session.request(method, target, headers=headers, allow_redirects=False) as response:
            yield response

    async def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        async with self.open(method, path, headers) as response:
            return ReadResponse(response.status, response.reason or "", response.headers, await response.read())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        return await self.request("GET", path, headers)

    async def head(self, path: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        return await self.request("HEAD", path, headers)

    async def wait_until_stored(self, listed: ListedFile) -> None:
        """Wait until the blob is in its place: the answer does not wait for fsync, and the store tells nobody."""
        digest = Sha256(listed.built.sha256)
        while (blob := await self.assembly.store.blobs.open(digest)) is None:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        await blob.close()

    async def fetch_page(self, project: str) -> Any:
        """The project's JSON page."""
        answer = await self.get(f"/simple/{project}/", {"Accept": SIMPLE_JSON})
        assert answer.status == 200, (answer.status, answer.reason, answer.body)
        return answer.json()

    async def fetch_listed(self, project: str) -> set[str]:
        """The filenames that the JSON page lists."""
        return {entry["filename"] for entry in (await self.fetch_page(project))["files"]}

    async def fetch_withheld(self, project: str) -> dict[str, list[str]]:
        """Reason codes by filename, as the page gives them."""
        page = await self.fetch_page(project)
        return {
            entry["filename"]: [reason["code"] for reason in entry["reasons"]] for entry in page.get("_withheld", [])
        }

    @staticmethod
    def files_path(listed: ListedFile) -> str:
        return f"/files/{listed.url.partition('://')[2]}"

    @staticmethod
    def provenance_path(listed: ListedFile) -> str:
        return listed.provenance_path


def make_configuration(
    index: Index, directory: Path, sigstore: PrivateSigstore | None = None, **tables: Any
) -> Configuration:
    """A configuration for one test index; `tables` are laid over it."""
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
"""As many tries as ever, and a moment between them; tests/unit/upstream has how long the real pauses are."""


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
    """A proxy in front of `index`, its storage under `directory`; `policies` are those of further views.

    `tuning` is as given, but for how long a request waits (`patience`) and the pauses between tries.
    """
    clock = clock or ManualClock()
    tuned = replace(tuning or Tuning(), gate=GateSettings(page_timeout=patience), retries=SHORT_PAUSES)
    chosen = configuration or make_configuration(index, directory / "assay", sigstore)
    judged_by = {
        name: load_policy(each, f"{name}.toml") if isinstance(each, str) else each
        for name, each in {"default": policy, **(policies or {})}.items()
    }
    async with (
        open_authenticator(chosen.server) as access,
        open_audit_trail(chosen.audit, clock) as trail,
        assemble(chosen, judged_by, environ=environ or {}, clock=clock, tuning=tuned) as assembly,
        measure_loop_delay(),
    ):
        handler, ready = create_app(assembly, chosen, clock=clock, audit_trail=trail, authenticator=access)
        async with (
            run_server(handler, ready, chosen.server, timeouts=timeouts) as (host, port),
            aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Accept-Encoding",)) as session,
        ):
            yield RunningProxy(
                f"{'https' if chosen.server.tls else 'http'}://{host}:{port}", assembly, clock, session, ready
            )


async def fetch_body_or_none(proxy: RunningProxy, path: str) -> bytes | None:
    """A completed response's body; None where it was cut or refused."""
    try:
        answer = await proxy.get(path)
    except (aiohttp.ClientError, ConnectionError):
        return None
    return answer.body if answer.status == 200 else None


def forget_retry_after(proxy: RunningProxy) -> None:
    """As if the time for which indexes asked to be left alone had passed."""
    upstream = proxy.assembly.gate.resources.pages.cache._upstream
    assert isinstance(upstream, UpstreamClient)
    upstream._backoff._held_until.clear()


async def wait_for_refreshes(proxy: RunningProxy) -> None:
    """Until no page is being worked out in the background."""
    flights = (proxy.assembly.gate._refreshes, proxy.assembly.gate.resources.pages.cache._requests)
    while any(flights):
        for each in flights:
            await each.wait_until_idle()
