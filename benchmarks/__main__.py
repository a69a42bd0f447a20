"""All bars of issue 8 in one run: `make bench`, or ``python -m benchmarks [warm cold …] [--rounds 5] [--seconds 3]``.

Everything is on loopback and in turns, so that a busy machine is busy for all; a row is the median of the rounds'
ratios and their range. The load generator runs on the same cores. Ends with 1 if a bar was missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import attested, cold, installing, peers, process, scale, warm
from benchmarks.report import Table

CASES = ("warm", "cold", "process", "attested", "installing", "scale")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="which; all where none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load for each contestant in each round")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--markdown", type=Path, help="a page with <!-- table --> in it, to write the table into")
    options = parser.parse_args()
    table = Table()
    # In memory, where there is a file system in it: what is measured is no disk.
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    base = memory if memory.is_dir() and shutil.disk_usage(memory).free > 8e9 else Path(tempfile.gettempdir())
    for case in options.cases or CASES:
        print(case, flush=True)
        root = Path(tempfile.mkdtemp(prefix="assay-bench-", dir=base))
        try:
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
        finally:
            shutil.rmtree(root, ignore_errors=True)
    if options.markdown:
        head, _, rest = options.markdown.read_text().partition("<!-- table -->\n")
        tail = rest.partition("<!-- /table -->")[2]
        options.markdown.write_text(f"{head}<!-- table -->\n{table.markdown()}<!-- /table -->{tail}")
    missed = [row.what for row in table.rows if row.passed is False]
    print(f"\n{len(missed)} bars missed: {'; '.join(missed)}" if missed else "\nevery bar is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
