"""How reasons reach people and programs: `_withheld` entries, one-line sentences, tombstones. Pure.

What others wrote (filenames, yank reasons, claims) passes through here into JSON, headers and consoles: control
characters are escaped in all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NotRequired, TypedDict

from packaging.version import Version

from assay.policy.verdict import MISLISTED_CODES, Reason, Verdict, Withheld
from assay.simple.model import File, Project

MAX_SUMMARY_BYTES: Final = 200
"""Bytes of a reason phrase: pip prints it (docs/architecture.md, "Routes and status codes")."""
_MAX_RULE_CHARACTERS = 40
_KEPT_END_CHARACTERS = 40
_MAX_TEXT_CHARACTERS = 2000
"""Characters of any one text: claims and yank reasons are as long as others like."""


class ReasonJson(TypedDict):
    """One reason as JSON (docs/policy-semantics.md, "Reasons")."""

    code: str
    rule: str | None
    message: str
    expected: str | None
    found: str | None
    until: NotRequired[str]


class WithheldJson(TypedDict):
    """One entry of `_withheld`."""

    filename: str
    sha256: str | None
    reasons: list[ReasonJson]


class AbsenceJson(TypedDict):
    """An entry of `_withheld` about no file: a name that its index owns and does not have."""

    reasons: list[ReasonJson]


def escape_controls(text: str, max_chars: int = _MAX_TEXT_CHARACTERS) -> str:
    """A text of somebody else's, not too long, with control, format and surrogate characters escaped."""
    text = text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def reasons_to_json(withheld: Withheld) -> list[ReasonJson]:
    """Every reason of a withheld file, the deciding one first."""
    return [_reason_to_json(reason, withheld.nearest) for reason in withheld.reasons]


def describe_withheld(withheld: Withheld) -> str:
    """Every reason of a withheld file in one line, for people."""
    return "; ".join(
        f"{each.code.value}: {escape_controls(_format_message(each.message, withheld.nearest))}"
        for each in withheld.reasons
    )


def withheld_to_json(withheld: Withheld) -> WithheldJson:
    """A page's `_withheld` entry."""
    return {
        "filename": escape_controls(withheld.file.filename),
        "sha256": withheld.file.sha256,
        "reasons": reasons_to_json(withheld),
    }


def absence_to_json(reason: Reason) -> AbsenceJson:
    """A page's `_withheld` entry that is about no file."""
    return {"reasons": [_reason_to_json(reason, None)]}


def summarize_withheld(withheld: Withheld) -> str:
    """The deciding reason in one line of ASCII of at most `MAX_SUMMARY_BYTES`, for reason phrases and yanks."""
    first = withheld.reasons[0]
    tail = _format_summary_end(first.rule, withheld.nearest)
    head = _escape_to_ascii(f"withheld, {first.code}: {first.message}")
    room = MAX_SUMMARY_BYTES - len(tail)
    if len(head) > room:
        # What to do stands at the end, and is worth more than the middle.
        head = f"{head[: room - _KEPT_END_CHARACTERS - 3]}...{head[-_KEPT_END_CHARACTERS:]}"
    return head + tail


@lru_cache(maxsize=256)
def _format_summary_end(rule: str | None, nearest: str | None) -> str:
    """The same for all files of a release."""
    tail = f" (rule: {_truncate(rule, _MAX_RULE_CHARACTERS)})" if rule else ""
    tail += f"; nearest approved version: {_truncate(nearest, 30)}" if nearest else ""
    return _escape_to_ascii(tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A withheld file that a page lists as yanked, so that pip and uv print why. It is never served."""

    file: File
    yanked: str
    """The yank text."""


def make_tombstones(project: Project, verdicts: Sequence[Verdict]) -> tuple[Tombstone, ...]:
    """What to list beside the approved files with `withheld = "explain"`, in the page's order.

    "A version that has no approved file is listed with its files yanked … A version with an approved file has no
    tombstone (uv would lock it)". An entry whose very name, address or digest is wrong has none either: it is not what
    it says, and may be another file's.
    """
    alive = {_get_version(each) for each in verdicts if not isinstance(each, Withheld)}
    return tuple(
        Tombstone(file=file, yanked=summarize_withheld(verdict))
        for file, verdict in zip(project.files, verdicts, strict=True)
        if isinstance(verdict, Withheld)
        and (version := _get_version(verdict)) is not None
        and version not in alive
        and not any(reason.code in MISLISTED_CODES for reason in verdict.reasons)
    )


def _get_version(verdict: Verdict) -> Version | None:
    distribution = verdict.file.distribution
    return None if distribution is None else distribution.version


def _reason_to_json(reason: Reason, nearest: str | None) -> ReasonJson:
    message, expected, found = reason.words
    told: ReasonJson = {
        "code": reason.code.value,
        "rule": None if reason.rule is None else escape_controls(reason.rule),
        "message": escape_controls(_format_message(message, nearest)),
        "expected": None if expected is None else escape_controls(expected),
        "found": None if found is None else escape_controls(found),
    }
    if reason.until is not None:
        told["until"] = _format_utc(reason.until)
    return told


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
