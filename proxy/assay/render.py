"""Renderer of project pages with their verdicts, and of the list of projects, as JSON and HTML. Pure.

- Unknown keys of the index's JSON are passed on. For each file, the page states the SHA-256 that was judged.
- File URLs are relative, so the proxy need not know its own address. Only provenance URLs contain the address.
- A withheld file is listed with the reasons, and without a link. The exception is a tombstone, which the policy's key
  `withheld` asks for: the file is listed for installers, which print the reason. It is never served.
- Every value from an index is untrusted. JSON is pure ASCII, and HTML is escaped in text and in attributes.

Equal pages give equal bytes. An ETag computed from the bytes therefore changes only if the page changes.
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

from assay.evidence import has_verified_statements
from assay.policy.reasons import absence_to_json, describe_withheld, escape_controls, reasons_to_json
from assay.policy.shown_advisories import ShownAdvisory
from assay.policy.tombstones import TOMBSTONE_QUERY, Tombstone
from assay.policy.verdict import Approved, Reason, Withheld
from assay.simple.fields import parse_version
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
"""Version of the Simple API that PEP 792 defines. PyPI serves the same version."""
SIZELESS_API_VERSION: Final = "1.0"
"""Version for a page that lists a file of unknown size. From version 1.1 on, ``size`` "is mandatory" (PEP 700)."""
UNSTATED_API_VERSION: Final = "1.2"
"""Version for a page whose index does not say which files have provenance. Version 1.3 adds provenance (PEP 740)."""

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII)
"""Pattern of a path segment that needs no percent-encoding."""
_encode_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_encode_json_string = (
    json.encoder.encode_basestring_ascii
)  # the same result as the encoder's for a string, without its overhead
# Keys that Assay writes itself. The index's own values of these keys are dropped, so that no key occurs twice.
_OUR_PAGE_KEYS: Final = frozenset({"meta", "name", "project-status", "versions", "files", "_advisories", "_withheld"})
_OUR_FILE_KEYS: Final = FILE_KEYS | {"_attestations"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageListing:
    """Files of a project page with the verdicts on them, from which the page is rendered."""

    project: Project
    approved: tuple[Approved, ...]
    """Approved files, in the order in which they are listed."""
    undecided: tuple[File, ...] = ()
    """Files whose evidence is not known yet. The page offers no METADATA and no provenance for them, because these
    documents are not served before the verdict."""
    withheld: tuple[Withheld, ...] = ()
    """Withheld files with their reasons."""
    tombstones: tuple[Tombstone, ...] = ()
    """Withheld files that are listed for installers. Their versions have no approved file."""
    absence_reason: Reason | None = None
    """Reason for an empty page: the index that owns the name does not have the project. None for any other page."""
    advisories: tuple[ShownAdvisory, ...] = ()
    """Advisories that cover a listed version, for the key ``_advisories`` in JSON."""
    show_withheld: bool = True
    """True to list the withheld files and their reasons: under ``_withheld`` in JSON, as a list in HTML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLinks:
    """Beginnings of the URLs that a page contains."""

    files_prefix: str
    """Beginning of file URLs, relative to the page: ``../../files/``."""
    integrity_base: str | None
    """Beginning of provenance URLs: ``https://proxy.example``, or ``https://proxy.example/strict`` for a view. None if
    the proxy's origin is unknown or not secure. The page then has no provenance URLs, because PEP 740 requires "a fully
    qualified URL" on a secure origin."""
    attestations_prefix: str | None = None
    """Beginning of the URLs of verified attestations, relative to the page: ``../../attestations/``. None: the page has
    no such URLs."""


def render_project(page: PageListing, page_format: PageFormat, links: PageLinks) -> bytes:
    """Return the page as JSON (in ASCII) or HTML (in UTF-8); equal arguments always give equal bytes."""
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
    states = project.states_provenance
    entries = [
        _render_json_file(
            approved.file,
            links,
            states_provenance=states,
            attestations=_make_attestations_url(approved, project.name, links),
        )
        for approved in page.approved
    ]
    entries += [
        _render_json_file(_without_related_documents(file), links, states_provenance=states) for file in page.undecided
    ]
    entries += [_render_json_tombstone(each, links, states_provenance=states) for each in page.tombstones]
    parts.append(f'"files":[{",".join(entries)}]')
    parts += _format_extra_members(project.extra, _OUR_PAGE_KEYS)
    if page.advisories:
        parts.append(f'"_advisories":{_encode_json([each.to_json() for each in page.advisories])}')
    if page.show_withheld:
        told = _format_withheld(page.withheld)
        told += [] if page.absence_reason is None else [_encode_json(absence_to_json(page.absence_reason))]
        parts.append(f'"_withheld":[{",".join(told)}]')
    return f"{{{','.join(parts)}}}\n".encode("ascii")


def _render_json_file(file: File, links: PageLinks, *, states_provenance: bool, attestations: str | None = None) -> str:
    """Return a file's JSON object. `attestations` is the URL of its verified attestations, if it has any.

    If it is unknown whether the file has provenance, the object has no ``provenance``.
    """
    metadata = "false"
    if file.core_metadata is not None:
        sha256 = file.core_metadata.sha256
        metadata = "true" if sha256 is None else f'{{"sha256":{_encode_json_string(sha256)}}}'
    members = _format_file_members(
        file, f"{links.files_prefix}{file.route}", yanked=_encode_yanked(file.yanked), metadata=metadata
    )
    if (provenance := _make_provenance_url(file, links)) is not None:
        members.append(f'"provenance":{_encode_json_string(provenance)}')
    elif states_provenance:
        members.append('"provenance":null')
    if attestations is not None:
        members.append(f'"_attestations":{_encode_json_string(attestations)}')
    return f"{{{','.join(members + _format_extra_members(file.extra, _OUR_FILE_KEYS))}}}"


def _render_json_tombstone(tombstone: Tombstone, links: PageLinks, *, states_provenance: bool) -> str:
    """Return a tombstone's JSON object.

    The object offers no METADATA and no provenance, because requests for them get a 403.
    """
    url, yanked = _make_tombstone_url(tombstone, links), _encode_yanked(tombstone.yanked)
    members = _format_file_members(tombstone.file, url, yanked=yanked, metadata="false")
    members += ['"provenance":null'] if states_provenance else []
    return f"{{{','.join(members)}}}"


def _encode_yanked(text: str | None) -> str:
    return "false" if text is None else _encode_json_string(text) if text else "true"


def _without_related_documents(file: File) -> File:
    return replace(file, core_metadata=None, provenance=None)


def _make_tombstone_url(tombstone: Tombstone, links: PageLinks) -> str:
    """Return a URL that is used only while the file is withheld.

    pip caches downloads by URL (over https). With the URL of the approved file, pip would install its cached copy
    without a request.
    """
    return f"{links.files_prefix}{tombstone.file.route}?{TOMBSTONE_QUERY}"


def _format_file_members(file: File, url: str, *, yanked: str, metadata: str) -> list[str]:
    """Return the encoded members of a file's JSON object.

    Args:
        file: the file.
        url: the URL of the file, relative to the page.
        yanked: the value of the member ``yanked``, as JSON text.
        metadata: the value of the member ``core-metadata``, as JSON text.
    """
    # The verdict's SHA-256 comes first, because pip takes the first hash as the hash of the link.
    hashes = [] if file.sha256 is None else [f'"sha256":{_encode_json_string(file.sha256)}']
    hashes += [
        f"{_encode_json_string(kind)}:{_encode_json_string(digest)}" for kind, digest in file.hashes if kind != "sha256"
    ]
    members = [
        f'"filename":{_encode_json_string(file.filename)}',
        f'"url":{_encode_json_string(url)}',
        f'"hashes":{{{",".join(hashes)}}}',
        f'"requires-python":{"null" if file.requires_python is None else _encode_json_string(file.requires_python)}',
        f'"yanked":{yanked}',
        # Both keys (PEP 714), since pip before 23.1 knows only the older one.
        f'"core-metadata":{metadata}',
        f'"data-dist-info-metadata":{metadata}',
    ]
    if file.size is not None:
        members.append(f'"size":{file.size}')
    if file.upload_time is not None:
        members.append(f'"upload-time":"{_format_upload_time(file.upload_time)}"')
    return members


def _format_withheld(items: Iterable[Withheld]) -> list[str]:
    """Return the encoded `_withheld` entries of files. Equal reasons are encoded once, since files often share them."""
    encoded: dict[object, str] = {}
    entries = []
    for item in items:
        key = item.nearest, tuple((each.code, each.rule, each.words, each.until) for each in item.reasons)
        if (reasons := encoded.get(key)) is None:
            reasons = encoded[key] = _encode_json(reasons_to_json(item))
        filename = _encode_json_string(escape_controls(item.file.filename))
        sha256 = "null" if item.file.sha256 is None else _encode_json_string(item.file.sha256)
        entries.append(f'{{"filename":{filename},"sha256":{sha256},"reasons":{reasons}}}')
    return entries


def _format_extra_members(extra: Iterable[tuple[str, str]], ours: frozenset[str]) -> list[str]:
    """Return the unknown members of the index's JSON, without the keys in `ours`. Their JSON text is unchanged."""
    return [f"{_encode_json_string(key)}:{value}" for key, value in extra if key not in ours]


def _append_members(encoded: str, members: Sequence[str]) -> str:
    """Return an encoded JSON object with further encoded members at its end. The object must not be empty."""
    return f"{encoded[:-1]},{','.join(members)}}}" if members else encoded


def _choose_api_version(page: PageListing) -> str:
    files = list(_iter_listed(page))
    if any(file.size is None for file in files):
        return SIZELESS_API_VERSION
    return API_VERSION if page.project.states_provenance or not files else UNSTATED_API_VERSION


def _choose_html_api_version(page: PageListing, links: PageLinks) -> str:
    """Return the version of an HTML page.

    A page without ``data-provenance`` says that no file has provenance only from version 1.3 on. HTML has no sizes, so
    that version is correct without them too.
    """
    has_urls = any(_make_provenance_url(approved.file, links) is not None for approved in page.approved)
    return API_VERSION if page.project.states_provenance and not has_urls else _choose_api_version(page)


def _iter_listed(page: PageListing) -> Iterator[File]:
    """Yield all files that the page lists for installers."""
    yield from (item.file for item in page.approved)
    yield from page.undecided
    yield from (item.file for item in page.tombstones)


def _list_versions(page: PageListing) -> list[str]:
    """Return the versions that have a listed file: approved, undecided or a tombstone (PEP 700).

    Their spelling and order are those of the index's ``versions``. Versions that ``versions`` lacks follow in ascending
    order.
    """
    # By identity first, since comparing versions is slow and the files of a release share one version object.
    distributions = (file.distribution for file in _iter_listed(page))
    left = dict.fromkeys({id(each.version): each.version for each in distributions if each is not None}.values(), True)
    if not left:
        return []
    versions = [
        text
        for text in page.project.versions
        if (version := parse_version(text)) is not None and left.pop(version, False)
    ]
    return versions + [str(version) for version in sorted(left)]


def _make_provenance_url(file: File, links: PageLinks) -> str | None:
    if links.integrity_base is None or file.provenance is None or file.distribution is None:
        return None
    release = f"{_quote_part(file.distribution.project)}/{_quote_part(str(file.distribution.version))}"
    name = file.filename if _UNRESERVED.fullmatch(file.filename) else _quote_part(file.filename)
    return f"{links.integrity_base}/integrity/{release}/{name}/provenance"


def _make_attestations_url(approved: Approved, project: str, links: PageLinks) -> str | None:
    """Return the URL of the verified attestations of a file; None if none are known."""
    if links.attestations_prefix is None or not has_verified_statements(approved.evidence):
        return None
    return f"{links.attestations_prefix}{approved.sha256}?project={project}"


@lru_cache(maxsize=1024)
def _quote_part(part: str) -> str:
    """Return a path segment, percent-encoded. Cached, because files share segments and encoding one takes 1.5 µs."""
    return quote(part, safe="", errors="replace")


def _format_upload_time(moment: datetime) -> str:
    """Return a time in the format of PEP 700: ``yyyy-mm-ddThh:mm:ss.ffffffZ``."""
    utc = moment.astimezone(UTC)
    date_and_time = (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % date_and_time  # noqa: UP031 - takes 0.8 µs, isoformat 1.4 µs


# HTML (PEP 503, 592, 629, 658, 714, 740, 792)


def _render_html(page: PageListing, links: PageLinks) -> bytes:
    return "\n".join(_iter_html_lines(page, links)).encode("utf-8", "replace")


def _iter_html_lines(page: PageListing, links: PageLinks) -> Iterator[str]:
    project = page.project
    title = _escape_html(f"Links for {project.name}")
    yield "<!DOCTYPE html>\n<html>\n<head>"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="pypi:repository-version" content="{_choose_html_api_version(page, links)}">'
    if project.status is not None:
        yield f'<meta name="pypi:project-status" content="{_escape_html(project.status.status)}">'
        if project.status.reason is not None:
            yield f'<meta name="pypi:project-status-reason" content="{_escape_html(project.status.reason)}">'
    yield f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>"
    for approved in page.approved:
        yield _render_html_file(approved.file, links)
    for file in page.undecided:
        yield _render_html_file(_without_related_documents(file), links)
    for tombstone in page.tombstones:
        yanked = [] if tombstone.yanked is None else [("data-yanked", tombstone.yanked)]
        yield _render_anchor(tombstone.file, _make_tombstone_url(tombstone, links), yanked)
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
    return _render_anchor(file, f"{links.files_prefix}{file.route}", more)


def _render_anchor(file: File, href: str, more: Iterable[tuple[str, str]]) -> str:
    if file.sha256 is not None:
        href = f"{href}#sha256={file.sha256}"
    attributes = [("href", href)]
    if file.requires_python is not None:
        attributes.append(("data-requires-python", file.requires_python))
    attributes += more
    written = " ".join(f'{name}="{_escape_html(value)}"' for name, value in attributes)
    return f"<a {written}>{_escape_html(file.filename)}</a><br />"


def _render_html_withheld(withheld: Iterable[Withheld]) -> Iterator[str]:
    """Yield the list of withheld files with their reasons. It has no links, so that installers find no file in it."""
    yield "<h2>Withheld</h2>\n<ul>"
    for item in withheld:
        filename, reasons = _escape_html(escape_controls(item.file.filename)), _escape_html(describe_withheld(item))
        yield f"<li><code>{filename}</code> {reasons}</li>"
    yield "</ul>"


def _escape_html(text: str) -> str:
    """Return text escaped for HTML text and for attribute values in double quotes.

    A carriage return becomes a character reference, because an HTML parser would change it to a line feed. A NUL
    becomes U+FFFD, since HTML cannot represent it.
    """
    escaped = html.escape(text, quote=True)
    if "\r" in escaped or "\0" in escaped:
        escaped = escaped.replace("\r", "&#13;").replace("\0", "\ufffd")
    return escaped


# The list of projects, in pieces: PyPI's has 700,000 names, so it is spooled and never in memory as a whole


def render_root_head(page_format: PageFormat, *, serial: int | None = None) -> bytes:
    """Return the beginning of the list of projects, before the first name."""
    if page_format is PageFormat.JSON:
        last = "" if serial is None else f',"_last-serial":{serial}'
        return f'{{"meta":{{"api-version":"{API_VERSION}"{last}}},"projects":['.encode("ascii")
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n<title>Simple index</title>\n</head>\n<body>\n'
    ).encode("ascii")


def render_root_line(name: str, page_format: PageFormat, *, is_first: bool) -> bytes:
    """Return the entry of one project in the list of projects.

    Args:
        name: the name as the index spells it.
        page_format: the format of the list.
        is_first: True for the first entry of the list. JSON has a comma before each other entry.
    """
    if page_format is PageFormat.JSON:
        return f'{"" if is_first else ","}\n{{"name":{_encode_json(name)}}}'.encode("ascii")
    slug = quote(canonicalize_name(name), safe="", errors="replace")
    return f'<a href="{slug}/">{_escape_html(name)}</a><br />\n'.encode("utf-8", "replace")


def render_root_tail(page_format: PageFormat) -> bytes:
    """Return the end of the list of projects, after the last name."""
    return b"\n]}\n" if page_format is PageFormat.JSON else b"</body>\n</html>\n"
