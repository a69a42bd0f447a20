"""Output forms of reasons: `_withheld` entries and one-line summaries. Pure.

Filenames, yank reasons and claims are untrusted text. They reach JSON, headers and consoles only through this module,
which escapes their control characters.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NotRequired, TypedDict

from assay.policy.verdict import Reason, Withheld

MAX_SUMMARY_BYTES: Final = 200
"""Maximum size of a reason phrase in bytes; pip prints the phrase (docs/architecture.md, "Routes and status codes")."""
_MAX_RULE_CHARACTERS = 40
_KEPT_END_CHARACTERS = 40
_MAX_TEXT_CHARACTERS = 2000
"""Maximum length of one text in characters. A longer text is cut, since claims and yank reasons may have any length."""


class ReasonJson(TypedDict):
    """JSON object of one reason (docs/policy-semantics.md, "Reasons")."""

    code: str
    rule: str | None
    message: str
    expected: str | None
    found: str | None
    until: NotRequired[str]


class AbsenceJson(TypedDict):
    """JSON object in `_withheld` for a project that does not exist on the index that owns its name. It has no file."""

    reasons: list[ReasonJson]


def escape_controls(text: str, max_chars: int = _MAX_TEXT_CHARACTERS) -> str:
    """Return untrusted text for output: cut to `max_chars` characters, without control characters.

    Control, format and surrogate characters are replaced by visible escape sequences.
    """
    text = text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def reasons_to_json(withheld: Withheld) -> list[ReasonJson]:
    """Return all reasons of a withheld file as JSON objects. The reason that decided the verdict is first."""
    return [_reason_to_json(reason, withheld.nearest) for reason in withheld.reasons]


def describe_withheld(withheld: Withheld) -> str:
    """Return all reasons of a withheld file as one line of text."""
    return "; ".join(
        f"{each.code.value}: {escape_controls(_format_message(each.message, withheld.nearest))}"
        for each in withheld.reasons
    )


def absence_to_json(reason: Reason) -> AbsenceJson:
    """Return the `_withheld` entry for a project that does not exist on the index that owns its name."""
    return {"reasons": [_reason_to_json(reason, None)]}


def summarize_withheld(withheld: Withheld) -> str:
    """Return the first reason as one ASCII line of at most `MAX_SUMMARY_BYTES`, for reason phrases and yank texts.

    The first reason is the one that decided the verdict.
    """
    first = withheld.reasons[0]
    tail = _format_summary_end(first.rule, withheld.nearest)
    head = _escape_to_ascii(f"withheld, {first.code}: {first.message}")
    room = MAX_SUMMARY_BYTES - len(tail)
    if len(head) > room:
        # Cut the middle, because the remedy is at the end.
        head = f"{head[: room - _KEPT_END_CHARACTERS - 3]}...{head[-_KEPT_END_CHARACTERS:]}"
    return head + tail


@lru_cache(maxsize=256)
def _format_summary_end(rule: str | None, nearest: str | None) -> str:
    """Return the end of a summary: the rule and the nearest approved version.

    The result is cached, because all files of a release have the same end.
    """
    tail = f" (rule: {_truncate(rule, _MAX_RULE_CHARACTERS)})" if rule else ""
    tail += f"; nearest approved version: {_truncate(nearest, 30)}" if nearest else ""
    return _escape_to_ascii(tail)


def _reason_to_json(reason: Reason, nearest: str | None) -> ReasonJson:
    message, expected, found = reason.words
    result: ReasonJson = {
        "code": reason.code.value,
        "rule": None if reason.rule is None else escape_controls(reason.rule),
        "message": escape_controls(_format_message(message, nearest)),
        "expected": None if expected is None else escape_controls(expected),
        "found": None if found is None else escape_controls(found),
    }
    if reason.until is not None:
        result["until"] = _format_utc(reason.until)
    return result


def _format_message(message: str, nearest: str | None) -> str:
    return f"{message}; nearest approved version: {nearest}" if nearest else message


def _format_utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _escape_to_ascii(text: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= _MAX_TEXT_CHARACTERS:
        return text
    return escape_controls(text).encode("ascii", "backslashreplace").decode("ascii")


def _truncate(text: str, max_chars: int) -> str:
    line = _escape_to_ascii(text)
    return line if len(line) <= max_chars else f"{line[: max_chars - 3]}..."
