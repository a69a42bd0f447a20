"""Which index owns a name, and which hosts it may use. Pure.

Owns the settings of one `[[indexes]]` table and the order among them: the first index whose patterns cover a name owns
it, exclusively. There is no merging and no second look elsewhere, which is what keeps an internal name from being
answered by a public index (dependency confusion). Refuses secrets: an address with user information is an error, and
credentials are only *named* here (an environment variable, a file), never held.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from packaging.utils import NormalizedName
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from assay.settings import Settings, make_key_error
from assay.simple.filename import possible_projects
from assay.units import Duration, Size

_HOST = re.compile(r"(?!-)[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9._?*-]{1,256}", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
_HTTPS_PORT = 443
_HTTP_PORT = 80
_MAX_PORT = 65535


def _normalize_pattern(text: str) -> str:
    """A name pattern, normalised as PEP 503 normalises names, so that ``Acme_*`` covers ``acme-web``."""
    lowered = text.lower()
    if not _PATTERN.fullmatch(lowered):
        raise ValueError("a name with the wildcards * and ?, of letters, digits, '-', '_' and '.'")
    return _SEPARATORS.sub("-", lowered)


def split_host(text: str) -> tuple[str, int | None]:
    """``Files.Example.org:8443`` as ``("files.example.org", 8443)``; an IPv6 address keeps its brackets.

    Raises:
        ValueError: anything but ``host`` or ``host:port``.
    """
    host, colon, digits = text.lower().rpartition(":")
    if not colon or text.endswith("]"):
        host, digits = text.lower(), ""
    if not _HOST.fullmatch(host) or (colon and not text.endswith("]") and not digits.isdecimal()):
        raise ValueError("host or host:port, without scheme or path")
    port = int(digits) if digits else None
    if port is not None and not 0 < port <= _MAX_PORT:
        raise ValueError("a port from 1 to 65535")
    return host, port


def _normalize_host(text: str) -> str:
    host, port = split_host(text)
    return host if port is None else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether `host` (brackets allowed) is this machine, by name or by address; nothing is resolved."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_address(text: str) -> str:
    """An http(s) address with a trailing slash and a lower-case host."""
    try:
        return _normalize_address(text)
    except ValueError as error:
        if "@" in text:  # what may hold a password is not quoted
            raise make_key_error((), expected=str(error), found="an address that is not shown") from error
        raise


def _normalize_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("an http or https URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable() or " " in text:
        raise ValueError("an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user name and password: name them in `credentials` instead")
    if "?" in text or "#" in text:
        raise ValueError("a URL without query and fragment")
    netloc = _format_netloc(parts, port)
    split_host(netloc)
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    return f"{parts.scheme}://{netloc}{path}"


def _format_netloc(parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    default = _HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT
    return bracketed if port in {None, default} else f"{bracketed}:{port}"


def _check_positive(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("a duration longer than zero")
    return duration


ProjectPattern = Annotated[str, AfterValidator(_normalize_pattern)]
HostPort = Annotated[str, AfterValidator(_normalize_host)]
BaseUrl = Annotated[str, AfterValidator(_check_address)]
PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]


class FreshnessSettings(Settings):
    """How old a remembered page may be."""

    page: Duration = timedelta(minutes=10)
    """Younger than this, a page is used without asking the index (PyPI sends ``max-age=600``)."""
    max_stale: Duration = timedelta(days=1)
    """How long beyond that a page is used while the index is down; after it the answer is 503."""


class TimeoutSettings(Settings):
    """How long an index may take."""

    connect: PositiveDuration = timedelta(seconds=10)
    """Until a connection stands, TLS included."""
    read: PositiveDuration = timedelta(seconds=30)
    """Between two pieces of an answer: what ends a stalled download."""
    total: PositiveDuration = timedelta(minutes=2)
    """Of a page or provenance; a file has no total, since a large one on a slow line is no failure."""


class LimitsSettings(Settings):
    """What an index may make us hold, fetch or wait for."""

    page: Size = 128 * 2**20
    """Bytes of a page after decompression (PyPI's largest have about 20 MB; its root list has 40 MB)."""
    provenance: Size = 2 * 2**20
    """Bytes of a provenance document (PyPI's have 5 to 20 kB)."""
    file: Size = 10 * 2**30
    """Bytes of a distribution."""
    files_per_project: Annotated[int, Field(gt=0)] = 100_000
    """Files on one page; a page with more is refused."""
    connections: Annotated[int, Field(gt=0, le=10_000)] = 64
    """To one index at a time."""
    timeouts: TimeoutSettings = TimeoutSettings()


class CredentialsSettings(Settings):
    """Where an index's credentials are found. One of: a user name with a password, a token, netrc."""

    username: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f:]+$")] | None = None
    """Beside a password, and only there."""
    password_env: str | None = None
    """Environment variable that has the password."""
    password_file: str | None = None
    """File that has it (a mounted secret); one trailing newline is dropped."""
    token_env: str | None = None
    """Environment variable that has a token, for ``Authorization: Bearer``."""
    token_file: str | None = None
    """File that has it."""
    netrc: bool = False
    """``$NETRC``, else ``~/.netrc``, looked up by the host of the index's url."""

    @model_validator(mode="after")
    def _check_single_source(self) -> Self:
        passwords = [self.password_env, self.password_file]
        tokens = [self.token_env, self.token_file]
        if sum(source is not None for source in passwords + tokens) + self.netrc != 1:
            raise ValueError("exactly one of password-env, password-file, token-env, token-file, netrc")
        if (self.username is not None) != any(passwords):
            raise make_key_error(
                "username", expected="a user name beside a password, and only there", found=self.username
            )
        return self


class IndexSettings(Settings):
    """One upstream index."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
    """What policy, logs, records and the ledger call it; renaming an index forgets its history."""
    url: BaseUrl
    """Its Simple API's root, with a trailing slash."""
    projects: Annotated[tuple[ProjectPattern, ...], Field(min_length=1)] = ("*",)
    """Names that it owns, with ``*`` and ``?``, compared as PEP 503 normalises them."""
    excluded: Annotated[tuple[ProjectPattern, ...], Field(alias="except")] = ()
    """Names it does not own although `projects` covers them."""
    file_hosts: tuple[HostPort, ...] = ()
    """Further hosts that its pages may point to; the url's own is always allowed."""
    trust: str | None = None
    """Name of the trust root that vouches for its provenance; None: `trust.root`."""
    credentials: CredentialsSettings | None = None
    """None: it is asked without."""
    insecure: bool = False
    """Plain http to hosts that are not loopback."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM: authorities that may certify this index's hosts, beside the system's."""
    proxy: BaseUrl | None = None
    """HTTP proxy on the way to this index; None: what the environment says."""
    provenance_from: BaseUrl | None = None
    """Root of another Integrity API (what comes before ``integrity/``), for an index that carries no provenance."""
    freshness: FreshnessSettings = FreshnessSettings()
    """For this index; what is left out is as in ``[freshness]``."""
    limits: LimitsSettings = LimitsSettings()
    """For this index; what is left out is as in ``[limits]``."""

    @model_validator(mode="after")
    def _check_secure(self) -> Self:
        for key, address in (("url", self.url), ("provenance-from", self.provenance_from)):
            if address is not None and not (
                address.startswith("https:") or self.insecure or _is_loopback_address(address)
            ):
                raise make_key_error(
                    key, expected="https (http: on loopback, or with `insecure = true`)", found=address
                )
        return self

    def covers(self, name: NormalizedName) -> bool:
        """Whether its patterns cover the name; another index that stands before may own it all the same."""
        return _matches_any(self.projects, name) and not _matches_any(self.excluded, name)


def _is_loopback_address(address: str) -> bool:
    return is_loopback(urlsplit(address).hostname or "")


def _matches_any(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def allowed_file_hosts(index: IndexSettings) -> frozenset[str]:
    """``host`` or ``host:port`` (lower-case, default ports dropped) that the index's pages may point to."""
    return _parse_file_hosts(index.url, index.file_hosts)


@lru_cache(maxsize=256)
def _parse_file_hosts(url: str, file_hosts: tuple[str, ...]) -> frozenset[str]:
    """Once for each index: every request that is made or answered asks."""
    named = {_get_netloc(url)}
    plain = url.startswith("http:")
    for entry in file_hosts:
        host, port = split_host(entry)
        default = port in {None, _HTTPS_PORT} or (plain and port == _HTTP_PORT)
        named.add(host if default else f"{host}:{port}")
    return frozenset(named)


def allowed_provenance_hosts(index: IndexSettings) -> frozenset[str]:
    """`allowed_file_hosts` and that of `provenance_from`: where provenance, but no file, may be fetched."""
    return (
        allowed_file_hosts(index)
        if index.provenance_from is None
        else allowed_file_hosts(index) | {_get_netloc(index.provenance_from)}
    )


def _get_netloc(address: str) -> str:
    return urlsplit(address).netloc


class Indexes(tuple[IndexSettings, ...]):
    """All indexes in order.

    Raises:
        ValueError: there is none, or two have the same name.
    """

    __slots__ = ()

    def __new__(cls, indexes: Iterable[IndexSettings]) -> Self:
        """The indexes in the order in which they are asked."""
        self = super().__new__(cls, indexes)
        names = [index.name for index in self]
        if not names:
            raise ValueError("at least one index")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"indexes with different names; twice: {', '.join(sorted(twice))}")
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, schema_of: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's own signature
        """Validate as a tuple of tables, then check the whole."""
        return core_schema.no_info_after_validator_function(cls, schema_of(tuple[IndexSettings, ...]))

    def find_owner(self, name: NormalizedName) -> IndexSettings | None:
        """The first index whose patterns cover the name; None: the name is unknown."""
        return next((index for index in self if index.covers(name)), None)

    def find_candidate_projects(self, location: str) -> Iterator[NormalizedName]:
        """The projects whose pages could list a file at ``host/path``, most likely first."""
        host, _, path = location.partition("/")
        for name in possible_projects(path.rpartition("/")[2]):
            index = self.find_owner(name)
            if index is not None and host.lower() in allowed_file_hosts(index):
                yield name

    def is_catch_all(self, index: IndexSettings) -> bool:
        """Whether it takes every name that nobody else owns: only such an index's unknown names are 404."""
        return any(not pattern.strip("*") for pattern in index.projects)

    def find_by_name(self, name: str) -> IndexSettings | None:
        """The index of that name."""
        return next((index for index in self if index.name == name), None)

    def find_shadowed_patterns(self) -> tuple[tuple[IndexSettings, str, IndexSettings], ...]:
        """Patterns that can never apply, as (index, its pattern, the earlier index that takes every such name)."""
        return tuple(
            (index, pattern, earlier)
            for position, index in enumerate(self)
            for pattern in index.projects
            for earlier in [next((other for other in self[:position] if _covers_pattern(other, pattern)), None)]
            if earlier is not None
        )


def _covers_pattern(index: IndexSettings, pattern: str) -> bool:
    """Whether `index` covers every name that `pattern` does, as far as samples of it say."""
    # NUL stands for whatever a wildcard takes: no pattern can name it, so that only wildcards match it.
    samples = [pattern.replace("*", fill).replace("?", "\0") for fill in ("", "\0", "\0\0\0")]
    partly = any(fnmatchcase(excluded.replace("*", "\0"), pattern) for excluded in index.excluded)
    return not partly and all(index.covers(NormalizedName(sample)) for sample in samples)
