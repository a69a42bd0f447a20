"""Benchmark of shared storage: a replica with PostgreSQL and S3, and a proxy that shares nothing, alternately."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.load import Rate, fetch
from benchmarks.report import Table, ratios
from benchmarks.warm import Contestant, measured, routed
from tests.scale.engines import SharedEngines
from tests.world.engines.object_storage import HAS_OBJECT_STORAGE, S3Server
from tests.world.engines.postgresql import HAS_POSTGRESQL, PostgresServer

ACCEPT = {"Accept": JSON}
_FIRST_VIEWS = 10
_MAX_COST = 1.1
"""Maximum CPU time of a response from memory, relative to a proxy that shares nothing."""


def run(table: Table, root: Path, *, rounds: int, seconds: int) -> None:
    """Measure both, and add the rows to `table`."""
    if not (HAS_POSTGRESQL and HAS_OBJECT_STORAGE):
        raise SystemExit("PostgreSQL or SeaweedFS is not installed: bash tests/install-engines.sh")
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    tree.page_of("hundred", 100)
    for number in range(_FIRST_VIEWS):
        tree.page_of(f"view-{number}", 100)
    small = tree.file("small", "1.0", 100_000)
    tree.write()
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(root / "nginx", tree.root, port))
        postgres, s3 = stack.enter_context(PostgresServer(durable=True)), stack.enter_context(S3Server())
        engines = SharedEngines.create(postgres, s3, root)
        shared = [
            stack.enter_context(
                servers.assay(
                    root / f"replica-{number}", upstream, settings=engines.configure("", []), environ=engines.environ
                )
            )
            for number in range(2)
        ]
        alone = stack.enter_context(servers.assay(root / "alone", upstream))
        for what, path, headers in (
            ("hot page, 100 files", "/simple/hundred/", ACCEPT),
            ("warm file, 100 KB", routed(upstream, small), {}),
        ):
            both = {
                name: Contestant(server, f"{server.origin}{path}", headers)
                for name, server in (("assay", shared[0]), ("base", alone))
            }
            for each in both.values():
                for _ in range(3):
                    fetch(each.url, headers)
            _tell(table, what, measured(both, rounds, seconds))
        first, second = ([_view(server, number) for number in range(_FIRST_VIEWS)] for server in shared)
        table.add("first view of a page, after that of another replica: share of its time", ratios(second, first))
        table.add("memory: share of a proxy that shares nothing", [shared[0].pss() / alone.pss()])


def _view(server: servers.Server, number: int) -> float:
    """Return the seconds of the first view of a page."""
    started = time.perf_counter()
    fetch(f"{server.origin}/simple/view-{number}/", ACCEPT)
    return time.perf_counter() - started


def _tell(table: Table, what: str, rates: dict[str, list[Rate]]) -> None:
    costs = {name: [rate.cpu for rate in each] for name, each in rates.items()}
    note = f"{sum(costs['assay']) / len(costs['assay']) * 1e6:.0f} µs per response"
    what = f"{what}: CPU time relative to a proxy that shares nothing"
    table.add(what, ratios(costs["assay"], costs["base"]), most=_MAX_COST, note=note)
