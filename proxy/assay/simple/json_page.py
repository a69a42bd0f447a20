"""A project page in JSON (PEP 691, 700, 714, 740, 792) as a `Project`. Pure.

Strict about types, because a page that says ``"url": 7`` is no page; lenient about what is missing where its absence
has a meaning. Refuses what JSON parsers disagree on: a key twice in one object, NaN and infinite numbers, other
encodings than UTF-8, nesting that only serves to exhaust a stack.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from packaging.utils import NormalizedName, canonicalize_name

from assay.errors import InvalidResponseError
from assay.simple.fields import (
    MAX_INTEGER,
    PageLimits,
    find_sha256,
    intern_text,
    make_page_error,
    parse_api_version,
    parse_core_metadata,
    parse_serial,
    parse_time,
    quote_for_message,
)
from assay.simple.filename import parse_filename
from assay.simple.location import resolve_address
from assay.simple.model import CoreMetadata, File, Project, ProjectStatus

__all__ = ["FILE_KEYS", "loads_strict", "parse_json_page"]

_PAGE_KEYS: Final = frozenset({"meta", "name", "files", "versions", "project-status"})
_META_KEYS: Final = frozenset({"api-version", "_last-serial"})
FILE_KEYS: Final = frozenset(
    {
        "filename",
        "url",
        "hashes",
        "requires-python",
        "size",
        "upload-time",
        "yanked",
        "core-metadata",
        "data-dist-info-metadata",
        "provenance",
    }
)
"""The keys of a file that have a field of their own in `File`."""


def parse_json_page(body: bytes, base_url: str, name: NormalizedName, limits: PageLimits) -> Project:
    """The page of `name`.

    Raises:
        InvalidResponseError: no JSON, or not a page of this project; the message says what and where.
    """
    page = loads_strict(body)
    if not isinstance(page, dict):
        raise make_page_error("page", "an object", page)
    meta = _parse_object(page.get("meta"), "meta")
    api_version = parse_api_version(meta.get("api-version"), "meta.api-version")
    _require_same_project(page.get("name"), name)
    entries = page.get("files")
    if not isinstance(entries, list):
        raise make_page_error("files", "a list", entries)
    if len(entries) > limits.max_files:
        raise InvalidResponseError(f"files: more than {limits.max_files} entries: {len(entries)}")
    return Project(
        name=name,
        files=tuple(
            _parse_file(entry, f"files[{place}]", base_url, name, limits) for place, entry in enumerate(entries)
        ),
        api_version=api_version,
        serial=parse_serial(meta.get("_last-serial"), "meta._last-serial"),
        status=_parse_status(page.get("project-status"), limits),
        versions=_parse_versions(page.get("versions")),
        extra=_collect_extra(page, _PAGE_KEYS, "", limits),
        meta_extra=_collect_extra(meta, _META_KEYS, "meta.", limits),
    )


def loads_strict(body: bytes | str) -> Any:  # noqa: ANN401 - JSON is whatever was sent; each reader checks its part
    """JSON as RFC 8259 has it, and only that.

    Raises:
        InvalidResponseError: no UTF-8, no JSON, a key twice, a number that is none, nested too deeply to read.
    """
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        return _DECODER.decode(text)
    except RecursionError:
        raise InvalidResponseError("page: JSON nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidResponseError(f"page: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidResponseError(f"page: not JSON at line {error.lineno} column {error.colno}: {error.msg}") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise InvalidResponseError("page: a number with too many digits") from None


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # set.add returns None: that is the idiom
        raise InvalidResponseError(f"page: key {quote_for_message(twice)} stands twice in one object")
    return found


def _reject_constant(text: str) -> NoReturn:
    raise InvalidResponseError(f"page: {text} is no JSON number (RFC 8259 section 6)")


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise InvalidResponseError(f"page: the number {quote_for_message(text)} is too large")
    return number


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant, parse_float=_parse_finite
)


def _parse_object(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise make_page_error(where, "an object", value)
    return value


def _parse_string(value: object, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise make_page_error(where, "a string", value)


def _require_same_project(value: object, name: NormalizedName) -> None:
    """A page of another project (a confused cache, a redirect) must not stand for this one."""
    said = _parse_string(value, "name")
    if said is not None and canonicalize_name(said) != name:
        raise make_page_error("name", quote_for_message(str(name)), said)


def _parse_versions(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise make_page_error("versions", "a list", value)
    for place, version in enumerate(value):
        if not isinstance(version, str):
            raise make_page_error(f"versions[{place}]", "a string", version)
    return tuple(value)


def _parse_status(value: object, limits: PageLimits) -> ProjectStatus | None:
    """PEP 792; its prose says ``state`` once where its example, the specification and PyPI say ``status``."""
    if value is None:
        return None
    entry = _parse_object(value, "project-status")
    status = entry.get("status", entry.get("state"))
    if not isinstance(status, str):
        raise make_page_error("project-status.status", "a string", status)
    return ProjectStatus(
        status=status,
        reason=_parse_string(entry.get("reason"), "project-status.reason"),
        extra=_collect_extra(entry, frozenset({"status", "state", "reason"}), "project-status.", limits),
    )


def _parse_file(entry: object, where: str, base_url: str, project: NormalizedName, limits: PageLimits) -> File:
    if not isinstance(entry, dict):
        raise make_page_error(where, "an object", entry)
    filename, reference = entry.get("filename"), entry.get("url")
    if not isinstance(filename, str):
        raise make_page_error(f"{where}.filename", "a string", filename)
    if not isinstance(reference, str):
        raise make_page_error(f"{where}.url", "a string", reference)
    hashes = _parse_hashes(entry.get("hashes"), f"{where}.hashes")
    place = resolve_address(reference, base_url)
    parsed = parse_filename(filename, project).refuse_at(place.refusal)
    uploaded = _parse_string(entry.get("upload-time"), f"{where}.upload-time")
    return File(
        filename=filename,
        url=place.url,
        location=place.location,
        route=place.route,
        distribution=parsed.distribution,
        refusal=parsed.refusal,
        owner=parsed.owner,
        hashes=hashes,
        sha256=find_sha256(hashes),
        size=_parse_size(entry.get("size"), f"{where}.size"),
        upload_time=None if uploaded is None else parse_time(uploaded),
        requires_python=intern_text(_parse_string(entry.get("requires-python"), f"{where}.requires-python")),
        yanked=_parse_yanked(entry.get("yanked"), f"{where}.yanked"),
        core_metadata=_parse_metadata_key(entry, where),
        provenance=_parse_string(entry.get("provenance"), f"{where}.provenance"),
        extra=() if entry.keys() <= FILE_KEYS else _collect_extra(entry, FILE_KEYS, f"{where}.", limits),
    )


def _parse_hashes(value: object, where: str) -> tuple[tuple[str, str], ...]:
    entry = _parse_object(value, where)
    for kind, digest in entry.items():
        if not isinstance(digest, str):
            raise make_page_error(f"{where}.{kind}", "a string", digest)
    return tuple(entry.items())


def _parse_size(value: object, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return value
    raise make_page_error(where, "a number of bytes", value)


def _parse_yanked(value: object, where: str) -> str | None:
    """PEP 691: "a boolean … or a non empty, but otherwise arbitrary, string"; an empty one still yanks."""
    if value is None or value is False:
        return None
    if value is True:
        return ""
    if isinstance(value, str):
        return value
    raise make_page_error(where, "a boolean or a string", value)


def _parse_metadata_key(entry: Mapping[str, Any], where: str) -> CoreMetadata | None:
    """PEP 714: ``core-metadata`` where it stands, whatever the older key says."""
    key = "core-metadata" if "core-metadata" in entry else "data-dist-info-metadata"
    return parse_core_metadata(entry.get(key), f"{where}.{key}")


def _collect_extra(
    entry: Mapping[str, Any], known_keys: frozenset[str], where: str, limits: PageLimits
) -> tuple[tuple[str, str], ...]:
    extra = []
    for key, value in entry.items():
        if key not in known_keys:
            if _is_nested_deeper([value], limits.max_depth):
                raise InvalidResponseError(f"{where}{quote_for_message(key)}: nested deeper than {limits.max_depth}")
            extra.append((key, json.dumps(value)))
    return tuple(extra)


def _is_nested_deeper(values: Iterable[object], depth: int) -> bool:
    """Whether anything among `values` is nested more than `depth` deep; level by level, so without recursion."""
    level: list[object] = list(values)
    for _ in range(depth + 1):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
