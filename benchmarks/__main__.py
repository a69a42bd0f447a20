"""All figures of docs/performance.md in one run.

Run it by `make bench`, or ``python -m benchmarks [warm cold …] [--rounds 5] [--seconds 3]``.
With ``--base CHECKOUT``, this checkout beside that one (`compare.py`).

Everything is on loopback and in turns, so that a busy machine is busy for all; a row is the median of the rounds'
ratios and their range. The load generator runs on the same cores. Ends with 1 if a bar was missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import attested, cold, compare, installing, peers, process, scale, warm
from benchmarks.checkout import HERE, checkout
from benchmarks.report import Table
from benchmarks.sides import BASE, NEW, Sides

CASES = ("warm", "cold", "process", "attested", "installing", "scale")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"which of {' '.join(compare.CASES)}; all where none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load for each contestant in each round")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--base", type=Path, help="another checkout, to compare this one with in place of the others")
    parser.add_argument("--markdown", type=Path, help="a page with <!-- table --> in it, to write the table into")
    options = parser.parse_args()
    known = tuple(compare.CASES) if options.base else CASES
    if unknown := set(options.cases).difference(known):
        parser.error(f"no such cases here: {' '.join(sorted(unknown))} (choose from {' '.join(known)})")
    if options.base:
        options.checkouts = {NEW: HERE, BASE: checkout(options.base)}
    table = Table()
    for case in options.cases or known:
        print(case, flush=True)
        with _working_directory() as root:
            if options.base:
                compare.run(Sides(table, root, options.checkouts, options.rounds, options.seconds), case)
            else:
                _alone(case, table, root, options)
    if options.markdown:
        head, _, rest = options.markdown.read_text().partition("<!-- table -->\n")
        tail = rest.partition("<!-- /table -->")[2]
        options.markdown.write_text(f"{head}<!-- table -->\n{table.markdown()}<!-- /table -->{tail}")
    missed = [row.what for row in table.rows if row.passed is False]
    print(f"\n{len(missed)} bars missed: {'; '.join(missed)}" if missed else "\nevery bar is met")
    return 1 if missed else 0


@contextmanager
def _working_directory() -> Iterator[Path]:
    """A directory in memory, where there is a file system in it: what is measured is no disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    base = memory if memory.is_dir() and shutil.disk_usage(memory).free > 8e9 else Path(tempfile.gettempdir())
    root = Path(tempfile.mkdtemp(prefix="assay-bench-", dir=base))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _alone(case: str, table: Table, root: Path, options: argparse.Namespace) -> None:
    """Measure this checkout beside what is not Assay."""
    match case:
        case "warm":
            others = [] if options.no_peers else peers.installed()
            warm.run(table, root, rounds=options.rounds, seconds=options.seconds, peers=others)
        case "cold":
            cold.run(table, root, rounds=options.rounds)
        case "process":
            process.run(table, root, rounds=options.rounds)
        case "attested":
            attested.run(table, root, rounds=options.rounds)
        case "installing":
            installing.run(table, root, rounds=options.rounds)
        case "scale":
            scale.run(table, root)


if __name__ == "__main__":
    sys.exit(main())
