"""Figures of the benchmarks that import the package, as one JSON object: what a comparison asks of either checkout.

python -P figures.py judging|verification   (PYTHONPATH names the checkout whose `benchmarks` and package are measured)
"""

from __future__ import annotations

import json
import sys

FILES = 4_000


def judging() -> dict[str, float]:
    """Return what judging a page costs, for each policy and evidence."""
    from benchmarks.judging import measured  # noqa: PLC0415 - the checkout's own, of which one case is wanted

    found = {}
    for (policy, kind), cost in measured(FILES).items():
        what = f"judging {FILES:,} files, {policy}, {kind}"
        found |= {f"{what}: time in ms": cost.milliseconds, f"{what}: memory a file in bytes": cost.kept}
        found[f"{what}: memory a file at peak in bytes"] = cost.peak
    return found


def verification() -> dict[str, float]:
    """Return the processor time of a document, the best of several: what it costs, not what else the machine does."""
    from benchmarks.verification import by_assay, cpu, release  # noqa: PLC0415 - as above

    found = {}
    for what, leaves in (("of a release that shares a leaf", 1), ("with a leaf each", 100)):
        cases = release(100, leaves=leaves)
        by_assay(cases)
        best = min(cpu(lambda cases=cases: by_assay(cases)) for _ in range(5))
        found[f"verifying a document {what}: processor time in µs"] = best / len(cases) * 1e6
    return found


if __name__ == "__main__":
    print(json.dumps({"judging": judging, "verification": verification}[sys.argv[1]]()))
