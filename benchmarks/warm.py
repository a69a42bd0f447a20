"""Benchmark of warm pages and files: Assay, nginx (the limit), a bare aiohttp server, and peers, alternately."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.load import Rate, fetch, wrk
from benchmarks.peers import Peer
from benchmarks.report import Table, ratios

ACCEPT = {"Accept": JSON}
SMALL, BIG = 100_000, 200_000_000
TRANSFERS = 5
"""Number of transfers of a large file in `big_rate`."""


@dataclass(frozen=True)
class Contestant:
    """Server under test, with its URL and the request headers."""

    server: servers.Server
    url: str
    headers: Mapping[str, str]
    may_fail: bool = False
    """True for a server that is not this project's: its failed responses do not end the run."""


def run(table: Table, root: Path, *, rounds: int, seconds: int, peers: list[Peer]) -> None:
    """Measure all servers and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    tree.page_of("hundred", 100)
    tree.page_of("many", 1500)
    small, big = tree.file("small", "1.0", SMALL), tree.file("big", "1.0", BIG)
    tree.write()
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(root / "nginx", tree.root, port))
        assay = stack.enter_context(servers.assay(root / "assay", upstream))
        for project in ("hundred", "many"):
            freeze(assay, tree.root, project)
        bare = stack.enter_context(servers.bare(root / "bare", tree.root / "simple"))
        others = [peer.started(stack, root / peer.name, upstream) for peer in peers]

        def in_turns(path: str, limit: str, plain: str | None, headers: Mapping[str, str]) -> dict[str, list[Rate]]:
            contestants = {
                "nginx": Contestant(upstream, f"{upstream.origin}{limit}", headers),
                "assay": Contestant(assay, f"{assay.origin}{path}", headers),
            }
            if plain is not None:
                contestants["bare"] = Contestant(bare, f"{bare.origin}{plain}", headers)
            for other in others:
                if (url := other.url(path)) is not None:
                    contestants[other.name] = Contestant(other.server, url, headers, may_fail=True)
            return measured(contestants, rounds, seconds)

        page = in_turns("/simple/hundred/", "/simple/limit-hundred/", "/limit-hundred/index.json", ACCEPT)
        _tell(table, "warm page, 100 files", page, nginx=0.25, bare=0.8, p99=5.0)
        page = in_turns("/simple/many/", "/simple/limit-many/", "/limit-many/index.json", ACCEPT)
        _tell(table, "warm page, 1,500 files", page, nginx=0.7)
        _unmodified(table, upstream, assay, rounds, seconds)
        path = routed(upstream, small)
        for _ in range(3):
            fetch(f"{assay.origin}{path}")
        _tell(table, "warm file, 100 KB", in_turns(path, small, None, {}), nginx=0.3)
        _big(table, upstream, assay, big, rounds, tree=tree.root, storage=root / "assay" / "storage")


def routed(upstream: servers.Server, path: str) -> str:
    return f"/files/127.0.0.1:{upstream.port}{path}"


def freeze(assay: servers.Server, tree: Path, project: str) -> None:
    """Write Assay's response as a file for nginx and the bare server, so that they send the same bytes."""
    answer = fetch(f"{assay.origin}/simple/{project}/", ACCEPT, keep=True)
    if answer.status != 200:
        raise SystemExit(f"Assay answers {answer.status} for {project}: {answer.body[:500]!r}")
    path = tree / "simple" / f"limit-{project}" / "index.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(answer.body)


def measured(contestants: Mapping[str, Contestant], rounds: int, seconds: int) -> dict[str, list[Rate]]:
    found: dict[str, list[Rate]] = {name: [] for name in contestants}
    for each in contestants.values():
        fetch(each.url, each.headers)
    for number in range(rounds):
        # In alternating order, so that no server always follows the same one.
        for name in list(contestants) if number % 2 == 0 else list(contestants)[::-1]:
            each = contestants[name]
            before = each.server.cpu()
            rate = wrk(each.url, each.headers, seconds=seconds)
            if rate.failed and not each.may_fail:
                raise SystemExit(f"{name}: {rate.failed} answers failed")
            found[name].append(rate.with_cpu(each.server.cpu() - before))
    return found


def _tell(
    table: Table,
    what: str,
    rates: Mapping[str, list[Rate]],
    *,
    nginx: float,
    bare: float | None = None,
    p99: float | None = None,
) -> None:
    speeds = {name: [rate.per_second for rate in each] for name, each in rates.items()}
    rate = sum(speeds["assay"]) / len(speeds["assay"])
    table.add(f"{what}: share of nginx", ratios(speeds["assay"], speeds["nginx"]), least=nginx, note=f"{rate:,.0f}/s")
    if "bare" in speeds:
        table.add(f"{what}: share of bare aiohttp", ratios(speeds["assay"], speeds["bare"]), least=bare)
        costs = {name: [each.cpu for each in rates[name]] for name in ("assay", "bare")}
        note = f"{sum(costs['assay']) / len(costs['assay']) * 1e6:.0f} µs per response"
        table.add(f"{what}: bare's CPU time as a share of Assay's", ratios(costs["bare"], costs["assay"]), note=note)
    if p99 is not None:
        delays = {name: [each.p99 for each in rates[name]] for name in ("assay", "nginx")}
        table.add(f"{what}: p99 relative to nginx", ratios(delays["assay"], delays["nginx"]), most=p99)
    for name in [name for name in speeds if name not in {"assay", "nginx", "bare"}]:
        table.add(f"{what}: share of nginx, {name}", ratios(speeds[name], speeds["nginx"]))


def _unmodified(table: Table, upstream: servers.Server, assay: servers.Server, rounds: int, seconds: int) -> None:
    contestants = {}
    for name, server, path in (("nginx", upstream, "/simple/limit-hundred/"), ("assay", assay, "/simple/hundred/")):
        url = f"{server.origin}{path}"
        etag = {key.lower(): value for key, value in fetch(url, ACCEPT).headers.items()}["etag"]
        contestants[name] = Contestant(server, url, {**ACCEPT, "If-None-Match": etag})
    rates = measured(contestants, rounds, seconds)
    speeds = {name: [rate.per_second for rate in each] for name, each in rates.items()}
    note = f"{sum(speeds['assay']) / rounds:,.0f}/s"
    table.add("warm page answered 304: share of nginx", ratios(speeds["assay"], speeds["nginx"]), least=0.2, note=note)


def _big(
    table: Table, upstream: servers.Server, assay: servers.Server, big: str, rounds: int, *, tree: Path, storage: Path
) -> None:
    fetch(f"{assay.origin}{routed(upstream, big)}")
    # Both send the same copy: the position of a copy in memory changes the speed of reading it by up to 14 %.
    stored = next(path for path in storage.rglob("*") if path.is_file() and path.stat().st_size == BIG)
    limit = tree / "limit.whl"
    limit.symlink_to(stored)
    ours, theirs = [], []
    for _ in range(rounds * 2):
        theirs.append(big_rate(f"{upstream.origin}/{limit.name}"))
        ours.append(big_rate(f"{assay.origin}{routed(upstream, big)}"))
    note = f"{sum(ours) / len(ours) / 1e6:,.0f} MB/s"
    table.add("warm file, 200 MB: share of nginx", ratios(ours, theirs), least=0.95, note=note)


def big_rate(url: str, headers: Mapping[str, str] | None = None) -> float:
    """Return the rate in bytes per second over several transfers, because one takes only 60 ms."""
    return BIG / statistics.mean(fetch(url, headers).total for _ in range(TRANSFERS))
