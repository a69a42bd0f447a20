"""Growth of time and memory with the files of a page and the number of projects, with a plot for the documentation."""

from __future__ import annotations

import concurrent.futures
import http.client
import time
from pathlib import Path

from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.load import fetch
from benchmarks.plot import Curve, plot
from benchmarks.report import Table

PAGES = (100, 1_000, 10_000)
PROJECTS = (10, 1_000, 100_000)
TRIES = 3
IMAGE = servers.HERE.parent / "docs" / "scaling.svg"


def run(table: Table, root: Path) -> None:
    """Measure both, add the rows to `table`, and write the plot."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    for files in PAGES:
        tree.page_of(f"page-{files}", files)
    tree.page_of("small", 3)
    tree.write()
    with servers.nginx(root / "nginx", tree.root, port) as upstream:
        pages = [_page(root, upstream, files) for files in PAGES]
    first = [seconds * 1e3 for seconds, _ in pages]
    growth = [max(0.0, memory) for _, memory in pages]
    table.add("first view of 10 times as many files: ratio of times", [first[2] / first[1]], most=12)
    projects = _projects(root)
    seconds = [each for each, _ in projects]
    memory = [each for _, each in projects]
    table.add("100 times as many projects, each once: ratio of times", [seconds[2] / seconds[1]], most=120)
    table.add("memory after 100,000 projects", [memory[2]], unit=" MB")
    plot(
        IMAGE,
        Curve("files of a page", "first view, ms", PAGES, first),
        Curve("files of a page", "memory for it, MB", PAGES, growth),
        Curve("projects seen", "each once, s", PROJECTS, seconds),
        Curve("projects seen", "memory of the proxy, MB", PROJECTS, memory),
    )


def _page(root: Path, upstream: servers.Server, files: int) -> tuple[float, float]:
    """Return seconds and memory of the first view of a page: the minimum over several proxies with empty storage."""
    found = []
    for number in range(TRIES):
        with servers.assay(root / f"page{files}-{number}", upstream) as assay:
            fetch(f"{assay.origin}/simple/small/", {"Accept": JSON})
            before = assay.pss()
            took = fetch(f"{assay.origin}/simple/page-{files}/", {"Accept": JSON})
            if took.status != 200:
                raise SystemExit(f"a page of {files} files is {took.status}")
            time.sleep(1)
            found.append((took.total, assay.pss() - before))
    return min(found)


def _projects(root: Path) -> list[tuple[float, float]]:
    """Return, for each number of projects, the seconds to request each once, and the memory after that."""
    found = []
    for count in PROJECTS:
        port = servers.free_port()
        tree = Tree(root / f"tree{count}", f"http://127.0.0.1:{port}")
        for number in range(count):
            tree.page_of(f"project-{number}", 3)
        tree.write()
        tree.pages.clear()
        with (
            servers.nginx(root / f"nginx{count}", tree.root, port) as upstream,
            servers.assay(root / f"projects{count}", upstream) as assay,
        ):
            found.append((all_once(assay.port, range(count)), assay.pss()))
    return found


def all_once(port: int, numbers: range) -> float:
    """Return the seconds in which four clients together request each of the projects once."""
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        failed = sum(threads.map(lambda lane: _ask(port, numbers[lane::4]), range(4)))
    if failed:
        raise SystemExit(f"{failed} of {len(numbers)} projects failed")
    return time.perf_counter() - started


def _ask(port: int, numbers: range) -> int:
    connection, failed = http.client.HTTPConnection("127.0.0.1", port, timeout=60), 0
    for number in numbers:
        connection.request("GET", f"/simple/project-{number}/", headers={"Accept": JSON})
        answer = connection.getresponse()
        answer.read()
        failed += answer.status != 200
    connection.close()
    return failed
