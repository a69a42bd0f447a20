"""Benchmark of the process itself: time until it is ready, and memory while it is idle."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.load import fetch
from benchmarks.report import Table


def run(table: Table, root: Path, *, rounds: int) -> None:
    """Measure start and idle memory, with two verification workers and without, and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    tree.page_of("hundred", 100)
    tree.write()
    with servers.nginx(root / "nginx", tree.root, port) as upstream:
        starts, idle = [], []
        for number in range(rounds):
            started = time.perf_counter()
            with servers.assay(root / f"alone{number}", upstream, ready="/readyz") as assay:
                starts.append(time.perf_counter() - started)
                settle(assay)
                idle.append(assay.pss())
        table.add("start to ready", starts, unit=" s", most=1.5)
        table.add("idle memory (PSS), workers = 0", idle, unit=" MB", most=85)
        with_workers = []
        for number in range(rounds):
            with servers.assay(root / f"workers{number}", upstream, workers=2) as assay:
                settle(assay)
                with_workers.append(assay.pss())
        table.add("idle memory (PSS), two workers started", with_workers, unit=" MB", most=130)


def settle(assay: servers.Server) -> None:
    """Fetch a page and wait until the workers are ready."""
    fetch(f"{assay.origin}/simple/hundred/", {"Accept": JSON})
    time.sleep(3)
