"""Settings of the indexes. They determine the index that owns a name, and the hosts an index may use. Pure.

The first index whose patterns cover a project name owns the name exclusively. Pages of indexes are never merged, and no
other index is asked for a missing project. A public index can therefore never answer for an internal name (dependency
confusion). The settings contain no secrets: a URL with a user name or password is an error. For credentials, they
contain only the name of an environment variable or file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from packaging.utils import NormalizedName
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, StrictBool, model_validator
from pydantic_core import CoreSchema, core_schema

from assay.settings import Settings, make_key_error, to_kebab_case
from assay.simple.filename import possible_projects
from assay.units import Duration, Size

_HOST = re.compile(r"(?!-)[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9?*](?:[a-z0-9?*-]{0,254}[a-z0-9?*])?", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
_KNOWN_FILE_HOSTS = {
    "pypi.org": frozenset({"files.pythonhosted.org"}),
    "test.pypi.org": frozenset({"test-files.pythonhosted.org"}),
}
"""Hosts of the files of PyPI and TestPyPI, by the host of the index."""
_PYPI = "pypi.org"
_HTTPS_PORT = 443
_HTTP_PORT = 80
_MAX_PORT = 65535


def _normalize_pattern(text: str) -> str:
    """Return a name pattern, normalised like a project name (PEP 503). ``Acme_*`` therefore covers ``acme-web``."""
    normalized = _SEPARATORS.sub("-", text.lower()) if text.isascii() else ""
    if not _PATTERN.fullmatch(normalized):
        raise ValueError('a project name or a pattern such as "acme-*", which begins and ends with no separator')
    return normalized


def split_host(text: str) -> tuple[str, int | None]:
    """Split ``Files.Example.org:8443`` into ``("files.example.org", 8443)``.

    The host is in lower case, and an IPv6 address keeps its brackets. The port is None if the text has no port.

    Raises:
        ValueError: `text` is neither ``host`` nor ``host:port``.
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


def normalize_host(text: str) -> str:
    """Return ``host`` or ``host:port`` in normal form.

    Raises:
        ValueError: `text` is neither.
    """
    host, port = split_host(text)
    return host if port is None else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether `host` is ``localhost`` or a loopback address; no name is resolved.

    An IPv6 address may have brackets.
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_address(text: str) -> str:
    """Return an http or https URL with a trailing slash and a lower-case host.

    Raises:
        ValueError: the URL is invalid. The message does not quote the URL if it may contain a password.
    """
    try:
        return normalize_address(text)
    except ValueError as error:
        if "@" in text:
            raise make_key_error(
                (), expected=str(error), found="a URL that is not shown, because it may contain a password"
            ) from error
        raise


def normalize_address(text: str) -> str:
    """Return an http or https URL with a trailing slash, a lower-case host and no default port.

    Raises:
        ValueError: the URL is invalid, or has credentials, a query or a fragment. The message does not quote it.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("an http or https URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable() or " " in text:
        raise ValueError("an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user name and password; use the table `credentials` for them")
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
HostPort = Annotated[str, AfterValidator(normalize_host)]
BaseUrl = Annotated[str, AfterValidator(_check_address)]
PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]


class FreshnessSettings(Settings):
    """Maximum age of cached pages."""

    page: Duration = timedelta(minutes=10)
    """Age up to which a cached page is used without a request to the index. PyPI itself permits 10 minutes
    (``max-age=600``)."""
    max_stale: Duration = timedelta(days=1)
    """Time after `page` during which a cached page is still used while the index is unavailable. After this time, the
    response is 503."""


class TimeoutSettings(Settings):
    """Timeouts of requests to an index."""

    connect: PositiveDuration = timedelta(seconds=10)
    """Timeout for opening a connection, including TLS."""
    read: PositiveDuration = timedelta(seconds=30)
    """Timeout between two chunks of a response. It ends a stalled download."""
    total: PositiveDuration = timedelta(minutes=2)
    """Timeout for a whole page. For a provenance document the timeout is at most 30 seconds, and for METADATA at most
    12 seconds. Files have no total timeout, because a large file may take long on a slow connection."""


class LimitsSettings(Settings):
    """Limits on the responses of an index, and on connections to it."""

    page: Size = 128 * 2**20
    """Maximum size of a page after decompression. PyPI's largest pages have about 20 MB, and its list of projects has
    40 MB."""
    provenance: Size = 2 * 2**20
    """Maximum size of a provenance document. PyPI's documents have 5 to 20 kB."""
    file: Size = 10 * 2**30
    """Maximum size of a distribution."""
    files_per_project: Annotated[int, Field(gt=0, strict=True)] = 100_000
    """Maximum number of files on one page. A page with more files is refused."""
    connections: Annotated[int, Field(gt=0, le=10_000, strict=True)] = 64
    """Maximum number of simultaneous connections to one index for each kind of request: pages, documents and files.
    Clients that wait take turns, and up to a quarter more are for clients that use few while others use all."""
    timeouts: TimeoutSettings = TimeoutSettings()


class CredentialsSettings(Settings):
    """Source of the credentials for an index: a user name with a password, a token, or netrc."""

    username: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f:]+$")] | None = None
    """User name. It is required with a password, and not permitted without one."""
    password_env: str | None = None
    """Environment variable that contains the password."""
    password_file: str | None = None
    """File that contains the password, such as a mounted secret. One newline at its end is removed."""
    token_env: str | None = None
    """Environment variable that contains a token for ``Authorization: Bearer``."""
    token_file: str | None = None
    """File that contains a token. One newline at its end is removed."""
    netrc: StrictBool = False
    """If true, the credentials are read from ``$NETRC`` or ``~/.netrc``, from the entry for the host of the index's
    `url`."""

    @model_validator(mode="after")
    def _check_single_source(self) -> Self:
        passwords = [self.password_env, self.password_file]
        tokens = [self.token_env, self.token_file]
        if sum(source is not None for source in passwords + tokens) + self.netrc != 1:
            raise ValueError("exactly one of password-env, password-file, token-env, token-file, netrc")
        if (self.username is not None) != any(passwords):
            raise make_key_error("username", expected="a user name with a password, or neither", found=self.username)
        return self


class UploaderSettings(Settings):
    """User who may upload files to a hosted index."""

    user: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the user, as in `[server.auth]`."""
    projects: Annotated[tuple[ProjectPattern, ...], Field(min_length=1)]
    """Patterns of the projects whose files the user may upload."""

    def covers(self, name: NormalizedName) -> bool:
        """Return whether the user may upload files of the project `name`."""
        return _matches_any(self.projects, name)


class IndexSettings(Settings):
    """Index, which owns the names that its patterns cover: an upstream index, or one that this proxy hosts."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
    """Name of the index in policies, logs, records and the ledger. If you rename an index, its history is lost."""
    kind: Literal["upstream", "hosted"] = "upstream"
    """Kind of index. A ``hosted`` index takes uploads (docs/publishing.md). It has no `url`, and needs `storage.hosted`
    or ``[storage.shared]``."""
    url: BaseUrl
    """URL of the root of the Simple API, with a trailing slash. It is required, except for a hosted index."""
    projects: Annotated[tuple[ProjectPattern, ...], Field(min_length=1)] = ("*",)
    """Patterns of the names that the index owns."""
    excluded: Annotated[tuple[ProjectPattern, ...], Field(alias="except")] = ()
    """Patterns of names that the index does not own, although `projects` covers them."""
    file_hosts: tuple[HostPort, ...] = ()
    """Hosts that pages may link to, in addition to the host of `url`. For PyPI's own address the default is
    ``files.pythonhosted.org``, and for TestPyPI's ``test-files.pythonhosted.org``."""
    trust: str | None = None
    """Name of the trust root that verifies the provenance of this index. None: `trust.root`."""
    credentials: CredentialsSettings | None = None
    """Credentials for the index. None: requests are anonymous."""
    insecure: StrictBool = False
    """If true, plain http is permitted to hosts other than loopback."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with further certificate authorities for the hosts of this index, in addition to those of the system."""
    proxy: BaseUrl | None = None
    """HTTP proxy for requests to this index. None: the proxy that the environment variables name, if any."""
    provenance_from: BaseUrl | None = None
    """URL of another Integrity API, from which the provenance of this index's files is fetched. Give the part before
    ``integrity/``. Use it for an index that offers no provenance."""
    absent_status: tuple[Literal[401, 403, 451], ...] = ()
    """Statuses that mean that the index does not have a project, in addition to 404 and 410. The indexes of PyTorch and
    S3 answer 403. A status has this meaning only for a project of which no file was ever seen; otherwise clients get
    503."""
    ecosystem: Literal["PyPI", "none"] | None = None
    """Ecosystem of the index's projects. Advisories (``[[advisories]]``) apply only to indexes with ``"PyPI"``, because
    a private project may have the name of a malicious project on PyPI. None: ``"PyPI"`` if `url` or `provenance-from`
    is an address of PyPI, else ``"none"``."""
    attestations: Literal["required", "optional"] = "required"
    """Attestations of uploads to a hosted index. ``required``: an upload without attestations is refused."""
    uploaders: tuple[UploaderSettings, ...] = ()
    """Users who may upload files to a hosted index."""
    managers: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = ()
    """Names of the users who may yank files of a hosted index, and set the status of its projects."""
    freshness: FreshnessSettings = FreshnessSettings()
    """Freshness of this index's pages. An omitted key has the value from ``[freshness]``."""
    limits: LimitsSettings = LimitsSettings()
    """Limits of this index. An omitted key has the value from ``[limits]``."""

    @model_validator(mode="before")
    @classmethod
    def _check_kind(cls, table: Any) -> Any:  # noqa: ANN401 - pydantic passes any value
        """Check that the table has only keys of its kind, and give a hosted index its internal URL."""
        if not isinstance(table, dict):
            return table
        keys = {to_kebab_case(str(key)) for key in table}
        if table.get("kind") != "hosted":
            if wrong := sorted(_HOSTED_KEYS & keys):
                raise make_key_error(wrong[0], expected='no value without kind = "hosted"', found=table.get(wrong[0]))
            return table
        if wrong := sorted(_UPSTREAM_KEYS & keys - ({"url"} if table.get("url") == make_hosted_url(table) else set())):
            raise make_key_error(wrong[0], expected="no value for a hosted index", found=table.get(wrong[0]))
        return {**table, "url": make_hosted_url(table)}

    @model_validator(mode="after")
    def _check_secure(self) -> Self:
        for key, address in (("url", self.url), ("provenance-from", self.provenance_from)):
            if address is not None and not (
                address.startswith("https:") or self.insecure or _is_loopback_address(address)
            ):
                raise make_key_error(
                    key, expected="https (http is allowed on loopback, or with `insecure = true`)", found=address
                )
        return self

    @property
    def has_pypi_projects(self) -> bool:
        """True if the projects of the index are those of PyPI, so that advisories about PyPI apply to them."""
        if self.ecosystem is not None:
            return self.ecosystem == "PyPI"
        return any(
            address is not None and _get_netloc(address) == _PYPI for address in (self.url, self.provenance_from)
        )

    @property
    def is_hosted(self) -> bool:
        """True if this proxy hosts the index."""
        return self.kind == "hosted"

    def covers(self, name: NormalizedName) -> bool:
        """Return whether the index's patterns cover `name`. The index owns the name if no earlier index covers it."""
        return _matches_any(self.projects, name) and not _matches_any(self.excluded, name)


_HOSTED_KEYS: Final = frozenset({"attestations", "uploaders", "managers"})
_UPSTREAM_KEYS: Final = frozenset(
    {"url", "file-hosts", "credentials", "insecure", "ca-file", "proxy", "provenance-from", "absent-status"}
)


def make_hosted_url(table: Mapping[str, Any]) -> str:
    """Return the internal URL of a hosted index, from its table.

    It names files in pages, the ledger and the paths of ``/files/``. It is never contacted: no name below ``invalid``
    exists (RFC 6761, section 6.4).
    """
    return f"https://{table.get('name')}.hosted.invalid/"


def _is_loopback_address(address: str) -> bool:
    return is_loopback(urlsplit(address).hostname or "")


def _matches_any(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def allowed_file_hosts(index: IndexSettings) -> frozenset[str]:
    """Return the hosts that the index's pages may link to.

    Each is ``host`` or ``host:port`` in lower case, without a default port.
    """
    if "file_hosts" not in index.model_fields_set:
        return _parse_file_hosts(index.url, tuple(sorted(find_known_file_hosts(index.url))))
    return _parse_file_hosts(index.url, index.file_hosts)


def find_known_file_hosts(url: str) -> frozenset[str]:
    """Return the hosts to which the pages of a well-known index link; empty for any other index."""
    return _KNOWN_FILE_HOSTS.get(_get_netloc(url), frozenset())


@lru_cache(maxsize=256)
def _parse_file_hosts(url: str, file_hosts: tuple[str, ...]) -> frozenset[str]:
    """Return the hosts of an index. The result is cached, because every request needs it."""
    hosts = {_get_netloc(url)}
    plain = url.startswith("http:")
    for entry in file_hosts:
        host, port = split_host(entry)
        default = port in {None, _HTTPS_PORT} or (plain and port == _HTTP_PORT)
        hosts.add(host if default else f"{host}:{port}")
    return frozenset(hosts)


def allowed_provenance_hosts(index: IndexSettings) -> frozenset[str]:
    """Return the hosts from which an index's provenance may be fetched.

    They are those of `allowed_file_hosts`, and the host of `provenance_from`. The setting `provenance_from` does not
    permit downloads of files from its host.
    """
    return (
        allowed_file_hosts(index)
        if index.provenance_from is None
        else allowed_file_hosts(index) | {_get_netloc(index.provenance_from)}
    )


def _get_netloc(address: str) -> str:
    return urlsplit(address).netloc


class Indexes(tuple[IndexSettings, ...]):
    """All indexes in order of precedence.

    Raises:
        ValueError: the sequence is empty, or two indexes have the same name.
    """

    __slots__ = ()

    def __new__(cls, indexes: Iterable[IndexSettings]) -> Self:
        """Create the sequence from `indexes`, in order of precedence."""
        self = super().__new__(cls, indexes)
        names = [index.name for index in self]
        if not names:
            raise ValueError("at least one index")
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"indexes with different names; duplicates: {', '.join(sorted(duplicates))}")
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, schema_of: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's own signature
        """Return the schema for pydantic: a tuple of tables, from which an `Indexes` is created."""
        return core_schema.no_info_after_validator_function(cls, schema_of(tuple[IndexSettings, ...]))

    def find_owner(self, name: NormalizedName) -> IndexSettings | None:
        """Return the first index whose patterns cover `name`; None if no index covers it."""
        return next((index for index in self if index.covers(name)), None)

    def find_candidate_projects(self, location: str) -> Iterator[NormalizedName]:
        """Yield the projects whose pages may list the file at ``host/path``, the most likely project first."""
        host, _, path = location.partition("/")
        for name in possible_projects(path.rpartition("/")[2]):
            index = self.find_owner(name)
            if index is not None and host.lower() in allowed_file_hosts(index):
                yield name

    def is_catch_all(self, index: IndexSettings) -> bool:
        """Return whether one of the index's patterns covers all names.

        If a catch-all index does not have a project, the response is 404. Any other index reserves the names that it
        covers, so a missing project is an empty page.
        """
        return any(not pattern.strip("*") for pattern in index.projects)

    def find_by_name(self, name: str) -> IndexSettings | None:
        """Return the index with this name; None if no index has it."""
        return next((index for index in self if index.name == name), None)

    @property
    def hosted(self) -> tuple[IndexSettings, ...]:
        """Indexes that this proxy hosts."""
        return tuple(index for index in self if index.is_hosted)

    def find_shadowed_patterns(self) -> tuple[tuple[IndexSettings, str, IndexSettings], ...]:
        """Return the patterns that never apply, because an earlier index covers the same names.

        Each item is (index, pattern, earlier index).
        """
        return tuple(
            (index, pattern, earlier)
            for position, index in enumerate(self)
            for pattern in index.projects
            for earlier in [next((other for other in self[:position] if _covers_pattern(other, pattern)), None)]
            if earlier is not None
        )


def _covers_pattern(index: IndexSettings, pattern: str) -> bool:
    """Return whether `index` covers every name that `pattern` covers.

    The function tests sample names that match `pattern`, with different texts in place of the wildcards.
    """
    # NUL stands for any character that a wildcard matches. No pattern contains NUL, so only a wildcard matches it.
    samples = [pattern.replace("*", fill).replace("?", "\0") for fill in ("", "\0", "\0\0\0")]
    partly = any(fnmatchcase(excluded.replace("*", "\0"), pattern) for excluded in index.excluded)
    return not partly and all(index.covers(NormalizedName(sample)) for sample in samples)
