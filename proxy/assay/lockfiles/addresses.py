"""Translation of the URLs in lockfiles between the upstream indexes and the proxy. Pure.

The proxy serves the file ``https://host/path`` as ``<base>/files/host/path``, and all indexes as ``<base>/simple/``.
A URL is translated only if the configuration proves what it means: the index owns the project, the index may use the
host of the file, and the way back leads to the same URL. Any other URL is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from assay.indexes import Indexes, IndexSettings, allowed_file_hosts, normalize_address
from assay.simple.location import resolve_address
from assay.simple.model import NormalizedName

_PAGES = "simple/"
_FILES = "files/"


class Side(Enum):
    """Side that the URLs of a lockfile name; the value is the word on the command line."""

    UPSTREAM = "upstream"
    PROXY = "proxy"


class UntranslatableError(ValueError):
    """Refusal of a URL that the configuration does not explain. The text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Translator of URLs to one side."""

    indexes: Indexes
    bases: Sequence[str]
    """URL of each view, with a slash at its end. A URL below any of them is a URL of the proxy."""
    base: str
    """URL of the view to which translated URLs lead; one of `bases`."""
    to: Side

    def translate_index(self, url: str, projects: Sequence[NormalizedName]) -> str:
        """Return the URL of the index on the chosen side. It ends with a slash if `url` ends with one.

        Args:
            url: URL of an index, as in the lockfile.
            projects: names of the projects that the lockfile takes from this index. If it is empty, the index must
                cover all names.

        Raises:
            UntranslatableError: the URL is neither that of the proxy nor that of the index that owns the projects.
        """
        slash = "/" if url.endswith("/") else ""
        source = _normalize(url)
        if any(source == f"{base}{_PAGES}" for base in self.bases):
            owner = self._find_only_owner(projects)
        else:
            owner = self._find_named_owner(source, projects)
        target = owner.url if self.to is Side.UPSTREAM else f"{self.base}{_PAGES}"
        return url if source == target else target.rstrip("/") + slash

    def translate_file(self, url: str, project: NormalizedName) -> str:
        """Return the URL of a file of `project` on the chosen side.

        Raises:
            UntranslatableError: the index that owns the project may not use the host, or the URL has a part that a URL
                of the proxy cannot contain, such as a query.
        """
        owner = self._find_owner(project)
        base = max((each for each in self.bases if url.startswith(f"{each}{_FILES}")), key=len, default=None)
        upstream = url if base is None else _resolve_route(url[len(base) + len(_FILES) :], owner)
        address = resolve_address(upstream, "")
        if address.refusal is not None:
            raise UntranslatableError(address.refusal)
        host = address.route.partition("/")[0]
        if host not in allowed_file_hosts(owner):
            raise UntranslatableError(f"{host} is not a host of files of the index {owner.name}")
        if _resolve_route(address.route, owner) != upstream:
            raise UntranslatableError("a URL of the proxy cannot contain all its parts, such as user name and query")
        return upstream if self.to is Side.UPSTREAM else f"{self.base}{_FILES}{address.route}"

    def _find_owner(self, project: NormalizedName) -> IndexSettings:
        if (owner := self.indexes.find_owner(project)) is None:
            raise UntranslatableError(f"no index of the configuration covers the project {project}")
        return owner

    def _find_only_owner(self, projects: Sequence[NormalizedName]) -> IndexSettings:
        """Return the index that owns all projects; without projects, the first index that covers all names."""
        owners = {owner.name: owner for owner in map(self._find_owner, projects)}
        if not projects:
            owners = {each.name: each for each in self.indexes if self.indexes.is_catch_all(each)}
        if len(owners) != 1:
            raise UntranslatableError(f"its projects belong to {len(owners)} indexes: {', '.join(owners) or 'none'}")
        return next(iter(owners.values()))

    def _find_named_owner(self, source: str, projects: Sequence[NormalizedName]) -> IndexSettings:
        """Return the index with the URL `source`, which must own all projects."""
        named = next((each for each in self.indexes if each.url == source), None)
        if named is None:
            raise UntranslatableError("neither the proxy nor an index of the configuration has this URL")
        for project in projects:
            if (owner := self._find_owner(project)) is not named:
                raise UntranslatableError(
                    f"it is the index {named.name}, but the project {project} belongs to the index {owner.name}"
                )
        return named


def _normalize(url: str) -> str:
    try:
        return normalize_address(url)
    except ValueError as error:
        raise UntranslatableError(f"expected {error}") from error


def _resolve_route(route: str, owner: IndexSettings) -> str:
    """Return the upstream URL of a route, which does not contain the scheme.

    The scheme is https, unless the index itself has an http URL on the same host.

    Raises:
        UntranslatableError: the index has an http URL on another host, so that either scheme is possible.
    """
    index = urlsplit(owner.url)
    if index.scheme == "http" and route.partition("/")[0] != index.netloc:
        raise UntranslatableError(f"the index {owner.name} uses http, so the scheme of this file is not known")
    return f"{index.scheme}://{route.replace('/%2F', '//')}"
