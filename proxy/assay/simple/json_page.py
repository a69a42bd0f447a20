"""Parser of project pages in JSON (PEP 691, 700, 714, 740, 792) into a `Project`. Pure.

If a value in the entry of a file has the wrong type, only that file is affected. If more than half of the entries are
malformed, or if any other value of the page has the wrong type, the whole page is refused. An absent optional key is
accepted. Input that JSON parsers could read in different ways is refused: duplicate keys in one object, NaN and
infinite numbers, encodings other than UTF-8, and nesting that is deep enough to exhaust a stack.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
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
"""Keys of a file's entry for which `File` has a field. All other keys are in `File.extra`."""


_MAX_STRING_BYTES: Final = 64 * 1024
"""Length in bytes up to which a string is always accepted; one of twice the length is always refused."""


def parse_json_page(body: bytes, base_url: str, name: NormalizedName, limits: PageLimits) -> Project:
    """Parse the JSON page of project `name`; relative URLs are resolved against `base_url`.

    Raises:
        InvalidResponseError: the body is not JSON, or is not a page of this project; or a value outside the entries of
            files has the wrong type; or more than half of these entries are malformed; or a limit is exceeded. The
            message has the path to the value.
    """
    _check_string_lengths(body)
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
    files, dropped_entries = _parse_files(entries, base_url, name, limits)
    return Project(
        name=name,
        files=files,
        states_provenance=not entries or any(isinstance(each, dict) and "provenance" in each for each in entries),
        dropped_entries=dropped_entries,
        api_version=api_version,
        serial=parse_serial(meta.get("_last-serial"), "meta._last-serial"),
        status=_parse_status(page.get("project-status"), limits),
        versions=_parse_versions(page.get("versions")),
        extra=_collect_extra(page, _PAGE_KEYS, "", limits),
        meta_extra=_collect_extra(meta, _META_KEYS, "meta.", limits),
    )


def _check_string_lengths(body: bytes) -> None:
    """Refuse a page with a string much longer than any value of a page, before the page is decoded as a whole.

    Every string ends with a quotation mark, so a long block of bytes without one is inside a string or white space.

    Raises:
        InvalidResponseError: an aligned block of `_MAX_STRING_BYTES` bytes has no quotation mark.
    """
    for start in range(0, len(body) - _MAX_STRING_BYTES + 1, _MAX_STRING_BYTES):
        if body.find(b'"', start, start + _MAX_STRING_BYTES) < 0:
            raise InvalidResponseError(f"page: a string longer than {_MAX_STRING_BYTES} bytes")


def loads_strict(body: bytes | str) -> Any:  # noqa: ANN401 - JSON may have any type; callers check it
    """Parse JSON strictly by RFC 8259.

    Raises:
        InvalidResponseError: the body is not UTF-8, is not JSON, has a duplicate key, has NaN or an infinite or
            overlong number, or is nested too deeply.
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
    except ValueError:  # Python limits the number of digits of an integer.
        raise InvalidResponseError("page: a number with too many digits") from None


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # set.add returns None, so this adds unseen keys
        raise InvalidResponseError(f"page: duplicate key {quote_for_message(duplicate)} in one object")
    return found


def _reject_constant(text: str) -> NoReturn:
    raise InvalidResponseError(f"page: {text} is not a JSON number (RFC 8259 section 6)")


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
    """Raise if the page names another project than `name`. A redirect or a faulty cache can cause that."""
    stated = _parse_string(value, "name")
    if stated is not None and canonicalize_name(stated) != name:
        raise make_page_error("name", quote_for_message(str(name)), stated)


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
    """Parse ``project-status`` (PEP 792).

    The key of the status is ``status``. The key ``state`` is accepted too, because one sentence of the PEP uses it.
    """
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


def _parse_files(
    entries: list[object], base_url: str, project: NormalizedName, limits: PageLimits
) -> tuple[tuple[File, ...], int]:
    """Return the files of the page, and the number of dropped entries.

    A malformed entry that has a filename and a URL becomes a file with a `problem`. A malformed entry without one of
    them is dropped.

    Raises:
        InvalidResponseError: more than half of the entries are malformed.
    """
    files: list[File] = []
    problems: list[str] = []
    dropped = 0
    for place, entry in enumerate(entries):
        try:
            files.append(_parse_file(entry, f"files[{place}]", base_url, project, limits))
        except InvalidResponseError as error:
            problems.append(str(error))
            file = _parse_malformed_entry(entry, str(error), base_url, project)
            if file is None:
                dropped += 1
            else:
                files.append(file)
    if 2 * len(problems) > len(entries):
        raise InvalidResponseError(
            f"{len(problems)} of {len(entries)} files are malformed; the first problem: {problems[0]}"
        )
    return tuple(files), dropped


def _parse_malformed_entry(entry: object, problem: str, base_url: str, project: NormalizedName) -> File | None:
    """Return a malformed entry as a file with only name, URL and `problem`; None if the name or URL is missing."""
    if not isinstance(entry, dict):
        return None
    try:
        file = _parse_file({key: entry.get(key) for key in ("filename", "url")}, "", base_url, project, PageLimits())
    except InvalidResponseError:
        return None
    return replace(file, problem=problem)


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
    """Parse ``yanked``; return the reason of the yank, or None if the file is not yanked.

    The value is "a boolean … or a non empty, but otherwise arbitrary, string" (PEP 691). An empty string counts as a
    yank too.
    """
    if value is None or value is False:
        return None
    if value is True:
        return ""
    if isinstance(value, str):
        return value
    raise make_page_error(where, "a boolean or a string", value)


def _parse_metadata_key(entry: Mapping[str, Any], where: str) -> CoreMetadata | None:
    """Parse ``core-metadata``, or ``data-dist-info-metadata`` if the newer key is absent (PEP 714)."""
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
    """Return whether any of `values` has more than `depth` levels of nesting. The check uses no recursion."""
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
