"""Benchmark of `uv pip install` of many packages: through Assay with a warm cache, and from a static mirror."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import servers
from benchmarks.content import Tree
from benchmarks.report import Table, ratios
from tests.world.index.distributions import wheel

PACKAGES, VERSIONS = 70, 40


def run(table: Table, root: Path, *, rounds: int) -> None:
    """Measure both alternately, each time with an empty uv cache and an empty target, and add the row to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    publish(tree)
    tree.write()
    with servers.nginx(root / "nginx", tree.root, port) as upstream, servers.assay(root / "assay", upstream) as assay:
        for _ in range(2):  # the proxy caches a small file in memory only if it is requested repeatedly
            install(f"{assay.origin}/simple/", root / "target")
        ours, theirs = [], []
        for _ in range(rounds * 3):  # many runs, because one takes only a third of a second and varies with other load
            theirs.append(install(f"{upstream.origin}/simple/", root / "target"))
            ours.append(install(f"{assay.origin}/simple/", root / "target"))
    note = f"{min(ours):.2f} s, mirror {min(theirs):.2f} s"
    what = f"uv pip install of {PACKAGES} packages: time relative to a static mirror"
    table.add(what, ratios(ours, theirs), most=1.15, note=note)


def publish(tree: Tree) -> None:
    """Publish an application and its libraries.

    Each library depends on up to three earlier ones. Old versions are only listed.
    """
    chance = random.Random(8)
    names = [f"part-{number}" for number in range(PACKAGES - 1)]
    for number, name in enumerate(names):
        needs = sorted(chance.sample(names[:number], min(number, 3)))
        tree.page_of(name, VERSIONS)
        size = int(10 ** chance.uniform(3.5, 6))
        add_wheel(tree, name, f"{VERSIONS}.0", needs, size)
    add_wheel(tree, "application", "1.0", names, 1000)


def add_wheel(tree: Tree, name: str, version: str, needs: list[str], size: int) -> str:
    """Publish a valid wheel with its METADATA, and return its path."""
    built = wheel(name, version, requires=needs, padding=size)
    path = tree.root / "files" / name / built.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built.content)
    path.with_name(f"{path.name}.metadata").write_bytes(built.metadata or b"")
    tree.list(name, built.filename, built.sha256, built.size, url=f"/files/{name}/{built.filename}")
    entry = tree.pages[name][-1]
    entry["core-metadata"] = entry["data-dist-info-metadata"] = {"sha256": built.metadata_sha256}
    return f"/files/{name}/{built.filename}"


def install(index: str, target: Path) -> float:
    shutil.rmtree(target, ignore_errors=True)
    command = [shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv", "pip", "install", "--no-config"]
    flags = ["--no-cache", "--python", sys.executable, "--target", str(target), "--default-index", index]
    started = time.perf_counter()
    done = subprocess.run([*command, *flags, "application"], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"uv from {index}: {done.stderr[-2000:]}")
    installed = len(list(target.glob("*.dist-info")))
    if installed != PACKAGES:
        raise SystemExit(f"uv installed {installed} packages of {PACKAGES}: {json.dumps(done.stderr[-500:])}")
    return seconds
