"""How the checks of one attestation stop: `Broken` becomes `Forged`, `Unknown` becomes `Unverifiable`. Internal.

Neither leaves this package: `verify` turns both into evidence.
"""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 300
"""Characters of a foreign value that evidence repeats."""


class Broken(Exception):  # noqa: N818 - a verdict on its way to becoming a value, not an error
    """A check failed with material that we know, or the document contradicts itself."""

    def __init__(self, step: str, expected: str, found: object) -> None:
        super().__init__(step, expected, found)
        self.step = step
        self.expected = expected
        self.found = shown(found)


class Unknown(Exception):  # noqa: N818 - as above
    """A log, key, version, predicate or publisher kind that this trust root or verifier doesn't know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = shown(reason)


def shown(value: object) -> str:
    """A foreign value as evidence repeats it: cut, never multi-megabyte."""
    match value:
        case str():
            text = value
        case None:
            text = "nothing"
        case BaseException():
            text = str(value) or type(value).__name__
        case _:
            text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
