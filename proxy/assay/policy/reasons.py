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

from assay.policy.verdict import Code, Reason, Verdict, Withheld
from assay.simple.model import File, Project

SENTENCE: Final = 200
"""Bytes of a reason phrase: pip prints it (DESIGN.md, "Errors")."""
_RULE = 40
_ADVICE = 40
_MISPLACED = frozenset(
    {Code.BAD_FILENAME, Code.OTHER_PROJECT, Code.URL_MISMATCH, Code.DUPLICATE, Code.NO_SHA256, Code.FOREIGN_HOST}
)
_LONGEST = 2000
"""Characters of any one text: claims and yank reasons are as long as others like."""


class ReasonJson(TypedDict):
    """One reason, as in POLICY.md."""

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


class NamelessJson(TypedDict):
    """An entry of `_withheld` about no file: a name that its index owns and does not have."""

    reasons: list[ReasonJson]


def printable(text: str, longest: int = _LONGEST) -> str:
    """A text of somebody else's, not too long, with control, format and surrogate characters escaped."""
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def reasons_json(withheld: Withheld) -> list[ReasonJson]:
    """Every reason of a withheld file, the deciding one first."""
    return [_reason_json(reason, withheld.nearest) for reason in withheld.reasons]


def words(withheld: Withheld) -> str:
    """Every reason of a withheld file in one line, for people."""
    return "; ".join(f"{each.code.value}: {printable(_message(each, withheld.nearest))}" for each in withheld.reasons)


def withheld_json(withheld: Withheld) -> WithheldJson:
    """A page's `_withheld` entry."""
    return {
        "filename": printable(withheld.file.filename),
        "sha256": withheld.file.sha256,
        "reasons": reasons_json(withheld),
    }


def nameless_json(reason: Reason) -> NamelessJson:
    """A page's `_withheld` entry that is about no file."""
    return {"reasons": [_reason_json(reason, None)]}


def sentence(withheld: Withheld) -> str:
    """The deciding reason in one line of printable ASCII of at most `SENTENCE` bytes, for reason phrases and yanks."""
    first = withheld.reasons[0]
    tail = _tail(first.rule, withheld.nearest)
    head = _ascii(f"withheld, {first.code}: {first.message}")
    room = SENTENCE - len(tail)
    if len(head) > room:
        # What to do stands at the end, and is worth more than the middle.
        head = f"{head[: room - _ADVICE - 3]}...{head[-_ADVICE:]}"
    return head + tail


@lru_cache(maxsize=256)
def _tail(rule: str | None, nearest: str | None) -> str:
    """The same for all files of a release."""
    tail = f" (rule: {_clip(rule, _RULE)})" if rule else ""
    tail += f"; nearest approved version: {_clip(nearest, 30)}" if nearest else ""
    return _ascii(tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A withheld file that a page lists as yanked, so that pip and uv print why. It is never served."""

    file: File
    yanked: str
    """The yank text."""


def tombstones(project: Project, decided: Sequence[Verdict]) -> tuple[Tombstone, ...]:
    """What to list beside the approved files with `withheld = "explain"`, in the page's order.

    "A version that has no approved file is listed with its files yanked … A version with an approved file has no
    tombstone (uv would lock it)". An entry whose very name, address or digest is wrong has none either: it is not what
    it says, and may be another file's.
    """
    alive = {_version(each) for each in decided if not isinstance(each, Withheld)}
    return tuple(
        Tombstone(file=file, yanked=sentence(verdict))
        for file, verdict in zip(project.files, decided, strict=True)
        if isinstance(verdict, Withheld)
        and (version := _version(verdict)) is not None
        and version not in alive
        and not any(reason.code in _MISPLACED for reason in verdict.reasons)
    )


def _version(verdict: Verdict) -> Version | None:
    distribution = verdict.file.distribution
    return None if distribution is None else distribution.version


def _reason_json(reason: Reason, nearest: str | None) -> ReasonJson:
    expected, found = reason.expected, reason.found
    told: ReasonJson = {
        "code": reason.code.value,
        "rule": None if reason.rule is None else printable(reason.rule),
        "message": printable(_message(reason, nearest)),
        "expected": None if expected is None else printable(expected),
        "found": None if found is None else printable(found),
    }
    if reason.until is not None:
        told["until"] = _instant(reason.until)
    return told


def _message(reason: Reason, nearest: str | None) -> str:
    return f"{reason.message}; nearest approved version: {nearest}" if nearest else reason.message


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _ascii(text: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= _LONGEST:
        return text
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")


def _clip(text: str, longest: int) -> str:
    line = _ascii(text)
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
