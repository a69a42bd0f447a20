"""Configuration of the proxy. A TOML file overrides built-in defaults, and environment variables override the file.

This module defines the `[server]` and `[help]` tables and the default index, PyPI. Other modules define the other
tables, and this module merges all of them.

- A relative path in the TOML file starts at the directory of that file.
- The environment variable `ASSAY_SERVER__PORT` sets `server.port`, and so on.
- An index inherits each key of `[freshness]` and `[limits]` that its own tables omit.
- An unknown key, an unknown variable or a value of the wrong type is an error. Its message names the file or variable,
  and the key.

The caller passes the environment as a mapping. Importing this module reads no file and no variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_origin
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator, model_validator

from assay.advisory_feeds.settings import AdvisoryFeedSettings
from assay.attestation.config import BUNDLED_ROOT_NAMES, DEFAULT_ROOT_NAME, TrustSettings, VerificationSettings
from assay.errors import ConfigurationError
from assay.indexes import BaseUrl, FreshnessSettings, HostPort, Indexes, IndexSettings, LimitsSettings, is_loopback
from assay.operator_files import read_text
from assay.provenance.sources.settings import EvidenceSettings, GitHubSourceSettings, check_source_names
from assay.settings import Settings, find_close_match, make_key_error, parse_toml, validate_table
from assay.store.settings import StorageSettings
from assay.telemetry.audit_trail import AuditSettings, AuditSink
from assay.units import Duration
from assay.views import ViewSettings, list_views, validate_views

PYPI: Mapping[str, object] = {
    "name": "pypi",
    "url": "https://pypi.org/simple/",
    "file-hosts": ["files.pythonhosted.org"],
}
"""Settings of the default index. They apply if the configuration has no `[[indexes]]` table."""

_ENV_PREFIX = "ASSAY_"
_DEFAULT_INDEXES = Indexes([IndexSettings.model_validate(PYPI)])
_PATH_SETTINGS = (
    ("policy",),
    ("storage", "directory"),
    ("storage", "hosted"),
    ("storage", "shared", "password-file"),
    ("storage", "shared", "key-file"),
    ("audit", "path"),
    ("server", "tls", "certificate"),
    ("server", "tls", "key"),
    ("server", "auth", "passwords"),
    ("server", "auth", "tokens"),
    ("trust", "root"),
    ("trust", "roots", "*", "path"),
    ("trust", "keys", "*", "path"),
    ("indexes", "*", "ca-file"),
    ("indexes", "*", "credentials", "password-file"),
    ("indexes", "*", "credentials", "token-file"),
    ("evidence", "*", "token-file"),
    ("evidence", "*", "ca-file"),
    ("evidence", "*", "path"),
    ("advisories", "*", "url"),
    ("advisories", "*", "ca-file"),
    ("advisories", "*", "credentials", "password-file"),
    ("advisories", "*", "credentials", "token-file"),
    ("views", "*", "policy"),
)
_SettingsT = TypeVar("_SettingsT", bound=Settings)

MAX_SHORT_HELP_CHARS = 92
"""Maximum length of the shortest form of the help, in characters. It leaves half of a reason phrase for the reason."""
_MAX_HELP_URL_CHARS = 500
_MAX_HELP_FILENAME_CHARS = 255
"""Maximum length of a filename in the help URL. A longer filename is left out."""
_LONGEST_CODE = "provenance-unusable"
"""Longest reason code (a test compares it with all codes)."""
_HELP_URL = re.compile(
    r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
    r"(?:[/?#](?:[a-z0-9._~:/?#\[\]@!$&'()*+,;=%-]|\{file\}|\{code\})*)?",
    re.ASCII | re.IGNORECASE,
)
"""URL (RFC 3986) without user information, whose path, query and fragment may have the placeholders."""


class TlsSettings(Settings):
    """``[server.tls]``: Server certificate. With it, the proxy serves https. Changed files are reloaded."""

    certificate: Annotated[str, Field(min_length=1)]
    """PEM file with the server certificate and its intermediate certificates."""
    key: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with the private key, without a pass phrase. None: the certificate file also contains the key."""


class AuthSettings(Settings):
    """``[server.auth]``: Client authentication, by at least one method. Without this table, every client has access."""

    passwords: Annotated[str, Field(min_length=1)] | None = None
    """File of ``user:hash`` lines. ``assay hash-password`` writes such a line."""
    tokens: Annotated[str, Field(min_length=1)] | None = None
    """File of ``name:sha256`` lines. Each has the name of a user and the SHA-256 of a token in hexadecimal."""
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    """Request header in which a front proxy names the user that it has authenticated. The header counts only in
    requests from `trusted-proxies`."""

    @model_validator(mode="after")
    def _require_one_method(self) -> Self:
        if self.passwords is None and self.tokens is None and self.user_header is None:
            raise ValueError("at least one of passwords, tokens, user-header")
        return self


class ServerSettings(Settings):
    """``[server]``: Address, public URL and connection limits of the proxy."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on. ``0.0.0.0`` or ``::`` accepts connections from other machines."""
    port: Annotated[int, Field(ge=0, le=65535, strict=True)] = 8080
    """Port to listen on. 0 selects any free port."""
    public_url: BaseUrl | None = None
    """URL under which clients reach the proxy. Provenance URLs start with it. None: provenance URLs start with the
    ``Host`` of the request, if it is in `allowed-hosts`."""
    allowed_hosts: tuple[HostPort, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Values of the ``Host`` header that the proxy accepts as its own address if `public-url` is not set. A value
    without a port covers all ports. A page has provenance URLs for the default port, for the port that the proxy
    listens on, for ports in this list, and for one other port at a time."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of front proxies. The headers ``X-Forwarded-*`` and `auth.user-header` count only in requests from these
    networks."""
    max_connections: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 1024
    """Maximum number of simultaneous connections. One client address gets at most half of them. If the operating
    system permits too few open files, the proxy logs a warning and accepts fewer connections."""
    page_max_age: Duration = timedelta(0)
    """Time for which a client may reuse a page without revalidation. If a file is revoked, the client may still see the
    file on the page during this time."""
    tls: TlsSettings | None = None
    """Server certificate. None: the proxy serves http."""
    auth: AuthSettings | None = None
    """Client authentication. None: every client has access."""

    @model_validator(mode="after")
    def _require_secure_public_url(self) -> Self:
        # PEP 740: a provenance URL "MUST be served from a secure origin"; loopback counts as one.
        parts = urlsplit(self.public_url or "https:")
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise make_key_error(
                "public-url", expected="https (http is allowed on loopback only)", found=self.public_url
            )
        return self


def _expand_help_url(template: str, filename: str, code: str) -> str:
    filename = filename if len(filename) <= _MAX_HELP_FILENAME_CHARS else ""
    values = {"{file}": quote(filename, safe="", errors="replace"), "{code}": quote(code, safe="")}
    return re.sub(r"\{file\}|\{code\}", lambda found: values[found[0]], template)


def _get_help_address(template: str) -> str:
    """Return the part of a help URL before the query and the fragment."""
    return re.split(r"[?#]", template, maxsplit=1)[0]


def _parse_help_url(text: str) -> str:
    if len(text) > _MAX_HELP_URL_CHARS or not _HELP_URL.fullmatch(text):
        raise ValueError(
            f"an https or http URL of at most {_MAX_HELP_URL_CHARS} characters, without user name; the placeholders are"
            " {file} and {code}, after the host"
        )
    try:
        urlsplit(text).port  # noqa: B018 - raises an error if the port is too high
    except ValueError as error:
        raise ValueError("a URL with a port of at most 65535") from error
    if len(_expand_help_url(_get_help_address(text), "", _LONGEST_CODE)) > MAX_SHORT_HELP_CHARS:
        raise ValueError(
            f'a URL with at most {MAX_SHORT_HELP_CHARS} characters before the "?", because pip prints no longer text'
        )
    return text


def _parse_help_contact(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text.strip() == text and 0 < len(text) <= MAX_SHORT_HELP_CHARS):
        raise ValueError(f"1 to {MAX_SHORT_HELP_CHARS} printable ASCII characters, such as security@acme.example")
    return text


class HelpSettings(Settings):
    """``[help]``: Help for users whose file is withheld: exactly one of `url` and `contact`.

    It is at the end of the sentence that pip and uv print, in the problem document and on the page for browsers.
    A change requires a restart.
    """

    url: Annotated[str, AfterValidator(_parse_help_url)] | None = None
    """URL of a page or form. ``{file}`` stands for the filename and ``{code}`` for the code of the deciding reason,
    both percent-encoded. At most 500 characters, and at most 92 before the ``?``. If the URL does not fit into the
    sentence that pip prints, the sentence has the URL without the filename, or only the part before the ``?``."""
    contact: Annotated[str, AfterValidator(_parse_help_contact)] | None = None
    """Address or name of a person or team, as text: up to 92 printable ASCII characters."""

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.url is None) == (self.contact is None):
            found = "neither" if self.url is None else "both"
            raise make_key_error("url", expected="exactly one of url and contact", found=found)
        return self

    def list_forms(self, filename: str, code: str) -> tuple[str, ...]:
        """Return the help for a withheld file: the complete form first, then shorter forms.

        The last form has at most `MAX_SHORT_HELP_CHARS` characters. All forms are printable ASCII.

        Args:
            filename: name of the file. It is untrusted text.
            code: code of the reason that decided the verdict.
        """
        if self.url is None:
            return (self.contact or "",)
        forms = (
            _expand_help_url(self.url, filename, code),
            _expand_help_url(self.url, "", code),
            _expand_help_url(_get_help_address(self.url), "", code),
        )
        return tuple(dict.fromkeys(forms))


class Configuration(Settings):
    """Complete configuration of a proxy, except for the contents of its policy files."""

    policy: Path | None = None
    """Policy file of the view at ``/``. None: the built-in policy."""
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = Field(default_factory=StorageSettings)
    audit: AuditSettings = AuditSettings()
    help: HelpSettings | None = None
    """Help for users whose file is withheld. None: responses contain no help."""
    trust: TrustSettings = TrustSettings()
    verification: VerificationSettings = VerificationSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    limits: LimitsSettings = LimitsSettings()
    indexes: Annotated[Indexes, Field(validate_default=True)] = _DEFAULT_INDEXES
    """Upstream indexes in order of precedence. The first index whose patterns cover a project name owns the name.
    Without a table, the only index is PyPI."""
    evidence: tuple[EvidenceSettings, ...] = ()
    """Evidence sources besides the indexes. A source is asked only if its answer can approve a file."""
    advisories: tuple[AdvisoryFeedSettings, ...] = ()
    """Feeds of advisories. They apply to indexes whose `ecosystem` is PyPI. Without a table, no advisory is known."""
    views: tuple[ViewSettings, ...] = ()
    """Further policies, each under its own URL path. All views use the same cache. If a view has the path ``/``,
    `policy` must not be set."""

    @property
    def all_views(self) -> tuple[ViewSettings, ...]:
        """Settings of all views, the view at ``/`` first."""
        return list_views(self.views, self.policy)

    @property
    def connections(self) -> tuple[IndexSettings, ...]:
        """Settings of the connections to all indexes and evidence sources."""
        remote = (each.connection for each in self.evidence if isinstance(each, GitHubSourceSettings))
        return (*self.indexes, *remote)

    @field_validator("indexes", mode="after")
    @classmethod
    def _inherit_index_settings(cls, indexes: Indexes, validated: ValidationInfo) -> Indexes:
        """Fill in the keys of `freshness` and `limits` that an index omits, from the top-level tables."""
        freshness = validated.data.get("freshness", FreshnessSettings())
        limits = validated.data.get("limits", LimitsSettings())
        return Indexes(
            index.model_copy(
                update={"freshness": _override(freshness, index.freshness), "limits": _override(limits, index.limits)}
            )
            for index in indexes
        )

    @model_validator(mode="after")
    def _require_known_roots(self) -> Self:
        known = (
            BUNDLED_ROOT_NAMES
            | {*self.trust.roots}
            | ({DEFAULT_ROOT_NAME} if self.trust.root not in BUNDLED_ROOT_NAMES else set())
        )
        for position, index in enumerate(self.indexes):
            if index.trust is not None and index.trust not in known:
                names = ", ".join(f"'{name}'" for name in sorted(known))
                raise make_key_error(("indexes", position, "trust"), expected=f"one of {names}", found=index.trust)
        return self

    @field_validator("advisories", mode="after")
    @classmethod
    def _require_different_names(cls, feeds: tuple[AdvisoryFeedSettings, ...]) -> tuple[AdvisoryFeedSettings, ...]:
        names = [feed.name for feed in feeds]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise make_key_error((position, "name"), expected="a name that no other feed has", found=name)
        return feeds

    @model_validator(mode="after")
    def _validate_evidence(self) -> Self:
        check_source_names(self.evidence)
        return self

    @model_validator(mode="after")
    def _require_hosting(self) -> Self:
        """Check that hosted indexes have a place for their files, and that their users can be authenticated."""
        for position, index in enumerate(self.indexes):
            if not index.is_hosted:
                continue
            shared = self.storage.shared
            if shared is None and self.storage.hosted is None:
                expected = "a directory for the files of the hosted index " + index.name
                raise make_key_error(("storage", "hosted"), expected=expected, found=None)
            if shared is not None and shared.objects is None:
                expected = "an object storage for the files of the hosted index " + index.name
                raise make_key_error(("storage", "shared", "objects"), expected=expected, found=None)
            if self.server.auth is None and (index.uploaders or index.managers):
                key = "uploaders" if index.uploaders else "managers"
                expected = "a [server.auth] table, which defines the users"
                raise make_key_error(("indexes", position, key), expected=expected, found=[])
        return self

    @model_validator(mode="after")
    def _require_archive(self) -> Self:
        """Check that an audit trail of several replicas has a place for its parts."""
        shared = self.storage.shared
        if self.audit.sink is AuditSink.OBJECTS and (shared is None or shared.objects is None):
            expected = 'an object storage for the audit trail, which audit.sink = "objects" needs'
            raise make_key_error(("storage", "shared", "objects"), expected=expected, found=None)
        return self

    @model_validator(mode="after")
    def _validate_views(self) -> Self:
        validate_views(self.views, self.policy, has_auth=self.server.auth is not None)
        return self


def _override(defaults: _SettingsT, overrides: _SettingsT) -> _SettingsT:
    """Return a copy of `defaults` with the keys that are set explicitly in `overrides`, including nested tables."""
    changes: dict[str, object] = {}
    for name in overrides.model_fields_set:
        value = getattr(overrides, name)
        changes[name] = _override(getattr(defaults, name), value) if isinstance(value, Settings) else value
    return defaults.model_copy(update=changes)


def load_configuration(
    path: Path | None, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> Configuration:
    """Load the configuration from a TOML file, and override it with environment variables, and these with options.

    Args:
        path: the TOML file. None: the file that ``ASSAY_CONFIG`` names, or only the defaults if the variable is not
            set.
        environ: environment variables. ``ASSAY_POLICY`` and the variables of the form ``ASSAY_TABLE__KEY`` override the
            file.
        options: tables and keys of command-line options, such as ``{"server": {"port": 9000}}``. None: no options.

    Raises:
        ConfigurationError: the configuration is invalid. The message is one line with the file or variable, the key
            path, the expected and the found value, and the closest valid key.
    """
    if path is None and (named := environ.get("ASSAY_CONFIG")):
        path = Path(named)
    source, text, table = "defaults", "", dict[str, Any]()
    if path is not None:
        source, text = str(path), read_text(path)
        table = parse_toml(text, source)
        _resolve_paths(table, path.absolute().parent)
    variables = sorted(name for name in environ if name.startswith(_ENV_PREFIX) and "__" in name)
    for variable in variables:
        _apply_variable(table, variable, environ[variable])
    if policy := environ.get("ASSAY_POLICY"):
        table["policy"] = policy
    if variables:
        source += " and " + ", ".join(variables)
    if options:
        _merge(table, dict(options))
        source += " and the options of the command line"
    return validate_table(Configuration, table, source=source, text=text)


def _resolve_paths(table: dict[str, Any], base: Path) -> None:
    """Replace each relative path in `table` by an absolute path.

    Args:
        table: the parsed TOML file; modified in place.
        base: directory of the TOML file, which relative paths start from.
    """
    for place in _PATH_SETTINGS:
        for parent in _tables_at(table, place[:-1]):
            key = place[-1]
            found = parent.get(key)
            if isinstance(found, str) and found and found not in BUNDLED_ROOT_NAMES and "://" not in found:
                parent[key] = str(base / Path(found).expanduser())


def _tables_at(table: object, key_path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the tables at a key path, in which ``*`` matches every entry.

    Values of the wrong type are skipped, because validation reports them later.
    """
    if not key_path:
        if isinstance(table, dict):
            yield table
        return
    key, rest = key_path[0], key_path[1:]
    match table:
        case dict() if key == "*":
            following = list(table.values())
        case list() if key == "*":
            following = table
        case dict() if key in table:
            following = [table[key]]
        case _:
            following = []
    for entry in following:
        yield from _tables_at(entry, rest)


def _apply_variable(table: dict[str, Any], variable: str, text: str) -> None:
    """Merge the value of one environment variable into `table`.

    Raises:
        ConfigurationError: the variable names no setting, or its value is invalid.
    """
    keys = [part.lower().replace("_", "-") for part in variable.removeprefix(_ENV_PREFIX).split("__")]
    expected = _resolve_setting_type(variable, keys)
    value: object = text
    if expected is bool and text.lower() in {"true", "false"}:
        value = text.lower() == "true"
    elif expected is int and text.isdecimal() and text.isascii():
        value = int(text)
    # The value is validated without the file first, so that an error names the variable and not the file. Tables under
    # `roots`, `tls` and `shared` have required keys, which may be in the file.
    leaf: dict[str, Any] = {keys[-1]: value}
    for key in reversed(keys[:-1]):
        leaf = {key: leaf}
    if not {"roots", "tls", "shared"} & set(keys):
        validate_table(Configuration, leaf, source=variable, text="")
    _merge(table, leaf)


def _merge(table: dict[str, Any], overrides: dict[str, Any]) -> None:
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _resolve_setting_type(variable: str, keys: list[str]) -> object:
    """Return the type of the setting that a variable names.

    Raises:
        ConfigurationError: no setting has this key path, or the key path names a table or list.
    """
    current: object = Configuration
    for position, key in enumerate(keys):
        known = _get_table_keys(current)
        if known is None:
            raise ConfigurationError(f"{variable}: expected a setting; {'.'.join(keys[:position])} is not a table")
        if "*" in known:
            current = known["*"]
        elif key in known:
            current = known[key]
        else:
            match = find_close_match(key, known)
            hint = f"; did you mean {_format_variable([*keys[:position], match])}?" if match else ""
            raise ConfigurationError(f"{variable}: expected a setting, found {'.'.join(keys[: position + 1])!r}{hint}")
    if _get_table_keys(current) is not None or get_origin(current) in {tuple, list, frozenset} or current is Indexes:
        raise ConfigurationError(f"{variable}: expected a single value; set tables and lists in the TOML file")
    return current


def _format_variable(keys: list[str]) -> str:
    return _ENV_PREFIX + "__".join(key.upper().replace("-", "_") for key in keys)


def _get_table_keys(kind: object) -> dict[str, object] | None:
    """Return the keys of a table type with the types of their values; None if `kind` is not a table type.

    If the operator chooses the keys of the table, the only key returned is ``*``.
    """
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: _unwrap_annotation(field.annotation) for name, field in kind.model_fields.items()}
    if isinstance(origin := get_origin(kind), type) and issubclass(origin, Mapping):
        return {"*": _unwrap_annotation(get_args(kind)[1])}
    return None


def _unwrap_annotation(annotation: object) -> object:
    """Return the type inside ``X | None`` and ``Annotated[X, …]``."""
    if get_origin(annotation) is Annotated:
        return _unwrap_annotation(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        some = [part for part in get_args(annotation) if part is not NoneType]
        return _unwrap_annotation(some[0]) if len(some) == 1 else annotation
    return annotation
