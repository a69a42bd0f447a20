"""Number of inputs of a fuzzer: few in ``make test``, FUZZ_EXAMPLES in ``make fuzz``."""

from __future__ import annotations

import os

_WANTED = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def examples(few: int, share: float = 1.0) -> int:
    """`few`, or `share` of what is wanted; less than 1 for inputs of which each is thousands of small ones."""
    return max(few, int(_WANTED * share))
