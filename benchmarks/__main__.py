"""Benchmarks that measure all figures of docs/performance.md in one run.

Run them with `make bench`, or ``python -m benchmarks [warm cold …] [--rounds 5] [--seconds 3]``. With ``--base
CHECKOUT``, they compare this checkout with another one (`compare.py`).

All servers run on loopback and are measured alternately, so that other load on the machine affects all of them. A row
is the median of the rounds' ratios with their range. The load generator runs on the same cores. The exit status is 1 if
a figure misses its bar.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import (
    attested,
    beside,
    caches,
    cold,
    compare,
    installing,
    mixed,
    peers,
    process,
    replicas,
    scale,
    settings,
    warm,
)
from benchmarks.checkout import HERE, checkout
from benchmarks.report import Table
from benchmarks.sides import BASE, NEW, Sides


def main() -> int:
    """Run the benchmarks that the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", help=f"cases, all by default: {' '.join(CASES)}; with --base: {' '.join(compare.CASES)}"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of load on each server in each round")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--base", type=Path, help="another checkout to compare with, instead of other servers")
    parser.add_argument("--markdown", type=Path, help="Markdown page whose <!-- table --> is replaced")
    options = parser.parse_args()
    known = tuple(compare.CASES if options.base else CASES)
    if unknown := set(options.cases).difference(known):
        parser.error(f"unknown cases: {' '.join(sorted(unknown))} (choose from {' '.join(known)})")
    if options.base:
        options.checkouts = {NEW: HERE, BASE: checkout(options.base)}
    table = Table()
    for case in options.cases or known:
        print(case, flush=True)
        with _working_directory() as root:
            if options.base:
                compare.run(Sides(table, root, options.checkouts, options.rounds, options.seconds), case)
            else:
                CASES[case](table, root, options)
    if options.markdown:
        head, _, rest = options.markdown.read_text().partition("<!-- table -->\n")
        tail = rest.partition("<!-- /table -->")[2]
        options.markdown.write_text(f"{head}<!-- table -->\n{table.markdown()}<!-- /table -->{tail}")
    missed = [row.what for row in table.rows if row.passed is False]
    print(f"\n{len(missed)} bars missed: {'; '.join(missed)}" if missed else "\nall bars met")
    return 1 if missed else 0


@contextmanager
def _working_directory() -> Iterator[Path]:
    """Create a temporary directory, in memory if possible, so that the speed of a disk has no influence."""
    memory = Path("/dev/shm")  # noqa: S108 - used only as the parent of a new directory
    base = memory if memory.is_dir() and shutil.disk_usage(memory).free > 8e9 else Path(tempfile.gettempdir())
    root = Path(tempfile.mkdtemp(prefix="assay-bench-", dir=base))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _warm(table: Table, root: Path, options: argparse.Namespace) -> None:
    others = [] if options.no_peers else peers.installed((*peers.PYTHON, peers.PERYX))
    warm.run(table, root, rounds=options.rounds, seconds=options.seconds, peers=others)


def _caches(table: Table, root: Path, options: argparse.Namespace) -> None:
    others = [] if options.no_peers else peers.installed((peers.PERYX, peers.NGINX))
    caches.run(table, root, rounds=options.rounds, seconds=options.seconds, peers=others)


def _settings(table: Table, root: Path, options: argparse.Namespace) -> None:
    settings.run(table, root, rounds=options.rounds, seconds=options.seconds)


def _replicas(table: Table, root: Path, options: argparse.Namespace) -> None:
    replicas.run(table, root, rounds=options.rounds, seconds=options.seconds)


def _mixed(table: Table, root: Path, options: argparse.Namespace) -> None:
    mixed.run(table, root, rounds=options.rounds, seconds=options.seconds)


CASES: Mapping[str, Callable[[Table, Path, argparse.Namespace], None]] = {
    "warm": _warm,
    "settings": _settings,
    "caches": _caches,
    "cold": lambda table, root, options: cold.run(table, root, rounds=options.rounds),
    "process": lambda table, root, options: process.run(table, root, rounds=options.rounds),
    "attested": lambda table, root, options: attested.run(table, root, rounds=options.rounds),
    "installing": lambda table, root, options: installing.run(table, root, rounds=options.rounds),
    "scale": lambda table, root, _options: scale.run(table, root),
    "replicas": _replicas,
    "beside": lambda table, root, _options: beside.run(table, root),
    "mixed": _mixed,
}
"""Cases without ``--base``: they measure this checkout and compare it with other servers."""


if __name__ == "__main__":
    sys.exit(main())
