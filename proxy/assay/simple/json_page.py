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

from assay.errors import UpstreamNonsenseError
from assay.simple.fields import (
    LARGEST,
    PageLimits,
    core_metadata,
    nonsense,
    parse_api_version,
    parse_serial,
    parse_sha256,
    parse_time,
    shared,
    shown,
)
from assay.simple.filename import parse_filename
from assay.simple.location import locate
from assay.simple.model import CoreMetadata, File, Project, ProjectStatus

__all__ = ["FILE_KEYS", "loads", "parse_json"]

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


def parse_json(body: bytes, base_url: str, name: NormalizedName, limits: PageLimits) -> Project:
    """The page of `name`.

    Raises:
        UpstreamNonsenseError: no JSON, or not a page of this project; the message says what and where.
    """
    page = loads(body)
    if not isinstance(page, dict):
        raise nonsense("page", "an object", page)
    meta = _object(page.get("meta"), "meta")
    api_version = parse_api_version(meta.get("api-version"), "meta.api-version")
    _same_project(page.get("name"), name)
    entries = page.get("files")
    if not isinstance(entries, list):
        raise nonsense("files", "a list", entries)
    if len(entries) > limits.files:
        raise UpstreamNonsenseError(f"files: more than {limits.files} entries: {len(entries)}")
    return Project(
        name=name,
        files=tuple(_file(entry, f"files[{place}]", base_url, name, limits) for place, entry in enumerate(entries)),
        api_version=api_version,
        serial=parse_serial(meta.get("_last-serial"), "meta._last-serial"),
        status=_status(page.get("project-status"), limits),
        versions=_versions(page.get("versions")),
        extra=_extra(page, _PAGE_KEYS, "", limits),
        meta_extra=_extra(meta, _META_KEYS, "meta.", limits),
    )


def loads(body: bytes | str) -> Any:  # noqa: ANN401 - JSON is whatever was sent; each reader checks its part
    """JSON as RFC 8259 has it, and only that.

    Raises:
        UpstreamNonsenseError: no UTF-8, no JSON, a key twice, a number that is none, nested too deeply to read.
    """
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        return _DECODER.decode(text)
    except RecursionError:
        raise UpstreamNonsenseError("page: JSON nested too deeply") from None
    except UnicodeDecodeError as error:
        raise UpstreamNonsenseError(f"page: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UpstreamNonsenseError(
            f"page: not JSON at line {error.lineno} column {error.colno}: {error.msg}"
        ) from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise UpstreamNonsenseError("page: a number with too many digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # set.add returns None: that is the idiom
        raise UpstreamNonsenseError(f"page: key {shown(twice)} stands twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise UpstreamNonsenseError(f"page: {text} is no JSON number (RFC 8259 section 6)")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise UpstreamNonsenseError(f"page: the number {shown(text)} is too large")
    return number


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise nonsense(where, "an object", value)
    return value


def _text(value: object, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise nonsense(where, "a string", value)


def _same_project(value: object, name: NormalizedName) -> None:
    """A page of another project (a confused cache, a redirect) must not stand for this one."""
    said = _text(value, "name")
    if said is not None and canonicalize_name(said) != name:
        raise nonsense("name", shown(str(name)), said)


def _versions(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise nonsense("versions", "a list", value)
    for place, version in enumerate(value):
        if not isinstance(version, str):
            raise nonsense(f"versions[{place}]", "a string", version)
    return tuple(value)


def _status(value: object, limits: PageLimits) -> ProjectStatus | None:
    """PEP 792; its prose says ``state`` once where its example, the specification and PyPI say ``status``."""
    if value is None:
        return None
    entry = _object(value, "project-status")
    status = entry.get("status", entry.get("state"))
    if not isinstance(status, str):
        raise nonsense("project-status.status", "a string", status)
    return ProjectStatus(
        status=status,
        reason=_text(entry.get("reason"), "project-status.reason"),
        extra=_extra(entry, frozenset({"status", "state", "reason"}), "project-status.", limits),
    )


def _file(entry: object, where: str, base_url: str, project: NormalizedName, limits: PageLimits) -> File:
    if not isinstance(entry, dict):
        raise nonsense(where, "an object", entry)
    filename, reference = entry.get("filename"), entry.get("url")
    if not isinstance(filename, str):
        raise nonsense(f"{where}.filename", "a string", filename)
    if not isinstance(reference, str):
        raise nonsense(f"{where}.url", "a string", reference)
    hashes = _hashes(entry.get("hashes"), f"{where}.hashes")
    place = locate(reference, base_url)
    parsed = parse_filename(filename, project)
    uploaded = _text(entry.get("upload-time"), f"{where}.upload-time")
    return File(
        filename=filename,
        url=place.url,
        location=place.location,
        route=place.route,
        distribution=parsed.distribution if place.refusal is None else None,
        refusal=parsed.refusal or place.refusal,
        owner=parsed.owner,
        hashes=hashes,
        sha256=next((parse_sha256(digest) for kind, digest in hashes if kind == "sha256"), None),
        size=_size(entry.get("size"), f"{where}.size"),
        upload_time=None if uploaded is None else parse_time(uploaded),
        requires_python=shared(_text(entry.get("requires-python"), f"{where}.requires-python")),
        yanked=_yanked(entry.get("yanked"), f"{where}.yanked"),
        core_metadata=_metadata(entry, where),
        provenance=_text(entry.get("provenance"), f"{where}.provenance"),
        extra=() if entry.keys() <= FILE_KEYS else _extra(entry, FILE_KEYS, f"{where}.", limits),
    )


def _hashes(value: object, where: str) -> tuple[tuple[str, str], ...]:
    entry = _object(value, where)
    for kind, digest in entry.items():
        if not isinstance(digest, str):
            raise nonsense(f"{where}.{kind}", "a string", digest)
    return tuple(entry.items())


def _size(value: object, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST:
        return value
    raise nonsense(where, "a number of bytes", value)


def _yanked(value: object, where: str) -> str | None:
    """PEP 691: "a boolean … or a non empty, but otherwise arbitrary, string"; an empty one still yanks."""
    if value is None or value is False:
        return None
    if value is True:
        return ""
    if isinstance(value, str):
        return value
    raise nonsense(where, "a boolean or a string", value)


def _metadata(entry: Mapping[str, Any], where: str) -> CoreMetadata | None:
    """PEP 714: ``core-metadata`` where it stands, whatever the older key says."""
    key = "core-metadata" if "core-metadata" in entry else "data-dist-info-metadata"
    return core_metadata(entry.get(key), f"{where}.{key}")


def _extra(
    entry: Mapping[str, Any], known: frozenset[str], where: str, limits: PageLimits
) -> tuple[tuple[str, str], ...]:
    extra = []
    for key, value in entry.items():
        if key not in known:
            if _deeper([value], limits.depth):
                raise UpstreamNonsenseError(f"{where}{shown(key)}: nested deeper than {limits.depth}")
            extra.append((key, json.dumps(value)))
    return tuple(extra)


def _deeper(values: Iterable[object], depth: int) -> bool:
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
