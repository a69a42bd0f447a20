"""Comparison of this checkout with another one: `make bench BASE=/path/to/other/checkout`.

Both run alternately, each from its own directory with its own virtual environment, in front of the same nginx. A row is
the median of the rounds' ratios with their range. A ratio above 1 means that this checkout is better, for speed, time
and memory. The rows are those of docs/performance.md, without the 64 clients and with 10,000 projects instead of
100,000.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from benchmarks import attested, cold, installing, process, scale, servers, settings, warm
from benchmarks.content import JSON, Tree
from benchmarks.load import fetch, fetch_ok
from benchmarks.sides import Sides

ACCEPT = {"Accept": JSON}
FAST, SLOW, SLOW_SIZE = 2, 3, 50_000_000
"""Number of cold files in each turn: with an unlimited rate (200 MB each), and with a limited rate (size in bytes), of
which only the time to the first byte is measured."""
STARTS = 3
"""Number of starts in each turn."""
PAGES, PROJECTS = (1_000, 10_000), 10_000


def run(sides: Sides, case: str) -> None:
    """Run the comparison of one case."""
    CASES[case](sides)


def _index(sides: Sides) -> tuple[Tree, int]:
    port = servers.free_port()
    return Tree(sides.root / "tree", f"http://127.0.0.1:{port}"), port


def _warm(sides: Sides) -> None:
    """Compare warm pages, 304 responses, and cached files."""
    tree, port = _index(sides)
    tree.page_of("hundred", 100)
    tree.page_of("many", 1500)
    small, big = tree.file("small", "1.0", warm.SMALL), tree.file("big", "1.0", warm.BIG)
    tree.write()
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(sides.root / "nginx", tree.root, port))
        both = sides.started(stack, upstream)
        _rates(sides, both, "warm page, 100 files", "/simple/hundred/", ACCEPT, p99=True)
        _rates(sides, both, "warm page, 1,500 files", "/simple/many/", ACCEPT)
        _rates(sides, both, "warm page answered 304", "/simple/hundred/", ACCEPT, unmodified=True)
        _rates(sides, both, "warm file, 100 KB", warm.routed(upstream, small), {})
        path, found = warm.routed(upstream, big), sides.figures()
        for server in both.values():
            fetch(f"{server.origin}{path}")
        for _ in range(2):
            for _turn, name in sides.turns():
                found[name].append(warm.big_rate(f"{both[name].origin}{path}") / 1e6)
        sides.more("warm file, 200 MB", found, " MB/s")


def _secured(sides: Sides) -> None:
    """Compare a page and a file with token authentication and the audit trail."""
    tree, port = _index(sides)
    tree.page_of("hundred", 100)
    small = tree.file("small", "1.0", warm.SMALL)
    tree.write()
    for name in sides.checkouts:
        settings.write_tokens(sides.root / name)
    token = settings.SIGNED_IN
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(sides.root / "nginx", tree.root, port))
        both = sides.started(stack, upstream, settings=settings.SECURED)
        page, file = "/simple/hundred/", warm.routed(upstream, small)
        for server in both.values():
            if (status := fetch(f"{server.origin}{page}", ACCEPT).status) != 401:
                raise SystemExit(f"{server.root.name} answers {status} to a request without a token")
        _rates(sides, both, "token and trail: warm page, 100 files", page, {**ACCEPT, **token}, p99=True)
        _rates(sides, both, "token and trail: warm file, 100 KB", file, token)


def _rates(
    sides: Sides,
    both: Mapping[str, servers.Server],
    what: str,
    path: str,
    headers: Mapping[str, str],
    *,
    unmodified: bool = False,
    p99: bool = False,
) -> None:
    contestants = {}
    for name, server in both.items():
        url, wanted = f"{server.origin}{path}", dict(headers)
        for _ in range(3):  # the proxy caches a small file in memory only if it is requested repeatedly
            answer = fetch_ok(url, headers)
        if unmodified:
            wanted["If-None-Match"] = {key.lower(): value for key, value in answer.headers.items()}["etag"]
        contestants[name] = warm.Contestant(server, url, wanted)
    rates = warm.measured(contestants, sides.rounds, sides.seconds)
    sides.more(what, {name: [one.per_second for one in each] for name, each in rates.items()}, "/s")
    costs = {name: [one.cpu * 1e6 for one in each] for name, each in rates.items()}
    sides.less(f"{what}: CPU time per response", costs, " µs")
    if p99:
        sides.less(f"{what}: p99", {name: [one.p99 for one in each] for name, each in rates.items()}, " ms")


def _cold(sides: Sides) -> None:
    """Compare uncached files: the unlimited rate, and the time to the first byte from a slow index."""
    tree, port = _index(sides)
    turns = range(sides.rounds)
    fast = [[tree.file("fast", f"{turn}.{number}", cold.BIG) for number in range(FAST)] for turn in turns]
    slow = [
        [tree.file("slow", f"{turn}.{number}", SLOW_SIZE, folder="slow") for number in range(SLOW)] for turn in turns
    ]
    tree.write()
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(sides.root / "nginx", tree.root, port))
        both = sides.started(stack, upstream)
        for server in both.values():
            for project in ("fast", "slow"):
                fetch_ok(f"{server.origin}/simple/{project}/", ACCEPT)
        speeds, first = sides.figures(), sides.figures()
        for turn, name in sides.turns():
            origin = both[name].origin
            cold.touch(sides.root / "touched", 2 * cold.BIG)
            seconds = sum(fetch_ok(f"{origin}{warm.routed(upstream, path)}").total for path in fast[turn])
            speeds[name].append(FAST * cold.BIG / seconds / 1e6)
            delays = [fetch_ok(f"{origin}{warm.routed(upstream, path)}").first for path in slow[turn]]
            first[name].append(sorted(delays)[SLOW // 2] * 1e3)
    sides.more("cold file, 200 MB, unlimited", speeds, " MB/s")
    sides.less("cold file at 100 MB/s: first byte", first, " ms")


def _process(sides: Sides) -> None:
    """Compare the start time and the memory of an idle proxy."""
    tree, port = _index(sides)
    tree.page_of("hundred", 100)
    tree.write()
    starts, alone, workers = sides.figures(), sides.figures(), sides.figures()
    with servers.nginx(sides.root / "nginx", tree.root, port) as upstream:
        with ExitStack() as stack:
            sides.started(stack, upstream)  # a first start, so that both have compiled bytecode
        for turn, name in sides.turns():
            root, checkout = sides.root / f"{name}{turn}", sides.checkouts[name]
            took = []
            for number in range(STARTS):
                started = time.perf_counter()
                with servers.assay(root / f"{number}", upstream, ready="/readyz", checkout=checkout) as assay:
                    took.append(time.perf_counter() - started)
                    if number == STARTS - 1:
                        process.settle(assay)
                        alone[name].append(assay.held())
            starts[name].append(sorted(took)[STARTS // 2])
            with servers.assay(root / "workers", upstream, workers=2, checkout=checkout) as assay:
                process.settle(assay)
                workers[name].append(assay.held())
    sides.less("start to ready", starts, " s")
    sides.less("idle memory, workers = 0", alone, " MB")
    sides.less("idle memory, two workers started", workers, " MB")


def _attested(sides: Sides) -> None:
    """Compare the first view of many attested files, with and without other clients, and the view after a restart."""
    tree, port, trust = attested.published(sides.root)
    first, again, asked = sides.figures(), sides.figures(), sides.figures()
    disturbed, delays = sides.figures(), sides.figures()
    with servers.nginx(sides.root / "nginx", tree.root, port) as upstream:
        for turn, name in sides.turns():
            root, checkout = sides.root / f"{name}{turn}", sides.checkouts[name]
            with attested.attesting(root / "first", upstream, trust, checkout=checkout) as assay:
                first[name].append(attested.seconds(assay))
            before = upstream.asked("/integrity/")
            with attested.attesting(root / "first", upstream, trust, settle=False, checkout=checkout) as assay:
                again[name].append(attested.seconds(assay))
            # Plus one, so that the ratio is defined if both made no request.
            asked[name].append(1.0 + upstream.asked("/integrity/") - before)
            with attested.attesting(root / "busy", upstream, trust, checkout=checkout) as assay:
                took, rate = attested.view(assay)
            disturbed[name].append(took)
            delays[name].append(rate.p99)
    sides.less("first view of 1,000 attested files", first, " s")
    sides.less("first view of 1,000 attested files, with other clients", disturbed, " s")
    sides.less("warm requests during the first view: p99", delays, " ms")
    sides.less("first view after a restart", again, " s")
    sides.less("first view after a restart: provenance requests plus one", asked, "")


def _installing(sides: Sides) -> None:
    """Compare `uv pip install` of many packages, three runs in each turn."""
    tree, port = _index(sides)
    installing.publish(tree)
    tree.write()
    found, target = sides.figures(), sides.root / "target"
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(sides.root / "nginx", tree.root, port))
        both = sides.started(stack, upstream)
        for server in both.values():
            for _ in range(2):  # the proxy caches a small file in memory only if it is requested repeatedly
                installing.install(f"{server.origin}/simple/", target)
        for _ in range(3):
            for _turn, name in sides.turns():
                found[name].append(installing.install(f"{both[name].origin}/simple/", target))
    sides.less(f"uv pip install of {installing.PACKAGES} packages", found, " s")


def _scale(sides: Sides) -> None:
    """Compare the growth of time and memory with the number of files on a page and with the number of projects."""
    tree, port = _index(sides)
    for files in PAGES:
        tree.page_of(f"page-{files}", files)
    for count in range(PROJECTS):
        tree.page_of(f"project-{count}", 3)
    tree.write()
    tree.pages.clear()
    pages: dict[int, dict[str, list[float]]] = {files: sides.figures() for files in PAGES}
    grown, memory, projects, after = sides.figures(), sides.figures(), sides.figures(), sides.figures()
    with servers.nginx(sides.root / "nginx", tree.root, port) as upstream:
        for turn, name in sides.turns():
            root, checkout = sides.root / f"{name}{turn}", sides.checkouts[name]
            with servers.assay(root / "pages", upstream, checkout=checkout) as assay:
                fetch_ok(f"{assay.origin}/simple/project-0/", ACCEPT)
                few, many = (fetch_ok(f"{assay.origin}/simple/page-{files}/", ACCEPT).total for files in PAGES)
                time.sleep(1)
                memory[name].append(assay.held())
            for files, seconds in zip(PAGES, (few, many), strict=True):
                pages[files][name].append(seconds * 1e3)
            grown[name].append(many / few)
            with servers.assay(root / "projects", upstream, checkout=checkout) as assay:
                projects[name].append(scale.all_once(assay.port, range(PROJECTS)))
                after[name].append(assay.held())
    for files in PAGES:
        sides.less(f"first view of {files:,} files", pages[files], " ms")
    sides.less("first view of 10 times as many files: ratio of times", grown, "")
    sides.less(f"memory after a page of {PAGES[-1]:,} files", memory, " MB")
    sides.less(f"{PROJECTS:,} projects, each once", projects, " s")
    sides.less(f"memory after {PROJECTS:,} projects", after, " MB")


def _imported(sides: Sides, what: str) -> None:
    """Compare figures that the benchmarks of each checkout measure with its own package and Python."""
    found: dict[str, dict[str, list[float]]] = {}
    for _turn, name in sides.turns():
        for row, value in sides.checkouts[name].figures(what).items():
            found.setdefault(row, sides.figures())[name].append(value)
    for row, figures in found.items():
        row_name, _, unit = row.rpartition(" in ")
        if all(figures.values()):
            sides.less(row_name, figures, f" {unit}")
        else:
            print(f"{row_name}: only one checkout measures it, so there is nothing to compare", file=sys.stderr)


CASES: Mapping[str, Callable[[Sides], None]] = {
    "warm": _warm,
    "secured": _secured,
    "cold": _cold,
    "process": _process,
    "attested": _attested,
    "installing": _installing,
    "scale": _scale,
    "judging": lambda sides: _imported(sides, "judging"),
    "verification": lambda sides: _imported(sides, "verification"),
}
