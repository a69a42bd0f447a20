"""Benchmark of cold files: delay compared with the index itself, maximum rate, and memory."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.load import fetch
from benchmarks.report import Table, ratios

BIG, HUGE, CLIENTS = 200_000_000, 1_000_000_000, 64


def run(table: Table, root: Path, *, rounds: int) -> None:
    """Measure cold files and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    slow = [tree.file("slow", f"{number}.0", BIG, folder="slow") for number in range(rounds)]
    fast = [tree.file("fast", f"{number}.0", BIG) for number in range(rounds)]
    huge = tree.file("huge", "1.0", HUGE)
    tree.write()
    with servers.nginx(root / "nginx", tree.root, port) as upstream, servers.assay(root / "assay", upstream) as assay:
        for project in ("slow", "fast", "huge"):
            fetch(f"{assay.origin}/simple/{project}/", {"Accept": JSON})
        speeds = []
        for path in fast:
            touch(root / "touched", 2 * BIG)
            speeds.append(BIG / fetch(f"{assay.origin}/files/127.0.0.1:{port}{path}").total / 1e6)
        table.add("cold file, 200 MB, unlimited", speeds, unit=" MB/s", least=400)
        cold, direct = [], []
        for path in slow:
            direct.append(fetch(f"{upstream.origin}{path}"))
            cold.append(fetch(f"{assay.origin}/files/127.0.0.1:{port}{path}"))
        totals = ratios([each.total for each in cold], [each.total for each in direct])
        table.add("cold file, 200 MB at 100 MB/s: time relative to a direct download", totals, most=1.03)
        later = [(ours.first - theirs.first) * 1e3 for ours, theirs in zip(cold, direct, strict=True)]
        table.add("cold file, 200 MB at 100 MB/s: additional time to the first byte", later, unit=" ms", most=10)
        _memory(table, assay, upstream, huge)


def touch(path: Path, size: int) -> None:
    """Allocate and free `size` bytes of memory.

    A virtual machine gets its memory page by page at the first write, which can take longer than the measured work.
    """
    with path.open("wb") as file:
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    path.unlink()


def _memory(table: Table, assay: servers.Server, upstream: servers.Server, path: str) -> None:
    idle, most, over = assay.pss(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            most[0] = max(most[0], assay.pss())

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.perf_counter()
    sizes = asyncio.run(_all(assay.port, f"/files/127.0.0.1:{upstream.port}{path}"))
    seconds = time.perf_counter() - started
    over.set()
    watching.join()
    if sizes != [HUGE] * CLIENTS:
        raise SystemExit(f"clients got {set(sizes)} bytes of {HUGE}")
    asked = upstream.asked(path)
    note = f"{asked} upstream request{'' if asked == 1 else 's'}, {seconds:.0f} s"
    table.add("cold file, 1 GB, 64 clients: memory over idle", [most[0] - idle], unit=" MB", most=64, note=note)


async def _all(port: int, path: str) -> list[int]:
    return await asyncio.gather(*(_one(port, path) for _ in range(CLIENTS)))


async def _one(port: int, path: str) -> int:
    """Return the number of bytes of the body that one client received; -1 if the status is not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    size = 0
    while piece := await reader.read(2**20):
        size += len(piece)
    writer.close()
    return size if head.startswith(b"HTTP/1.1 200") else -1
