"""Approved pages as JSON and HTML, the root list, and nothing that was not approved. Pure.

- What an index said is passed on: every key of PyPI's JSON, unknown ones too; the digest is the one decided on.
- File addresses are relative, so that no setting has to say where the proxy is; only provenance needs an origin.
- What is withheld is told, never linked. A tombstone (`withheld = "explain"`) is the one exception: listed as yanked,
  with the reason where installers print it, and never served.
- Every value is hostile: JSON is ASCII throughout, HTML is escaped in text and attributes alike.

The same page gives the same bytes, so that an ETag of them says whether anything changed.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from assay.policy.reasons import Tombstone, absence_to_json, describe_withheld, escape_controls, withheld_to_json
from assay.policy.verdict import Approved, Reason, Withheld
from assay.simple.json_page import FILE_KEYS
from assay.simple.model import File, Project
from assay.simple.negotiate import PageFormat

__all__ = [
    "PageLinks",
    "PageListing",
    "render_project",
    "render_root_head",
    "render_root_line",
    "render_root_tail",
]

API_VERSION: Final = "1.4"
"""PEP 792's, as PyPI has it."""
SIZELESS_API_VERSION: Final = "1.0"
"""PEP 700: from 1.1 on ``size`` "is mandatory", so a page that cannot say it claims no more than this."""

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII)
"""What is the same in a path."""
_encode_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_encode_json_string = (
    json.encoder.encode_basestring_ascii
)  # what the encoder itself does with a string, without its overhead
# Keys that we write ourselves: an index's own of the same name must not stand beside them.
_OUR_PAGE_KEYS: Final = frozenset({"meta", "name", "project-status", "versions", "files", "_withheld"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PageListing:
    """A judged page: what is rendered and what is told."""

    project: Project
    approved: tuple[Approved, ...]
    """In the order in which they are listed."""
    withheld: tuple[Withheld, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    """Withheld files that are listed as yanked with the reason: of versions without an approved file."""
    absence_reason: Reason | None = None
    """Why there is nothing at all: a name that its index owns and does not have."""
    show_withheld: bool = True
    """Whether ``_withheld`` and its like in HTML are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLinks:
    """Where things are, as seen by the client."""

    files_prefix: str
    """Prefix of file addresses, relative to the page: ``../../files/``."""
    integrity_base: str | None
    """What provenance addresses begin with: ``https://proxy.example``, or of a view ``https://proxy.example/strict``;
    None where there is none to state, so that provenance is left out: PEP 740 wants "a fully qualified URL" on a secure
    origin."""


def render_project(page: PageListing, page_format: PageFormat, links: PageLinks) -> bytes:
    """The page in the representation asked for: deterministic, ASCII in JSON, UTF-8 in HTML."""
    if page_format is PageFormat.JSON:
        return _render_json(page, links)
    return _render_html(page, links)


# JSON (PEP 691, 700, 740, 792)


def _render_json(page: PageListing, links: PageLinks) -> bytes:
    project = page.project
    meta = [f'"api-version":"{_choose_api_version(page)}"']
    if project.serial is not None:
        meta.append(f'"_last-serial":{project.serial}')
    meta += _format_extra_members(project.meta_extra, frozenset({"api-version", "_last-serial"}))
    parts = [f'"meta":{{{",".join(meta)}}}', f'"name":{_encode_json(project.name)}']
    if project.status is not None:
        status = {"status": project.status.status, "reason": project.status.reason}
        known = _encode_json({key: value for key, value in status.items() if value is not None})
        parts.append(
            f'"project-status":{_append_members(known, _format_extra_members(project.status.extra, frozenset(status)))}'
        )
    parts.append(f'"versions":{_encode_json(_list_versions(page))}')
    entries = [_render_json_file(approved.file, links) for approved in page.approved]
    entries += [_render_json_tombstone(tombstone, links) for tombstone in page.tombstones]
    parts.append(f'"files":[{",".join(entries)}]')
    parts += _format_extra_members(project.extra, _OUR_PAGE_KEYS)
    if page.show_withheld:
        told: list[object] = [withheld_to_json(withheld) for withheld in page.withheld]
        told += [] if page.absence_reason is None else [absence_to_json(page.absence_reason)]
        parts.append(f'"_withheld":{_encode_json(told)}')
    return f"{{{','.join(parts)}}}\n".encode("ascii")


def _render_json_file(file: File, links: PageLinks) -> str:
    metadata = "false"
    if file.core_metadata is not None:
        sha256 = file.core_metadata.sha256
        metadata = "true" if sha256 is None else f'{{"sha256":{_encode_json_string(sha256)}}}'
    yanked = "false" if file.yanked is None else _encode_json_string(file.yanked) if file.yanked else "true"
    members = _format_file_members(
        file, links, yanked=yanked, metadata=metadata, provenance=_make_provenance_url(file, links)
    )
    return f"{{{','.join(members + _format_extra_members(file.extra, FILE_KEYS))}}}"


def _render_json_tombstone(tombstone: Tombstone, links: PageLinks) -> str:
    """What is known of the file, but nothing to fetch beside it: its metadata and provenance answer 403 as it does."""
    file, yanked = _with_withheld_route(tombstone.file), _encode_json_string(tombstone.yanked)
    return f"{{{','.join(_format_file_members(file, links, yanked=yanked, metadata='false', provenance=None))}}}"


def _with_withheld_route(file: File) -> File:
    """A tombstone's file at an address that it never had while it was approved.

    pip keeps downloads by address (over https), and would install what it has without asking anybody.
    """
    return replace(file, route=f"{file.route}?withheld")


def _format_file_members(
    file: File, links: PageLinks, *, yanked: str, metadata: str, provenance: str | None
) -> list[str]:
    """The members of a file's object, all but the last arguments from the file itself."""
    # The digest decided on comes first: pip takes the first one for *the* hash of a link.
    hashes = [] if file.sha256 is None else [f'"sha256":{_encode_json_string(file.sha256)}']
    hashes += [
        f"{_encode_json_string(kind)}:{_encode_json_string(digest)}" for kind, digest in file.hashes if kind != "sha256"
    ]
    members = [
        f'"filename":{_encode_json_string(file.filename)}',
        f'"url":{_encode_json_string(links.files_prefix + file.route)}',
        f'"hashes":{{{",".join(hashes)}}}',
        f'"requires-python":{"null" if file.requires_python is None else _encode_json_string(file.requires_python)}',
        f'"yanked":{yanked}',
        # PEP 714: both, since pip before 23.1 knows the older one only.
        f'"core-metadata":{metadata}',
        f'"data-dist-info-metadata":{metadata}',
        f'"provenance":{"null" if provenance is None else _encode_json_string(provenance)}',
    ]
    if file.size is not None:
        members.append(f'"size":{file.size}')
    if file.upload_time is not None:
        members.append(f'"upload-time":"{_format_upload_time(file.upload_time)}"')
    return members


def _format_extra_members(extra: Iterable[tuple[str, str]], ours: frozenset[str]) -> list[str]:
    """Unknown keys with the JSON text that they came with; a key that we write ourselves is ours."""
    return [f"{_encode_json_string(key)}:{value}" for key, value in extra if key not in ours]


def _append_members(encoded: str, members: Sequence[str]) -> str:
    """An encoded object (of at least one member) with more members."""
    return f"{encoded[:-1]},{','.join(members)}}}" if members else encoded


def _choose_api_version(page: PageListing) -> str:
    files = [*(item.file for item in page.approved), *(item.file for item in page.tombstones)]
    return SIZELESS_API_VERSION if any(file.size is None for file in files) else API_VERSION


def _list_versions(page: PageListing) -> list[str]:
    """Those with an approved file, spelt and ordered as the index has them; any that it forgot follow in order."""
    left = {item.file.distribution.version for item in page.approved if item.file.distribution is not None}
    if not left:
        return []
    versions = []
    for text in page.project.versions:
        version = _parse_version(text)
        if version in left:
            left.remove(version)
            versions.append(text)
    return versions + [str(version) for version in sorted(left)]


def _parse_version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _make_provenance_url(file: File, links: PageLinks) -> str | None:
    if links.integrity_base is None or file.provenance is None or file.distribution is None:
        return None
    release = f"{_quote_part(file.distribution.project)}/{_quote_part(str(file.distribution.version))}"
    name = file.filename if _UNRESERVED.fullmatch(file.filename) else _quote_part(file.filename)
    return f"{links.integrity_base}/integrity/{release}/{name}/provenance"


@lru_cache(maxsize=1024)
def _quote_part(part: str) -> str:
    """For what the files of a page and of a release share: 1.5 µs to find out."""
    return quote(part, safe="", errors="replace")


def _format_upload_time(moment: datetime) -> str:
    """PEP 700: ``yyyy-mm-ddThh:mm:ss.ffffffZ``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# HTML (PEP 503, 592, 629, 658, 714, 740, 792)


def _render_html(page: PageListing, links: PageLinks) -> bytes:
    return "\n".join(_iter_html_lines(page, links)).encode("utf-8", "replace")


def _iter_html_lines(page: PageListing, links: PageLinks) -> Iterator[str]:
    project = page.project
    title = _escape_html(f"Links for {project.name}")
    yield "<!DOCTYPE html>\n<html>\n<head>"
    yield f'<meta name="pypi:repository-version" content="{_choose_api_version(page)}">'
    if project.status is not None:
        yield f'<meta name="pypi:project-status" content="{_escape_html(project.status.status)}">'
        if project.status.reason is not None:
            yield f'<meta name="pypi:project-status-reason" content="{_escape_html(project.status.reason)}">'
    yield f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>"
    for approved in page.approved:
        yield _render_html_file(approved.file, links)
    for tombstone in page.tombstones:
        yield _render_anchor(_with_withheld_route(tombstone.file), links, [("data-yanked", tombstone.yanked)])
    if page.show_withheld and page.withheld:
        yield from _render_html_withheld(page.withheld)
    if page.show_withheld and page.absence_reason is not None:
        yield f"<p>{_escape_html(absence_to_json(page.absence_reason)['reasons'][0]['message'])}</p>"
    yield "</body>\n</html>"
    if project.serial is not None:
        yield f"<!--SERIAL {project.serial}-->"


def _render_html_file(file: File, links: PageLinks) -> str:
    more: list[tuple[str, str]] = []
    if file.yanked is not None:
        more.append(("data-yanked", file.yanked))
    if file.core_metadata is not None:
        value = "true" if file.core_metadata.sha256 is None else f"sha256={file.core_metadata.sha256}"
        more += [("data-dist-info-metadata", value), ("data-core-metadata", value)]
    provenance = _make_provenance_url(file, links)
    if provenance is not None:
        more.append(("data-provenance", provenance))
    return _render_anchor(file, links, more)


def _render_anchor(file: File, links: PageLinks, more: Iterable[tuple[str, str]]) -> str:
    href = f"{links.files_prefix}{file.route}"
    if file.sha256 is not None:
        href = f"{href}#sha256={file.sha256}"
    attributes = [("href", href)]
    if file.requires_python is not None:
        attributes.append(("data-requires-python", file.requires_python))
    attributes += more
    written = " ".join(f'{name}="{_escape_html(value)}"' for name, value in attributes)
    return f"<a {written}>{_escape_html(file.filename)}</a><br />"


def _render_html_withheld(withheld: Iterable[Withheld]) -> Iterator[str]:
    """Text, never a link: whatever an installer makes of the page, it finds nothing here."""
    yield "<h2>Withheld</h2>\n<ul>"
    for item in withheld:
        filename, reasons = _escape_html(escape_controls(item.file.filename)), _escape_html(describe_withheld(item))
        yield f"<li><code>{filename}</code> {reasons}</li>"
    yield "</ul>"


def _escape_html(text: str) -> str:
    """For text and for attributes in double quotes; what HTML's own preprocessing would change is kept by reference."""
    escaped = html.escape(text, quote=True)
    if "\r" in escaped or "\0" in escaped:
        escaped = escaped.replace("\r", "&#13;").replace("\0", "\ufffd")
    return escaped


# The root list, in pieces: PyPI's has 700,000 names and is spooled, never held whole


def render_root_head(page_format: PageFormat, *, serial: int | None = None) -> bytes:
    """What stands before the first name."""
    if page_format is PageFormat.JSON:
        last = "" if serial is None else f',"_last-serial":{serial}'
        return f'{{"meta":{{"api-version":"{API_VERSION}"{last}}},"projects":['.encode("ascii")
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n<title>Simple index</title>\n</head>\n<body>\n'
    ).encode("ascii")


def render_root_line(name: str, page_format: PageFormat, *, is_first: bool) -> bytes:
    """One project, named as its index displays it; JSON needs to know which one is the first."""
    if page_format is PageFormat.JSON:
        return f'{"" if is_first else ","}\n{{"name":{_encode_json(name)}}}'.encode("ascii")
    slug = quote(canonicalize_name(name), safe="", errors="replace")
    return f'<a href="{slug}/">{_escape_html(name)}</a><br />\n'.encode("utf-8", "replace")


def render_root_tail(page_format: PageFormat) -> bytes:
    """What stands after the last name."""
    return b"\n]}\n" if page_format is PageFormat.JSON else b"</body>\n</html>\n"
