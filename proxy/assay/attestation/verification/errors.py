"""Exceptions that end the checks of one attestation.

`CheckFailed` becomes `Forged`, `UnknownMaterial` becomes `Unverifiable`. Internal to the package.

Neither leaves this package: `verify` turns both into evidence.
"""

from __future__ import annotations

from typing import Final

_MAX_VALUE_CHARACTERS: Final = 300
"""Characters of a foreign value that evidence repeats."""


class CheckFailed(Exception):  # noqa: N818 - a verdict on its way to becoming a value, not an error
    """A check failed with material that we know, or the document contradicts itself."""

    def __init__(self, step: str, expected: str, found: object) -> None:
        super().__init__(step, expected, found)
        self.step = step
        self.expected = expected
        self.found = abbreviate_value(found)


class UnknownMaterial(Exception):  # noqa: N818 - as above
    """A log, key, version, predicate or publisher kind that this trust root or verifier doesn't know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = abbreviate_value(reason)


def abbreviate_value(value: object) -> str:
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
    return text if len(text) <= _MAX_VALUE_CHARACTERS else f"{text[:_MAX_VALUE_CHARACTERS]}… ({len(text)} characters)"
