"""Figures of the benchmarks that import the package, printed as a JSON object for the comparison of two checkouts.

python -P figures.py judging|verification   (PYTHONPATH selects the checkout whose `benchmarks` and package are used)
"""

from __future__ import annotations

import json
import sys

FILES = 4_000


def judging() -> dict[str, float]:
    """Return time and memory for judging a page, for each policy and kind of evidence."""
    from benchmarks.judging import measured  # noqa: PLC0415 - only this case needs the import

    found = {}
    for (policy, kind), cost in measured(FILES).items():
        what = f"judging {FILES:,} files, {policy}, {kind}"
        found |= {f"{what}: time in ms": cost.milliseconds, f"{what}: memory a file in bytes": cost.kept}
        found[f"{what}: memory a file at peak in bytes"] = cost.peak
    return found


def verification() -> dict[str, float]:
    """Return the CPU time for verifying a document: the minimum of several runs, to reduce the effect of other load."""
    from benchmarks.verification import by_assay, cpu, release  # noqa: PLC0415 - as above

    found = {}
    for what, leaves in (("with one certificate for its release", 1), ("with a certificate for each file", 100)):
        cases = release(100, leaves=leaves)
        by_assay(cases)
        best = min(cpu(lambda cases=cases: by_assay(cases)) for _ in range(5))
        found[f"verifying a document {what}: CPU time in µs"] = best / len(cases) * 1e6
    return found


if __name__ == "__main__":
    print(json.dumps({"judging": judging, "verification": verification}[sys.argv[1]]()))
