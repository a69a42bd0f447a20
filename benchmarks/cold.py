"""Benchmark of cold files: delay compared with the index itself, maximum rate, and memory.

The index is in memory. The storage directory of the proxy is there too, and then on a disk, if `/var/tmp` or the
working directory is on one. A large file is written through the page cache of the kernel: these rows show the cost of
the file system, and of the disk only if it is slower than the limit of the kernel for dirty pages permits. They have no
bars, because they depend on the disk.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.disk import find_disk
from benchmarks.load import Fetched, fetch
from benchmarks.report import Table, ratios
from benchmarks.warm import routed

BIG, HUGE, CLIENTS = 200_000_000, 1_000_000_000, 64


def run(table: Table, root: Path, *, rounds: int) -> None:
    """Measure cold files and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    slow = [tree.file("slow", f"{number}.0", BIG, folder="slow") for number in range(rounds)]
    fast = [tree.file("fast", f"{number}.0", BIG) for number in range(rounds)]
    huge = tree.file("huge", "1.0", HUGE)
    tree.write()
    with servers.nginx(root / "nginx", tree.root, port) as upstream:
        with servers.assay(root / "assay", upstream) as assay:
            _files(table, upstream, assay, fast, slow, touched=root / "touched")
            _memory(table, assay, upstream, huge)
        if (disk := find_disk()) is None:
            print("left out: a storage directory on a disk (/var/tmp and the working directory are in memory)")
            return
        with (
            tempfile.TemporaryDirectory(prefix="assay-bench-", dir=disk) as name,
            servers.assay(Path(name) / "assay", upstream) as assay,
        ):
            _files(table, upstream, assay, fast, slow, touched=Path(name) / "touched", on_disk=True)


def _files(
    table: Table,
    upstream: servers.Server,
    assay: servers.Server,
    fast: Sequence[str],
    slow: Sequence[str],
    *,
    touched: Path,
    on_disk: bool = False,
) -> None:
    """Measure each file once, and add a row for the maximum rate and two rows that compare with direct downloads.

    Before each file, the kernel writes earlier files to the disk, so that it does not do so during the measurement.
    """
    where = ", storage on a disk" if on_disk else ""
    for project in ("slow", "fast", "huge"):
        fetch(f"{assay.origin}/simple/{project}/", {"Accept": JSON})
    speeds = []
    for path in fast:
        touch(touched, 2 * BIG)
        os.sync()
        speeds.append(BIG / _fetched(f"{assay.origin}{routed(upstream, path)}").total / 1e6)
    table.add(f"cold file, 200 MB, unlimited{where}", speeds, unit=" MB/s", least=None if on_disk else 400)
    cold, direct = [], []
    for path in slow:
        os.sync()
        direct.append(_fetched(f"{upstream.origin}{path}"))
        cold.append(_fetched(f"{assay.origin}{routed(upstream, path)}"))
    totals = ratios([each.total for each in cold], [each.total for each in direct])
    what = f"cold file, 200 MB at 100 MB/s{where}"
    table.add(f"{what}: time relative to a direct download", totals, most=None if on_disk else 1.03)
    later = [(ours.first - theirs.first) * 1e3 for ours, theirs in zip(cold, direct, strict=True)]
    table.add(f"{what}: additional time to the first byte", later, unit=" ms", most=None if on_disk else 10)


def _fetched(url: str) -> Fetched:
    answer = fetch(url)
    if (answer.status, answer.size) != (200, BIG):
        raise SystemExit(f"{url} is answered {answer.status} with {answer.size} bytes")
    return answer


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
