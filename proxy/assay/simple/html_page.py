"""A project page in HTML (PEP 503, 592, 629, 658, 714, 740, 792) as the same `Project` that JSON gives. Pure.

What HTML cannot carry is absent (`versions`), unless a mirror sends it as an attribute of its own (``data-size``,
``data-upload-time``). A file's name is the last segment of its URL, decoded, which is what installers go by: PEP 503
wants the anchor's text to be the same, but directory listings shorten theirs.

Refuses a page that ends inside a tag (it was cut off) and a page without files that asks for a password (a login form
in an index's place must not look like a project without releases).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from packaging.utils import NormalizedName

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
from assay.simple.filename import parse_filename
from assay.simple.json_page import FILE_KEYS
from assay.simple.location import basename, resolve_address
from assay.simple.markup import Comment, HtmlScanner, Tag, parse_attributes
from assay.simple.model import CoreMetadata, File, Project, ProjectStatus

__all__ = ["choose_html_codec", "parse_html_page"]

# Encodings that index pages come in; others (UTF-7, punycode …) only serve to confuse or to burn time.
_ALLOWED_CHARSETS: Final = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"}
)
_SERIAL = re.compile(r"\s*SERIAL\s+([0-9]{1,18})\s*", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_HASH = re.compile(r"(sha1|sha224|sha256|sha384|sha512|sha3_[0-9]{3}|blake2[bs]|md5)=([0-9A-Za-z]{1,256})", re.ASCII)
_MAX_ELEMENTS_PER_FILE = 12
"""Tags that one line of a list may have (a row of a table, say) before a page counts as an attack on our time."""
_MAX_BASE_CHARACTERS = 512
"""It stands before every relative link: a megabyte of links could be made into gigabytes of addresses by it."""
_HTML_SPACE = " \t\n\f\r"


def choose_html_codec(charset: str | None) -> str:
    """The codec for a page of this ``charset``; UTF-8 where none is said.

    Raises:
        InvalidResponseError: an encoding that no index page has.
    """
    name = "utf-8" if charset is None else charset.strip("\"' ").lower()
    if name not in _ALLOWED_CHARSETS:
        raise InvalidResponseError(f"page: expected UTF-8, found charset {quote_for_message(name)}")
    return "utf-8-sig" if name in {"utf-8", "utf8"} else name


def parse_html_page(text: str, base_url: str, name: NormalizedName, limits: PageLimits) -> Project:
    """The page of `name`.

    Raises:
        InvalidResponseError: another major API version, too many files, a page cut off, or a login form.
    """
    page = _PageBuilder(base_url=base_url, name=name, limits=limits)
    scanner = HtmlScanner()
    most = _MAX_ELEMENTS_PER_FILE * (limits.max_files + 1)
    for count, token in enumerate(scanner.feed(text)):
        if count > most:
            raise InvalidResponseError(f"page: more than {most} elements")
        match token:
            case Comment(words):
                page.add_comment(words)
            case Tag(name="a", closing=False, source=source):
                page.add_anchor(parse_attributes(source))
            case Tag(name="base" | "meta" | "input" as tag, closing=False, source=source):
                page.add_head_element(tag, parse_attributes(source))
            case Tag():
                pass
    if scanner.is_unfinished:
        raise InvalidResponseError("page: it ends inside an element, so it was cut off")
    return page.build_project()


@dataclass(slots=True, kw_only=True)
class _PageBuilder:
    """What has been read of a page so far."""

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

    def add_comment(self, text: str) -> None:
        """``<!--SERIAL n-->``: PyPI's way to say in HTML what ``_last-serial`` says in JSON."""
        match = _SERIAL.fullmatch(text)
        if match is not None:
            self.serial = int(match[1])

    def add_head_element(self, tag: str, attributes: Mapping[str, str]) -> None:
        """What stands outside of the list: where its links start, and what the index says of itself."""
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
        """One link; those that name no file (directories, sort orders, anchors without ``href``) are passed over."""
        href = attributes.get("href")
        if href is None:
            return
        reference = href.strip(_HTML_SPACE)
        place = resolve_address(reference, self.base_url)
        filename = basename(place.location)
        if not filename:
            return
        if len(self.files) >= self.limits.max_files:
            raise InvalidResponseError(f"page: more than {self.limits.max_files} files")
        parsed = parse_filename(filename, self.name).refuse_at(place.refusal)
        hashes = _parse_hashes(reference)
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

    def build_project(self) -> Project:
        """The page, read to its end."""
        if self.has_password_field and not self.files:
            raise InvalidResponseError("page: expected links to files, found a form that asks for a password")
        return Project(
            name=self.name,
            files=tuple(self.files),
            api_version=self.api_version or (1, 0),
            serial=self.serial,
            status=None if self.status is None else ProjectStatus(status=self.status, reason=self.status_reason),
        )


def _parse_hashes(reference: str) -> tuple[tuple[str, str], ...]:
    """``#<hashname>=<hashvalue>`` (PEP 503), also among other fragments (``#egg=…&md5=…``)."""
    fragment = reference.partition("#")[2]
    found = (_HASH.fullmatch(part) for part in fragment.split("&")) if fragment else ()
    return tuple((match[1], match[2]) for match in found if match is not None)


def _parse_size(text: str | None) -> int | None:
    return int(text) if text is not None and _DIGITS.fullmatch(text) is not None else None


def _parse_metadata_attribute(attributes: Mapping[str, str], where: str) -> CoreMetadata | None:
    """PEP 658: ``<hashname>=<hashvalue>``, or ``true``; PEP 714's name wins."""
    key = "data-core-metadata" if "data-core-metadata" in attributes else "data-dist-info-metadata"
    value = attributes.get(key)
    if value is None or value.lower() == "false":
        return None
    kind, equals, digest = value.partition("=")
    return parse_core_metadata({kind: digest} if equals else True, f"{where} {key}")


def _collect_extra(attributes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Attributes of unknown meaning under the key that JSON would give them (``data-gpg-sig``: ``gpg-sig``)."""
    return tuple(
        (key, json.dumps(value))
        for name, value in attributes.items()
        if name.startswith("data-") and name != "data-dist-info-metadata" and (key := name[5:]) and key not in FILE_KEYS
    )
