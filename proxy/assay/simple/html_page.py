"""Parser of project pages in HTML (PEP 503, 592, 629, 658, 714, 740, 792) into the same `Project` as JSON. Pure.

Fields that HTML does not have, such as `versions`, stay empty. Size and upload time are read from the non-standard
attributes ``data-size`` and ``data-upload-time``, which some mirrors send. The filename is the decoded last segment of
the link's URL, as in installers. PEP 503 requires the text of the anchor to be the filename too, but directory listings
shorten the text.

A link that cannot be a file is ignored. Such a link has a scheme but no host (``mailto:``), or it has neither a hash
nor the ending of a distribution (``index.html``).

Three kinds of pages are refused, because files of the project may be missing on them. A page that ends inside a tag is
truncated. A page with a password field and no files is probably a login form. A page with neither links to files nor a
mark of an empty page may be an error page or the beginning of a page.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from packaging.utils import NormalizedName, canonicalize_name

from assay.errors import InvalidResponseError
from assay.simple.fields import (
    PageLimits,
    find_sha256,
    intern_text,
    parse_api_version,
    parse_core_metadata,
    parse_time,
    quote_for_message,
)
from assay.simple.filename import has_distribution_ending, parse_filename
from assay.simple.json_page import FILE_KEYS
from assay.simple.location import basename, has_hostless_scheme, resolve_address
from assay.simple.markup import Comment, HtmlScanner, Tag, Token, parse_attributes
from assay.simple.model import CoreMetadata, File, Project, ProjectStatus

__all__ = ["choose_html_codec", "parse_html_page"]

# Character encodings of index pages. Others (UTF-7, punycode …) are useful only for attacks.
_ALLOWED_CHARSETS: Final = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"}
)
_SERIAL = re.compile(r"\s*SERIAL\s+([0-9]{1,18})\s*", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_HASH = re.compile(
    r"(sha1|sha224|sha256|sha384|sha512|sha3_[0-9]{3}|blake2[bs]|md5)[=:-]([0-9A-Za-z]{1,256})",
    re.ASCII | re.IGNORECASE,
)
"""Hash, ``<hashname>=<hashvalue>`` (PEP 503). Some indexes separate the two by a colon or a hyphen."""
_HEADING = re.compile(r"\blinks for\s+([A-Za-z0-9._-]{1,256})\s*\Z", re.ASCII | re.IGNORECASE)
_MAX_ELEMENTS_PER_FILE = 12
"""Number of tags and comments that a page may have for each permitted file (`PageLimits.max_files`). This bounds the
time to parse a page. A file in a table row needs fewer tags."""
_MAX_BASE_CHARACTERS = 512
"""Maximum length of ``<base href>``. Every relative link is joined with it, so a long one would multiply the page's
size."""
_PROVENANCE_API_VERSION: Final = (1, 3)
"""First version of the Simple API with provenance (PEP 740)."""
_CHUNK_BYTES = 256 * 1024
"""Bytes of a page that are decoded at a time, so that a large page is not held as text as well."""
_HTML_SPACE = " \t\n\f\r"


def choose_html_codec(charset: str | None) -> str:
    """Return the Python codec for a ``charset`` parameter; UTF-8 if `charset` is None, for a missing parameter.

    Raises:
        InvalidResponseError: the encoding is not UTF-8, ASCII, Latin-1 or Windows-1252.
    """
    name = "utf-8" if charset is None else charset.strip("\"' ").lower()
    if name not in _ALLOWED_CHARSETS:
        raise InvalidResponseError(f"page: expected UTF-8, found charset {quote_for_message(name)}")
    return "utf-8-sig" if name in {"utf-8", "utf8"} else name


def parse_html_page(
    body: bytes, codec: str, base_url: str, name: NormalizedName, limits: PageLimits, *, had_files: bool = False
) -> Project:
    """Parse the HTML page of project `name`; relative links are resolved against `base_url`.

    A page without files must have a mark of PyPI's pages: a ``pypi:`` meta element, or the comment with the serial. The
    heading "Links for NAME" is accepted as a mark only if `had_files` is False, because other servers send it too.
    `had_files` is True if the project had files before, according to an earlier page or the ledger.

    Args:
        body: the page.
        codec: Python codec of the body; invalid bytes become U+FFFD.
        base_url: absolute URL of the page.
        name: normalised name of the project.
        limits: limits on the content of the page.
        had_files: True if an earlier page of the project had files.

    Raises:
        InvalidResponseError: the page has another major API version, or too many files or elements; or an element is
            too long; or the page is truncated, is a login form, or has neither files nor a mark of an empty page.
    """
    page = _PageBuilder(base_url=base_url, name=name, limits=limits)
    scanner = HtmlScanner()
    most = _MAX_ELEMENTS_PER_FILE * (limits.max_files + 1)
    for count, token in enumerate(_scan(scanner, body, codec)):
        if count > most:
            raise InvalidResponseError(f"page: more than {most} elements")
        match token:
            case Comment(words):
                page.add_comment(words)
            case Tag(name="a", closing=False, source=source):
                page.add_anchor(parse_attributes(source))
            case Tag(name="h1" | "h2", closing=True, text=words):
                page.add_heading(words)
            case Tag(name="base" | "meta" | "input" as tag, closing=False, source=source):
                page.add_head_element(tag, parse_attributes(source))
            case Tag():
                pass
    if scanner.is_unfinished:
        raise InvalidResponseError("page: truncated inside an element")
    return page.build_project(had_files=had_files)


def _scan(scanner: HtmlScanner, body: bytes, codec: str) -> Iterator[Token]:
    """Yield the tokens of a page, which is decoded piece by piece."""
    decoder, view = codecs.getincrementaldecoder(codec)(errors="replace"), memoryview(body)
    for start in range(0, len(view), _CHUNK_BYTES):
        yield from scanner.feed(decoder.decode(view[start : start + _CHUNK_BYTES]))
    yield from scanner.feed(decoder.decode(b"", final=True))


@dataclass(slots=True, kw_only=True)
class _PageBuilder:
    """Content of a page, as far as the page has been parsed."""

    base_url: str
    name: NormalizedName
    limits: PageLimits
    files: list[File] = field(default_factory=list)
    has_base: bool = False
    api_version: tuple[int, int] | None = None
    status: str | None = None
    status_reason: str | None = None
    serial: int | None = None
    has_password_field: bool = False
    has_heading: bool = False
    """True if the page has the heading ``Links for NAME``."""

    def add_comment(self, text: str) -> None:
        """Read the serial from a comment ``<!--SERIAL n-->``, with which PyPI states ``_last-serial`` in HTML."""
        match = _SERIAL.fullmatch(text)
        if match is not None:
            self.serial = int(match[1])

    def add_heading(self, text: str) -> None:
        """Read a heading such as ``Links for foo``, or ``acme/prod: links for foo`` of devpi."""
        match = _HEADING.search(text)
        self.has_heading |= match is not None and canonicalize_name(match[1]) == self.name

    def add_head_element(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Read a ``<base>``, ``<meta>`` or ``<input>`` element.

        Raises:
            InvalidResponseError: a ``<base>`` is too long, or the API version is not ``1.N``.
        """
        if tag == "input":
            self.has_password_field |= attributes.get("type", "").lower() == "password"
        elif tag == "base":
            if not self.has_base and "href" in attributes:  # "the first base element … with an href attribute" counts
                self.has_base = True
                if len(attributes["href"]) > _MAX_BASE_CHARACTERS:
                    raise InvalidResponseError(f"page: a <base> longer than {_MAX_BASE_CHARACTERS} characters")
                self.base_url = resolve_address(attributes["href"].strip(_HTML_SPACE), self.base_url).url
        else:
            self._add_meta(attributes.get("name", "").lower(), attributes.get("content", ""))

    def _add_meta(self, name: str, content: str) -> None:
        match name:
            case "pypi:repository-version" if self.api_version is None:
                self.api_version = parse_api_version(content, "meta pypi:repository-version")
            case "pypi:project-status" if self.status is None:
                self.status = content
            case "pypi:project-status-reason" if self.status_reason is None:
                self.status_reason = content
            case _:
                pass

    def add_anchor(self, attributes: Mapping[str, str]) -> None:
        """Add the file of a link.

        An anchor without ``href`` is ignored, and so is a link that cannot be a file, such as a link to a directory.

        Raises:
            InvalidResponseError: the page has too many files.
        """
        href = attributes.get("href")
        if href is None:
            return
        reference = href.strip(_HTML_SPACE)
        place = resolve_address(reference, self.base_url)
        filename = basename(place.location)
        hashes = _parse_hashes(reference)
        if not filename or has_hostless_scheme(reference) or not (hashes or has_distribution_ending(filename)):
            return
        if len(self.files) >= self.limits.max_files:
            raise InvalidResponseError(f"page: more than {self.limits.max_files} files")
        parsed = parse_filename(filename, self.name).refuse_at(place.refusal)
        where = f"link {len(self.files)}"
        self.files.append(
            File(
                filename=filename,
                url=place.url,
                location=place.location,
                route=place.route,
                distribution=parsed.distribution,
                refusal=parsed.refusal,
                owner=parsed.owner,
                hashes=hashes,
                sha256=find_sha256(hashes),
                size=_parse_size(attributes.get("data-size")),
                upload_time=parse_time(attributes.get("data-upload-time", "")),
                requires_python=intern_text(attributes.get("data-requires-python")),
                yanked=attributes.get("data-yanked"),
                core_metadata=_parse_metadata_attribute(attributes, where),
                provenance=attributes.get("data-provenance"),
                extra=_collect_extra(attributes),
            )
        )

    def build_project(self, *, had_files: bool) -> Project:
        """Return the `Project`. Call this after the whole page has been read.

        Raises:
            InvalidResponseError: the page has a password field and no files, or it has neither files nor a mark of an
                empty page.
        """
        if not self.files:
            if self.has_password_field:
                raise InvalidResponseError("page: expected links to files, found a form that asks for a password")
            has_mark = (self.serial, self.api_version, self.status) != (None, None, None)
            if not (has_mark or (self.has_heading and not had_files)):
                raise InvalidResponseError(
                    "page: expected links to files, or PyPI's marks of an empty page, found neither"
                )
        return Project(
            name=self.name,
            files=tuple(self.files),
            api_version=self.api_version or (1, 0),
            states_provenance=(
                not self.files
                or (self.api_version or (1, 0)) >= _PROVENANCE_API_VERSION
                or any(file.provenance is not None for file in self.files)
            ),
            serial=self.serial,
            status=None if self.status is None else ProjectStatus(status=self.status, reason=self.status_reason),
        )


def _parse_hashes(reference: str) -> tuple[tuple[str, str], ...]:
    """Parse the hashes of a URL's fragment: ``#<hashname>=<hashvalue>`` (PEP 503), or several: ``#egg=…&md5=…``.

    The fragment may be percent-encoded (RFC 3986 section 2.1), as in ``#sha256%3D…``.
    """
    fragment = reference.partition("#")[2]
    found = (_HASH.fullmatch(part) for part in unquote(fragment).split("&")) if fragment else ()
    return tuple((match[1].lower(), match[2]) for match in found if match is not None)


def _parse_size(text: str | None) -> int | None:
    return int(text) if text is not None and _DIGITS.fullmatch(text) is not None else None


def _parse_metadata_attribute(attributes: Mapping[str, str], where: str) -> CoreMetadata | None:
    """Parse the attribute about METADATA, ``<hashname>=<hashvalue>`` or ``true`` (PEP 658).

    The attribute name from PEP 714, ``data-core-metadata``, takes precedence over the name from PEP 658.
    """
    key = "data-core-metadata" if "data-core-metadata" in attributes else "data-dist-info-metadata"
    value = attributes.get(key)
    if value is None or value.lower() == "false":
        return None
    match = _HASH.fullmatch(unquote(value))
    if match is not None:
        return parse_core_metadata({match[1].lower(): match[2]}, f"{where} {key}")
    kind, equals, digest = value.partition("=")
    return parse_core_metadata({kind: digest} if equals else True, f"{where} {key}")


def _collect_extra(attributes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the unknown ``data-`` attributes as pairs of name and value, in the form of JSON pages.

    The name has no ``data-``, for example ``gpg-sig``. The value is JSON text.
    """
    return tuple(
        (key, json.dumps(value))
        for name, value in attributes.items()
        if name.startswith("data-") and name != "data-dist-info-metadata" and (key := name[5:]) and key not in FILE_KEYS
    )
