"""Parser of one OSV record. Pure.

A record comes from an unsigned feed and is hostile. All sizes, counts and the nesting are limited. A record that
exceeds a limit, or that has a value of the wrong type, is broken as a whole.

Reference: https://ossf.github.io/osv-schema/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import Version

from assay.advisories.model import (
    MALWARE_PREFIX,
    Advisory,
    AffectedPackage,
    EventKind,
    RangeEvent,
    VersionRange,
    is_advisory_id,
    version_key,
)
from assay.simple.fields import parse_time, parse_version

__all__ = [
    "ECOSYSTEM",
    "MAX_RECORD_BYTES",
    "BrokenRecordError",
    "encode_json_object",
    "parse_record",
    "read_json_object",
]

ECOSYSTEM: Final = "PyPI"
"""Name of the ecosystem in OSV records."""
MAX_RECORD_BYTES: Final = 2 << 20
"""Maximum length of one record. The longest on PyPI's list has less than 200 kB."""
MAX_DEPTH: Final = 32
"""Maximum nesting of a record. The schema needs about eight levels."""
MAX_PACKAGES: Final = 1_000
"""Maximum number of affected packages in one record."""
MAX_VERSIONS: Final = 20_000
"""Maximum number of versions in one affected package. The largest project on PyPI has about 7,000."""
MAX_EVENTS: Final = 2_000
"""Maximum number of events in one affected package, in all of its ranges together."""
MAX_SUMMARY: Final = 500
MAX_DETAILS: Final = 4_000
MAX_ALIASES: Final = 50
MAX_REFERENCES: Final = 20
_MAX_URL: Final = 2_000
_MAX_VERSION: Final = 200

_URL = re.compile(r"https://[!-~]+", re.ASCII)


class BrokenRecordError(ValueError):
    """Error for a record that cannot be used. The message says why."""


def read_json_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that `raw` contains.

    Raises:
        BrokenRecordError: `raw` is too long, is no JSON object in UTF-8, or is nested too deeply.
    """
    if len(raw) > MAX_RECORD_BYTES:
        raise BrokenRecordError(f"expected at most {MAX_RECORD_BYTES} bytes, found {len(raw)}")
    try:
        value = _DECODER.decode(raw.decode())
    except RecursionError as error:
        raise BrokenRecordError("the JSON is nested too deeply") from error
    except ValueError as error:
        raise BrokenRecordError("expected JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise BrokenRecordError("expected a JSON object")
    if _is_nested_deeper(value, MAX_DEPTH):
        raise BrokenRecordError(f"expected at most {MAX_DEPTH} levels of nesting")
    return value


def encode_json_object(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object in ASCII, without line breaks, so that `read_json_object` accepts it.

    Raises:
        BrokenRecordError: the text in ASCII is too long, or a number is too large for a float.
    """
    try:
        raw = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise BrokenRecordError("expected numbers in the range of a float") from error
    if len(raw) > MAX_RECORD_BYTES:
        raise BrokenRecordError(f"expected at most {MAX_RECORD_BYTES} bytes in ASCII, found {len(raw)}")
    return raw


def parse_record(record: Mapping[str, Any], *, is_missing: bool = False) -> Advisory | None:
    """Return the advisory of an OSV record; None if it names no PyPI project.

    Args:
        record: the decoded JSON object (`read_json_object`).
        is_missing: value of `Advisory.is_missing`.

    Raises:
        BrokenRecordError: a value has the wrong type, is missing, or exceeds a limit.
    """
    advisory_id = _get(record, "id", str)
    if advisory_id is None or not is_advisory_id(advisory_id):
        raise BrokenRecordError("id: expected at most 100 letters, digits and ._:-")
    is_malware = advisory_id.startswith(MALWARE_PREFIX)
    entries = _get(record, "affected", list) or []
    if len(entries) > MAX_PACKAGES:
        raise BrokenRecordError(f"affected: expected at most {MAX_PACKAGES} packages, found {len(entries)}")
    affected = tuple(found for each in entries if (found := _parse_affected(each, is_malware)) is not None)
    if not affected:
        return None
    modified = _get_time(record, "modified")
    if modified is None:
        raise BrokenRecordError("modified: expected a time")
    return Advisory(
        id=advisory_id,
        modified=modified,
        affected=affected,
        published=_get_time(record, "published"),
        withdrawn=_get_time(record, "withdrawn"),
        aliases=tuple(_get_texts(record, "aliases", MAX_ALIASES, is_advisory_id)),
        summary=(_get(record, "summary", str) or "")[:MAX_SUMMARY],
        details=(_get(record, "details", str) or "")[:MAX_DETAILS],
        references=_parse_references(record),
        is_missing=is_missing,
    )


def _parse_affected(entry: object, is_malware: bool) -> AffectedPackage | None:  # noqa: FBT001 - private
    """Return the entry; None if it is about another ecosystem."""
    if not isinstance(entry, dict):
        raise BrokenRecordError("affected: expected objects")
    package = _get(entry, "package", dict) or {}
    ecosystem = _get(package, "ecosystem", str) or ""
    if ecosystem.partition(":")[0] != ECOSYSTEM:
        return None
    versions = _get(entry, "versions", list) or []
    if len(versions) > MAX_VERSIONS:
        raise BrokenRecordError(f"versions: expected at most {MAX_VERSIONS}, found {len(versions)}")
    keys = frozenset(key for each in versions if (key := _parse_listed_version(each)) is not None)
    ranges = _parse_ranges(_get(entry, "ranges", list) or [])
    return AffectedPackage(
        project=_parse_name(_get(package, "name", str)),
        versions=keys,
        ranges=ranges,
        covers_all=is_malware and not versions and not ranges,
    )


def _parse_name(name: str | None) -> NormalizedName:
    try:
        # A letter of another alphabet could become an ASCII letter: str.lower maps the Kelvin sign to "k".
        if name is not None and name.isascii():
            return canonicalize_name(name, validate=True)
    except InvalidName:
        pass
    raise BrokenRecordError("package.name: expected a project name")


def _parse_listed_version(value: object) -> str | None:
    """Return the key of a listed version; None for a text that is no version by PEP 440 and so matches no file."""
    if not isinstance(value, str):
        raise BrokenRecordError("versions: expected texts")
    return version_key(value) if len(value) <= _MAX_VERSION else None


def _parse_ranges(ranges: list[Any]) -> tuple[VersionRange, ...]:
    found: list[VersionRange] = []
    count = 0
    for each in ranges:
        if not isinstance(each, dict):
            raise BrokenRecordError("ranges: expected objects")
        events = _get(each, "events", list) or []
        count += len(events)
        if count > MAX_EVENTS:
            raise BrokenRecordError(f"events: expected at most {MAX_EVENTS}")
        if _get(each, "type", str) == "ECOSYSTEM":
            found.append(_parse_range(events))
    return tuple(found)


def _parse_range(events: list[Any]) -> VersionRange:
    parsed = [event for each in events for event in _parse_events(each)]
    return VersionRange(
        # None, "before every version", comes first. Sorting is stable.
        events=tuple(
            sorted(
                (event for event in parsed if event.kind is not EventKind.LIMIT),
                key=lambda event: (event.version is not None, event.version or _ANY_VERSION),
            )
        ),
        limits=tuple(event.version for event in parsed if event.kind is EventKind.LIMIT),
    )


def _parse_events(event: object) -> list[RangeEvent]:
    """Return the events of an object. The schema permits one key only; several keys are taken as several events."""
    if not isinstance(event, dict):
        raise BrokenRecordError("events: expected objects")
    found: list[RangeEvent] = []
    for kind in EventKind:
        text = _get(event, kind.value, str)
        if text is None:
            continue
        is_zero = kind is EventKind.INTRODUCED and text == "0"
        version = None if is_zero or len(text) > _MAX_VERSION else parse_version(text)
        if kind is EventKind.LIMIT and version is None and text != "*":
            continue  # a limit that no version can be compared with
        found.append(RangeEvent(kind, version))
    return found


def _parse_references(record: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for each in (_get(record, "references", list) or [])[:MAX_REFERENCES]:
        url = _get(each, "url", str) if isinstance(each, dict) else None
        if url is not None and len(url) <= _MAX_URL and _URL.fullmatch(url) is not None:
            found.append(url)
    return tuple(found)


def _get_texts(record: Mapping[str, Any], key: str, most: int, accepts: Callable[[str], bool]) -> list[str]:
    values = (_get(record, key, list) or [])[:most]
    return [each for each in values if isinstance(each, str) and accepts(each)]


def _get_time(record: Mapping[str, Any], key: str) -> datetime | None:
    text = _get(record, key, str)
    if text is None:
        return None
    moment = parse_time(text)
    if moment is None:
        raise BrokenRecordError(f"{key}: expected a time")
    return moment


def _get(record: Mapping[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401 - `kind` says which
    """Return the value of an optional key; None if the key is missing or null.

    Raises:
        BrokenRecordError: the value has another type.
    """
    value = record.get(key)
    if value is not None and not isinstance(value, kind):
        raise BrokenRecordError(f"{key}: expected {_KIND_NAMES[kind]}")
    return value


_KIND_NAMES: Final[Mapping[type, str]] = {str: "a string", list: "a list", dict: "an object"}
_ANY_VERSION: Final = Version("0")
"""Placeholder in the sort key of an event without a version, which is never compared with a version."""


def _is_nested_deeper(value: object, depth: int) -> bool:
    level: list[object] = [value]
    for _ in range(depth):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return any(isinstance(each, (dict, list)) for each in level)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid in JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_reject_constant)
