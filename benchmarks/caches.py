"""Benchmark of Assay beside other caching proxies that are not written in Python, in front of the same index.

A row compares Assay with one of them: the rate or the time of a process with all its threads ("per process"), and the
CPU time for the same work ("per core"). A ratio above 1 means that Assay is better, except for memory and for the
additional time to the first byte. nginx with `proxy_cache` is what people use for plain caching: it verifies nothing,
and has pages only as the index sends them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks import cold, servers
from benchmarks.content import Tree
from benchmarks.load import fetch_ok
from benchmarks.peers import NGINX, PERYX, Peer, Running
from benchmarks.report import Table, ratios
from benchmarks.warm import BIG, SMALL, TRANSFERS, Contestant, measured, routed

PIP = {
    "Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
}
"""Header with which pip requests pages since 22.2."""
OLD_PIP = {"Accept": "text/html"}
"""Header with which pip requested pages before 22.2."""
PROJECTS = ("hundred", "many", "small", "big", "cold", "crowd")
CROWDED, CLIENTS = 50_000_000, 16
"""Size in bytes of a cold file that several clients request at the same time, and their number."""
AHEAD = {PERYX.name: 1.0}
"""Minimum ratio of speed and CPU time, and maximum ratio of memory, to each peer: 1 means that Assay is ahead of it."""


@dataclass(frozen=True)
class Transfer:
    """Transfer of a file: seconds to the first and to the last byte, and CPU seconds of the server."""

    first: float
    total: float
    cpu: float


def run(table: Table, root: Path, *, rounds: int, seconds: int, peers: Sequence[Peer]) -> None:
    """Measure Assay and the peers alternately, and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    tree.page_of("hundred", 100)
    tree.page_of("many", 1500)
    small, big = tree.file("small", "1.0", SMALL), tree.file("big", "1.0", BIG)
    cold_files = [tree.file("cold", f"{number}.0", BIG) for number in range(rounds)]
    crowded = [tree.file("crowd", f"{number}.0", CROWDED) for number in range(rounds)]
    tree.write()
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(root / "nginx", tree.root, port))
        assay = Running("assay", stack.enter_context(servers.assay(root / "assay", upstream)), "/simple/")
        for project in PROJECTS:
            fetch_ok(f"{assay.server.origin}/simple/{project}/", PIP)
        others = [peer.started(stack, root / peer.name.replace(" ", "-"), upstream, PROJECTS) for peer in peers]
        caches = Caches(table, [assay, *others], rounds, seconds)
        caches.rates("warm page, 100 files, JSON", "/simple/hundred/", PIP)
        caches.rates("warm page, 100 files, HTML", "/simple/hundred/", OLD_PIP)
        caches.rates("warm page, 1,500 files, JSON", "/simple/many/", PIP)
        caches.rates("warm file, 100 KB", routed(upstream, small), {})
        caches.warm_file("warm file, 200 MB", routed(upstream, big))
        caches.cold_files("cold file, 200 MB", upstream, cold_files)
        caches.crowds(f"cold file, 50 MB, {CLIENTS} clients", upstream, crowded)
        caches.memory()


@dataclass(frozen=True)
class Caches:
    """Comparison of Assay, which is the first of the running proxies, with the others."""

    table: Table
    running: Sequence[Running]
    rounds: int
    seconds: int
    """Seconds of load on each proxy in each round."""

    def rates(self, what: str, path: str, headers: Mapping[str, str]) -> None:
        """Compare the rates of small responses, which all come from the cache."""
        contestants = {}
        for each in self.running:
            if headers is OLD_PIP and not each.translates:
                continue
            if (url := each.url(path)) is not None:
                for _ in range(3):  # Assay caches a small file in memory only if it is requested repeatedly
                    fetch_ok(url, headers)
                contestants[each.name] = Contestant(each.server, url, headers, may_fail=each.name != "assay")
        found = measured(contestants, self.rounds, self.seconds)
        speeds = {name: [one.per_second for one in each] for name, each in found.items()}
        costs = {name: [one.cpu * 1e3 for one in each] for name, each in found.items()}
        middle = statistics.median
        for name in [name for name in found if name != "assay"]:
            note = f"{middle(speeds['assay']):,.0f}/s, {name} {middle(speeds[name]):,.0f}/s"
            rates = ratios(speeds["assay"], speeds[name])
            self.table.add(f"{what}: share of {name}'s rate", rates, least=AHEAD.get(name), note=note)
            note = f"CPU seconds per 1,000 responses: {middle(costs['assay']):.3f}, {name} {middle(costs[name]):.3f}"
            shares = ratios(costs[name], costs["assay"])
            self.table.add(f"{what}: {name}'s CPU time as a share of Assay's", shares, least=AHEAD.get(name), note=note)

    def warm_file(self, what: str, path: str) -> None:
        """Compare transfers of one cached file to one client."""
        urls = {each.name: _found(each, path) for each in self.running}
        for url in urls.values():
            fetch_ok(url)

        def transfer(each: Running, _turn: int) -> Transfer:
            before = each.server.cpu()
            fetched = [fetch_ok(urls[each.name]) for _ in range(TRANSFERS)]
            cpu = (each.server.cpu() - before) / TRANSFERS
            return Transfer(fetched[0].first, statistics.mean(one.total for one in fetched), cpu)

        self._compare(what, BIG, self._alternately(transfer))

    def cold_files(self, what: str, upstream: servers.Server, paths: Sequence[str]) -> None:
        """Compare transfers of files that no proxy has, one in each round, and transfers from the index itself."""
        direct = Running("direct", upstream, "/simple/", translates=False)

        def transfer(each: Running, turn: int) -> Transfer:
            url = _found(each, routed(upstream, paths[turn]))
            cold.touch(each.server.root / "touched", 2 * BIG)
            before = each.server.cpu()
            fetched = fetch_ok(url)
            return Transfer(fetched.first, fetched.total, each.server.cpu() - before)

        found = self._alternately(transfer, direct)
        for name, theirs in found.items():
            if name != "assay":
                later = [(a.first - b.first) * 1e3 for a, b in zip(found["assay"], theirs, strict=True)]
                most = 2.0 if name == "direct" else None
                first = statistics.median(one.first for one in theirs) * 1e3
                note = f"{name} {first:.1f} ms"
                self.table.add(f"{what}: first byte later than {name} by", later, unit=" ms", most=most, note=note)
        del found["direct"]
        self._compare(what, BIG, found, bars={**AHEAD, NGINX.name: 1.0})

    def crowds(self, what: str, upstream: servers.Server, paths: Sequence[str]) -> None:
        """Compare the time until several clients have a file that no proxy has, which they request at the same time."""
        asked = {each.name: 0 for each in self.running}

        def transfer(each: Running, turn: int) -> Transfer:
            url, logged = _found(each, routed(upstream, paths[turn])), upstream.asked(paths[turn])
            before = each.server.cpu()
            with ThreadPoolExecutor(CLIENTS) as clients:
                fetched = list(clients.map(fetch_ok, [url] * CLIENTS))
            asked[each.name] = max(asked[each.name], upstream.asked(paths[turn]) - logged)
            cpu = each.server.cpu() - before
            return Transfer(max(one.first for one in fetched), max(one.total for one in fetched), cpu)

        found = self._alternately(transfer)
        notes = {name: f"; upstream requests: {asked['assay']}, {name} {count}" for name, count in asked.items()}
        self._compare(what, CROWDED * CLIENTS, found, notes=notes)

    def memory(self) -> None:
        """Compare the memory after all other rows."""
        found = {each.name: each.server.pss() for each in self.running}
        ours = found.pop("assay")
        for name, theirs in found.items():
            note = f"{ours:.0f} MB, {name} {theirs:.0f} MB"
            what = f"memory (PSS) after these rows: share of {name}'s"
            self.table.add(what, [ours / theirs], most=AHEAD.get(name), note=note)

    def _alternately(self, transfer: Callable[[Running, int], Transfer], *more: Running) -> dict[str, list[Transfer]]:
        """Return the transfers of all rounds; in alternating order, so that no proxy always follows the same one."""
        every = [*self.running, *more]
        found: dict[str, list[Transfer]] = {each.name: [] for each in every}
        for turn in range(self.rounds):
            for each in every[:: -1 if turn % 2 else 1]:
                found[each.name].append(transfer(each, turn))
        return found

    def _compare(
        self,
        what: str,
        size: int,
        found: Mapping[str, Sequence[Transfer]],
        *,
        bars: Mapping[str, float] = AHEAD,
        notes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        ours = found["assay"]
        for name, theirs in found.items():
            if name == "assay":
                continue
            speeds = [size / statistics.median(one.total for one in each) / 1e6 for each in (ours, theirs)]
            note = f"{speeds[0]:,.0f} MB/s, {name} {speeds[1]:,.0f} MB/s{notes.get(name, '')}"
            rates = ratios([one.total for one in theirs], [one.total for one in ours])
            self.table.add(f"{what}: share of {name}'s rate", rates, least=bars.get(name), note=note)
            costs = ratios([one.cpu for one in theirs], [one.cpu for one in ours])
            seconds = [statistics.median(one.cpu for one in each) for each in (ours, theirs)]
            note = f"CPU seconds: {seconds[0]:.2f}, {name} {seconds[1]:.2f}"
            self.table.add(f"{what}: {name}'s CPU time as a share of Assay's", costs, least=AHEAD.get(name), note=note)


def _found(proxy: Running, path: str) -> str:
    url = proxy.url(path)
    if url is None:
        raise SystemExit(f"{proxy.name} does not list {path}")
    return url
