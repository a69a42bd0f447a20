"""Verdicts on a page that is written as one line."""

from __future__ import annotations

from dataclasses import replace

from assay.policy.verdict import ReasonCode, Undecided, Verdict, Withheld, approve, state_reason
from assay.simple.model import Kind
from tests.unit.policy.factories import a_file


def read_page(text: str) -> list[Verdict]:
    """Return the verdicts on a page such as ``1.8a 1.9w 2.0wy 2.1u``.

    a: approved, w: withheld, u: undecided, y: yanked by the index, s: an sdist and not a wheel, e: an egg.
    """
    verdicts: list[Verdict] = []
    for word in text.split():
        version = word.rstrip("awuyse")
        marks = word[len(version) :]
        kind = Kind.SDIST if "s" in marks else Kind.EGG if "e" in marks else Kind.WHEEL
        file = replace(a_file(version, kind=kind), yanked="the index's reason" if "y" in marks else None)
        if "a" in marks:
            verdicts.append(approve(file, rule="all", evidence=None))
        elif "u" in marks:
            verdicts.append(Undecided(file=file))
        else:
            reason = state_reason(ReasonCode.DENIED, "all", "denied by the policy: no")
            verdicts.append(Withheld(file=file, reasons=(reason,), enforced=True))
    return verdicts
