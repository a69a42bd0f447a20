"""Replicas in the process of the test behind nginx, with a clock that the test sets.

`run_test_replicas` takes the place of `run_test_proxy`, so that tests of one proxy run with several replicas.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from assay.config import Configuration
from tests.scale.load_balancer import LoadBalancer
from tests.scale.replicas import ADDRESSES, ReplicaStorage
from tests.world.engines.processes import get_free_port
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import (
    ManualClock,
    RunningProxy,
    forget_retry_after,
    make_configuration,
    run_test_proxy,
)
from tests.world.sigstore.private_sigstore import PrivateSigstore


@dataclass
class ReplicatedProxy(RunningProxy):
    """Client of nginx, with the parts of the first replica."""

    replicas: list[RunningProxy] = field(default_factory=list)

    def forget_retry_after(self) -> None:
        """End the pauses that indexes requested with Retry-After."""
        for replica in self.replicas:
            forget_retry_after(replica)


@asynccontextmanager
async def run_test_replicas(
    index: Index,
    directory: Path,
    *,
    storage: ReplicaStorage,
    replicas: int = 3,
    sigstore: PrivateSigstore | None = None,
    clock: ManualClock | None = None,
    configuration: Configuration | None = None,
    **arguments: Any,
) -> AsyncIterator[ReplicatedProxy]:
    """Run replicas with shared storage behind nginx; the other arguments are those of `run_test_proxy`."""
    clock = clock or ManualClock()
    peer_port = get_free_port(*ADDRESSES)
    peers = [f"{address}:{peer_port}" for address in ADDRESSES]
    async with AsyncExitStack() as stack:
        variables = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in storage.environ.items():
            variables.setenv(name, value)  # the client of object storage reads them from the process
        running: list[RunningProxy] = []
        for number in range(replicas):
            shared = tomllib.loads(storage.configure(peers[number], peers)).get("storage", {})
            local = {"directory": str(directory / f"replica-{number}" / "assay"), **shared}
            made = make_configuration(index, directory / "assay", sigstore, storage=local)
            server = made.server.model_copy(update={"port": 0})
            if configuration is not None:
                made = configuration.model_copy(update={"storage": made.storage})
                server = configuration.server
            made = made.model_copy(update={"server": server.model_copy(update={"host": ADDRESSES[number]})})
            proxy = run_test_proxy(
                index, directory, clock=clock, configuration=made, environ=storage.environ, **arguments
            )
            running.append(await stack.enter_async_context(proxy))
        addresses = [replica.origin.removeprefix("http://") for replica in running]
        balancer = LoadBalancer(directory / "nginx", addresses)
        await asyncio.to_thread(balancer.__enter__)
        stack.push(balancer.__exit__)
        first = running[0]
        yield ReplicatedProxy(balancer.origin, first.session, first.assembly, clock, first.readiness, running)
