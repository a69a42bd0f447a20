"""Replicas of Assay as processes, each with its own address and local directory, behind nginx.

::

    async with Index() as index, run_cluster(index, tmp_path, storage) as cluster:
        await cluster.get(path)                # by nginx, from any replica
        await cluster.replicas[0].get(path)    # from one replica
        await cluster.replicas[0].kill()       # kill -9; then `start`, with or without `wipe`

`storage` says where the replicas keep what they share: `LOCAL` (nothing is shared), or the engines of
`tests.scale.engines`. The replicas use the real clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.scale.load_balancer import LoadBalancer
from tests.world.engines.processes import get_free_port
from tests.world.index.fake_index import Index
from tests.world.proxy.proxy_client import ProxyClient
from tests.world.sigstore.private_sigstore import PrivateSigstore

START_SECONDS = 60
"""Limit on the time in which a replica must listen; it starts in about a second."""
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
"""Addresses of the replicas, which all use the same ports. The fourth replica is not behind nginx."""
OPEN_POLICY = 'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\nratchet = "off"\n'


class ReplicaStorage(Protocol):
    """Configuration and environment of the storage of a replica."""

    def configure(self, address: str, peers: Sequence[str]) -> str:
        """Return TOML for the replica whose peer listener is at `address`; `peers` has the addresses of all."""
        ...

    @property
    def environ(self) -> Mapping[str, str]: ...


class _LocalStorage:
    """No shared storage: each replica is on its own."""

    environ: Mapping[str, str] = {}

    def configure(self, address: str, peers: Sequence[str]) -> str:  # noqa: ARG002 - the protocol's signature
        return ""


LOCAL = _LocalStorage()


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Settings of all replicas of a cluster."""

    replicas: int = 3
    policy: str = OPEN_POLICY
    freshness: str = "10 minutes"
    blobs: str = "4 GiB"
    more: str = ""
    """TOML that is added to the configuration."""


@dataclass
class Replica(ProxyClient):
    """One replica: a process that can be killed and started again with the same address and directory.

    Attributes:
        log: log events of all its processes.
        program: command that runs Assay, without its arguments.
        search_path: directory from which Assay is imported instead of the checkout; None for the checkout.
    """

    directory: Path
    environ: Mapping[str, str]
    log: list[dict[str, Any]] = field(default_factory=list)
    search_path: Path | None = None
    process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        await self.stop()
        chosen = {} if self.search_path is None else {"PYTHONPATH": str(self.search_path)}
        command = [sys.executable, "-m", "assay", "serve", "--config", str(self.directory / "proxy.toml")]
        self.process = await asyncio.create_subprocess_exec(
            *command,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory), **self.environ, **chosen},
            cwd=self.directory,
        )
        listens = asyncio.Event()
        self._reading = asyncio.create_task(self._read_log(self.process, listens))
        async with asyncio.timeout(START_SECONDS):
            await listens.wait()
        assert self.is_running, f"a replica ended at its start: {self.log[-5:]}"

    async def _read_log(self, process: asyncio.subprocess.Process, listens: asyncio.Event) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": line.decode(errors="replace")}
            self.log.append(event)
            if event.get("event") == "listening":
                listens.set()
        await process.wait()
        listens.set()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; SIGSTOP leaves its connections open."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def kill(self) -> None:
        """End the process with SIGKILL. Idempotent."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End the process with SIGTERM, and return its exit status; 0 if it is not running."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        status = await asyncio.wait_for(process.wait(), START_SECONDS)
        if self._reading is not None:
            await self._reading
        return status

    def wipe(self) -> None:
        """Remove everything that the replica has stored in its own directory."""
        assert not self.is_running
        shutil.rmtree(self.directory / "storage", ignore_errors=True)

    def list_events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events with a name."""
        return [event for event in self.log if event.get("event") == name]

    def read_memory(self, key: str) -> int:
        """Return ``VmRSS`` or ``VmHWM`` in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        line = next(line for line in status.splitlines() if line.startswith(key))
        return int(line.split()[1]) * 1024

    async def read_metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric that have the labels, or 0 without such a sample."""
        answer = await self.get("/metrics")
        assert answer.status == 200
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@dataclass
class Cluster(ProxyClient):
    """Replicas behind nginx; its own requests go to nginx."""

    replicas: list[Replica]
    spare: Replica
    """Further replica, which is not behind nginx and not started."""
    peers: list[str]
    """Addresses at which the replicas listen for each other; the last one is that of `spare`."""

    async def sum_metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the running replicas."""
        running = [replica for replica in (*self.replicas, self.spare) if replica.is_running]
        return sum([await replica.read_metric(name, **labels) for replica in running])

    def list_events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events with a name of all replicas."""
        return [event for replica in (*self.replicas, self.spare) for event in replica.list_events(name)]

    async def restart(self, *, wiped: bool) -> None:
        """Kill all replicas and start them again, with or without their own directories."""
        for replica in self.replicas:
            await replica.kill()
            if wiped:
                replica.wipe()
        await asyncio.gather(*(replica.start() for replica in self.replicas))


def _write_configuration(
    directory: Path, index: Index, settings: ClusterSettings, *, server: str, root: Path | None, storage: str
) -> None:
    directory.mkdir(parents=True)
    (directory / "policy.toml").write_text(settings.policy, "utf-8")
    trust = "" if root is None else f'root = "{root}"\n'
    lines = [
        'policy = "policy.toml"',
        f'[server]\n{server}\ntrusted-proxies = ["127.0.0.0/8"]',
        f'[storage]\ndirectory = "{directory / "storage"}"\nblobs = "{settings.blobs}"',
        storage,
        f"[trust]\n{trust}refresh = false",
        "[verification]\nworkers = 0",
        f'[freshness]\npage = "{settings.freshness}"',
        f'[[indexes]]\nname = "test"\nurl = "{index.url}"\nfile-hosts = ["{index.files_host}"]',
        settings.more,
    ]
    (directory / "proxy.toml").write_text("\n".join(lines) + "\n", "utf-8")


@asynccontextmanager
async def run_cluster(
    index: Index,
    directory: Path,
    storage: ReplicaStorage = LOCAL,
    *,
    sigstore: PrivateSigstore | None = None,
    settings: ClusterSettings = ClusterSettings(),
) -> AsyncIterator[Cluster]:
    """Run replicas behind nginx, and yield them once they listen.

    Args:
        index: test index of all replicas.
        directory: directory of the replicas' own directories.
        storage: shared storage.
        sigstore: Sigstore whose root the replicas trust; None for the bundled one.
        settings: settings of all replicas.
    """
    root = None
    if sigstore is not None:
        root = directory / "trusted-root.json"
        root.write_bytes(sigstore.trusted_root())
    port, peer_port = get_free_port(*ADDRESSES), get_free_port(*ADDRESSES)
    peers = [f"{address}:{peer_port}" for address in ADDRESSES]
    balancer = LoadBalancer(directory / "nginx", [f"{address}:{port}" for address in ADDRESSES[: settings.replicas]])
    async with AsyncExitStack() as stack:
        # The tests count requests and kill servers, so that a client must not wait for a free connection.
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector, auto_decompress=False, skip_auto_headers=("Accept-Encoding",), read_bufsize=2**18
            )
        )
        made = []
        for number, address in enumerate([*ADDRESSES[: settings.replicas], ADDRESSES[3]]):
            own = directory / f"replica-{number + 1}"
            shared = storage.configure(f"{address}:{peer_port}", peers)
            server = f'host = "{address}"\nport = {port}\npublic-url = "{balancer.origin}/"'
            _write_configuration(own, index, settings, server=server, root=root, storage=shared)
            replica = Replica(f"http://{address}:{port}", session, own, storage.environ)
            stack.push_async_callback(replica.kill)
            made.append(replica)
        *replicas, spare = made
        await asyncio.gather(*(replica.start() for replica in replicas))
        stack.enter_context(balancer)
        yield Cluster(balancer.origin, session, replicas, spare, peers)
