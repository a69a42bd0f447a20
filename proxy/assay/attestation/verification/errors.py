"""Exceptions that end the checks of one attestation.

No exception leaves this package. `verify` converts `CheckFailed` to `Forged` and `UnknownMaterial` to `Unverifiable`.
"""

from __future__ import annotations

from typing import Final

_MAX_VALUE_CHARACTERS: Final = 300
"""Maximum number of characters that evidence quotes from an untrusted value."""


class CheckFailed(Exception):  # noqa: N818 - converted to evidence, so not an error of the program
    """Failed check of an attestation whose keys and formats are all known, or contradiction in a document."""

    def __init__(self, step: str, expected: str, found: object) -> None:
        super().__init__(step, expected, found)
        self.step = step
        self.expected = expected
        self.found = abbreviate_value(found)


class UnknownMaterial(Exception):  # noqa: N818 - as above
    """Use of a log, key, version, predicate or kind of publisher that the trust root or this verifier does not know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = abbreviate_value(reason)


def abbreviate_value(value: object) -> str:
    """Return an untrusted value as text for evidence, cut to 300 characters so that records stay small."""
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
