"""Queries of the OSV API: the bodies that clients send, and the pages of their answers. Pure.

Reference: https://google.github.io/osv.dev/post-v1-query/ and https://google.github.io/osv.dev/post-v1-querybatch/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import Version

from assay.advisories.model import MALWARE_PREFIX, Advisory, is_advisory_id
from assay.advisories.record import ECOSYSTEM, BrokenRecordError, read_json_object
from assay.simple.fields import parse_version
from assay.simple.model import NormalizedName

MAX_QUERIES: Final = 1_000
"""Maximum number of queries in one batch, as OSV documents it."""
_MAX_NAME_CHARS: Final = 256
_MAX_VERSION_CHARS: Final = 256
_MAX_TOKEN_CHARS: Final = 200
_PURL_PREFIX: Final = "pkg:pypi/"
_FIRST_PAGE: Final = "."
"""Content of the token for the first page. A batch needs it for queries after the one that reached the limit."""


class InvalidQueryError(ValueError):
    """Error for a query that OSV answers with 400. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageQuery:
    """Query for the records about one package, or about one version of it."""

    project: NormalizedName | None
    """Normalised name; None for a name that no project on PyPI can have, for which no records exist."""
    version: str | None
    """Version; None for the records about any version."""
    after: str | None
    """Id of the last record on the page before; None for the first page."""


def parse_query(body: bytes) -> PackageQuery:
    """Return the query that the body of ``/v1/query`` contains.

    Raises:
        InvalidQueryError: the body is not a query for a package of PyPI.
    """
    return _parse_query(_read_body(body))


def parse_batch(body: bytes) -> tuple[PackageQuery, ...]:
    """Return the queries that the body of ``/v1/querybatch`` contains.

    Raises:
        InvalidQueryError: the body is not a list of queries, or has more than `MAX_QUERIES`.
    """
    queries = _read_body(body).get("queries", [])
    if not isinstance(queries, list):
        raise InvalidQueryError("Invalid query: queries is not an array.")
    if len(queries) > MAX_QUERIES:
        raise InvalidQueryError(f"Too many queries: at most {MAX_QUERIES} are allowed.")
    return tuple(_parse_query(each) for each in queries)


def _read_body(body: bytes) -> Mapping[str, Any]:
    try:
        return read_json_object(body)
    except BrokenRecordError as error:
        raise InvalidQueryError(f"Invalid query: {error}.") from error


def _parse_query(query: object) -> PackageQuery:
    if not isinstance(query, dict):
        raise InvalidQueryError("Invalid query: a query is not an object.")
    if query.get("commit"):
        raise InvalidQueryError("Invalid query: this proxy has no records by commit.")
    package, version = query.get("package"), query.get("version") or None
    if not isinstance(package, dict) or not (version is None or isinstance(version, str)):
        raise InvalidQueryError("Invalid query: no package, or a version that is not a string.")
    name, purl_version = _parse_package(package)
    if version is not None and purl_version is not None:
        raise InvalidQueryError("Invalid query: version specified in both purl and version.")
    stated = version or purl_version
    if stated is not None and len(stated) > _MAX_VERSION_CHARS:
        raise InvalidQueryError("Invalid query: the version is too long.")
    return PackageQuery(project=_normalize(name), version=stated, after=_parse_token(query.get("page_token")))


def _parse_package(package: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the name of a package, and the version in its purl; None without a purl or version."""
    purl, name, ecosystem = package.get("purl"), package.get("name"), package.get("ecosystem")
    if purl:
        if name or ecosystem:
            raise InvalidQueryError("Invalid query: purl together with name or ecosystem.")
        if not isinstance(purl, str) or not purl.lower().startswith(_PURL_PREFIX):
            raise InvalidQueryError(f"Invalid query: expected a purl that begins with {_PURL_PREFIX}.")
        path = purl[len(_PURL_PREFIX) :].partition("#")[0].partition("?")[0]
        named, at, version = path.partition("@")
        return unquote(named), unquote(version) if at else None
    if not isinstance(name, str) or not name or ecosystem != ECOSYSTEM:
        raise InvalidQueryError(f"Invalid query: expected a name and the ecosystem {ECOSYSTEM}.")
    return name, None


def _normalize(name: str) -> NormalizedName | None:
    if len(name) > _MAX_NAME_CHARS:
        return None
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName:
        return None


def select_covering(query: PackageQuery, advisories: Iterable[Advisory]) -> tuple[Advisory, ...]:
    """Return the advisories that answer a query, without those of earlier pages: malware first, then by id.

    A text that is not a version by PEP 440 is covered only by records that cover all versions.
    """
    project = query.project
    if project is None:
        return ()
    version = None if query.version is None else parse_version(query.version)
    start = None if query.after is None else _get_place(query.after)
    found = (each for each in advisories if start is None or _get_place(each.id) > start)
    covering = (each for each in found if query.version is None or _covers(each, project, version))
    return tuple(sorted(covering, key=lambda each: _get_place(each.id)))


def _covers(advisory: Advisory, project: NormalizedName, version: Version | None) -> bool:
    if version is not None:
        return advisory.covers(project, version)
    return any(each.project == project and each.covers_all for each in advisory.affected)


def _get_place(advisory_id: str) -> tuple[bool, str]:
    """Return the sort key of a record in an answer."""
    return not advisory_id.startswith(MALWARE_PREFIX), advisory_id


def make_token(last: str | None) -> str:
    """Return the token for the page after the record with the id `last`; None: for the first page."""
    return base64.urlsafe_b64encode((last or _FIRST_PAGE).encode()).decode()


def _parse_token(token: object) -> str | None:
    if token is None or token == "":
        return None
    if isinstance(token, str) and len(token) <= _MAX_TOKEN_CHARS:
        try:
            last = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            last = ""
        if last == _FIRST_PAGE or is_advisory_id(last):
            return None if last == _FIRST_PAGE else last
    raise InvalidQueryError("Invalid page token.")
