"""Content of the test index, and its pages; `tests.world.index.fake_index` describes the use."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from packaging.utils import canonicalize_name

from tests.world.index.distributions import BuiltDistribution
from tests.world.index.faulty_server import CannedResponse

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
SIMPLE_HTML = "application/vnd.pypi.simple.v1+html"
ABSENT: Final = object()
"""Value in `entry` that removes a key."""
_STATUS = {"status": "pypi:project-status", "reason": "pypi:project-status-reason"}


@dataclass(kw_only=True, eq=False)
class ListedFile:
    """File of the index; changes of its fields change the responses."""

    built: BuiltDistribution
    origin: str
    files_origin: str
    upload_time: datetime | str | None
    provenance: bytes | None
    """Provenance document; None: its URL is 404, and the page has null unless `entry` has another value."""
    yanked: bool | str
    metadata: bool
    """True if METADATA is offered (wheels only)."""
    entry: dict[str, object] = field(default_factory=dict)
    """Keys of the page's entry with values that replace the correct ones."""
    directory: str = ""

    @property
    def path(self) -> str:
        return f"/packages/{self.directory}/{quote(self.built.filename)}"

    @property
    def url(self) -> str:
        return f"{self.files_origin}{self.path}"

    @property
    def metadata_path(self) -> str:
        return f"{self.path}.metadata"

    @property
    def provenance_path(self) -> str:
        parts = (canonicalize_name(self.built.project), self.built.version, self.built.filename)
        return f"/integrity/{'/'.join(quote(part, safe='') for part in parts)}/provenance"

    @property
    def provenance_url(self) -> str:
        return f"{self.origin}{self.provenance_path}"

    def as_entry(self, *, relative: bool) -> dict[str, object]:
        """Return the entry of the file in the JSON page."""
        offered = self.metadata and self.built.metadata is not None
        digest: object = {"sha256": self.built.metadata_sha256} if offered else False
        full: dict[str, object] = {
            "filename": self.built.filename,
            "url": f"../..{self.path}" if relative else self.url,
            "hashes": {"sha256": self.built.sha256},
            "requires-python": self.built.requires_python,
            "size": self.built.size,
            "upload-time": _format_upload_time(self.upload_time),
            "yanked": self.yanked,
            "core-metadata": digest,
            "data-dist-info-metadata": digest,
            "provenance": None if self.provenance is None else self.provenance_url,
            **self.entry,
        }
        return {key: value for key, value in full.items() if value is not ABSENT}


@dataclass(kw_only=True)
class ProjectListing:
    """Project of the index with its files."""

    display: str
    serial: int
    listed: list[ListedFile] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=lambda: {"status": "active"})
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the JSON page."""


def render_json_page(
    name: str, shelf: ProjectListing, *, api_version: str, text_serials: bool, relative: bool
) -> bytes:
    """Return the JSON page of a project in PyPI's format."""
    page = {
        "meta": {"api-version": api_version, "_last-serial": str(shelf.serial) if text_serials else shelf.serial},
        "name": name,
        "project-status": shelf.status,
        "versions": list(dict.fromkeys(listed.built.version for listed in shelf.listed)),
        "files": [listed.as_entry(relative=relative) for listed in shelf.listed],
        **shelf.more,
    }
    return json.dumps(page).encode()


def render_html_page(name: str, shelf: ProjectListing, *, api_version: str, relative: bool) -> bytes:
    """Return the HTML page of a project in PyPI's format."""
    lines = [
        "<!DOCTYPE html>",
        "<html><head>",
        f'<meta name="pypi:repository-version" content="{api_version}">',
        *(f'<meta name="{_STATUS[key]}" content="{escape_html(value)}">' for key, value in shelf.status.items()),
        f"<title>Links for {name}</title></head><body><h1>Links for {name}</h1>",
        *(_render_anchor(listed.as_entry(relative=relative)) for listed in shelf.listed),
        f"</body></html><!--SERIAL {shelf.serial}-->",
    ]
    return "\n".join(lines).encode()


def respond_with_file(path: str, listed: ListedFile) -> CannedResponse | None:
    built = listed.built
    if path == listed.path:
        # Hashing 256 MB here would delay everything in the event loop.
        return _build_response(built.content, "application/octet-stream", etag=f'"{built.sha256[:32]}"', ranges=True)
    if path == listed.metadata_path and listed.metadata and built.metadata is not None:
        return _build_response(
            built.metadata, "text/plain; charset=utf-8", etag=_make_etag(built.metadata), ranges=True
        )
    if path == listed.provenance_path and listed.provenance is not None:
        kind = "application/vnd.pypi.integrity.v1+json"
        return _build_response(listed.provenance, kind, etag=_make_etag(listed.provenance), ranges=False)
    return None


def _build_response(body: bytes, content_type: str, *, etag: str, ranges: bool) -> CannedResponse:
    headers = {"Content-Type": content_type, "ETag": etag}
    if ranges:
        headers |= {"Accept-Ranges": "bytes", "Cache-Control": "max-age=365000000, immutable, public"}
    return CannedResponse(body=body, headers=headers, ranges=ranges)


def respond_with_page(body: bytes, kind: str, serial: int) -> CannedResponse:
    headers = {
        "Content-Type": kind if kind == SIMPLE_JSON else f"{kind}; charset=UTF-8",
        "ETag": _make_etag(body),
        "Cache-Control": "max-age=600, public",
        "Vary": "Accept",
        "X-PyPI-Last-Serial": str(serial),
    }
    return CannedResponse(body=body, headers=headers)


def _make_etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _format_upload_time(moment: datetime | str | None) -> object:
    if moment is None:
        return ABSENT
    return moment if isinstance(moment, str) else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def escape_html(value: object) -> str:
    return html.escape(str(value))


def _render_anchor(entry: Mapping[str, Any]) -> str:
    """Return PyPI's anchor for an entry, which has no size and no upload time."""
    hashes = entry.get("hashes") or {}
    href = entry["url"] + "".join(f"#{kind}={digest}" for kind, digest in list(hashes.items())[:1])
    attributes = [f'href="{escape_html(href)}"']
    if entry.get("requires-python"):
        attributes.append(f'data-requires-python="{escape_html(entry["requires-python"])}"')
    if entry.get("yanked"):
        reason = "" if entry["yanked"] is True else entry["yanked"]
        attributes.append(f'data-yanked="{escape_html(reason)}"')
    for key in ("data-dist-info-metadata", "core-metadata"):
        if entry.get(key):
            value = "true" if entry[key] is True else f"sha256={entry[key].get('sha256')}"
            attributes.append(f'{key if key.startswith("data-") else f"data-{key}"}="{escape_html(value)}"')
    if entry.get("provenance"):
        attributes.append(f'data-provenance="{escape_html(entry["provenance"])}"')
    return f"<a {' '.join(attributes)}>{escape_html(entry['filename'])}</a><br />"
