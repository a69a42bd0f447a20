"""The whole configuration: built-in defaults, a TOML file over them, the environment over both.

Owns what belongs to no other module's settings (`[server]`, PyPI as the default index) and how the parts become one:
relative paths start at the file that says them, `ASSAY_SERVER__PORT` is `server.port`, an index inherits `[freshness]`
and `[limits]` key by key. Refuses to guess: an unknown key or variable, or a value of the wrong type, is an error with
its place. Reads files and the environment only when called, and only the environment it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from assay.attestation.config import BUNDLED_ROOT_NAMES, DEFAULT_ROOT_NAME, TrustSettings, VerificationSettings
from assay.errors import ConfigurationError
from assay.indexes import BaseUrl, FreshnessSettings, HostPort, Indexes, IndexSettings, LimitsSettings, is_loopback
from assay.operator_files import read_text
from assay.settings import Settings, find_close_match, make_key_error, parse_toml, validate_table
from assay.store.settings import StorageSettings
from assay.telemetry.audit_trail import AuditSettings
from assay.units import Duration
from assay.views import ViewSettings, list_views, validate_views

PYPI: Mapping[str, object] = {
    "name": "pypi",
    "url": "https://pypi.org/simple/",
    "file-hosts": ["files.pythonhosted.org"],
}
"""The one index of a configuration that names none."""

_ENV_PREFIX = "ASSAY_"
_DEFAULT_INDEXES = Indexes([IndexSettings.model_validate(PYPI)])
_PATH_SETTINGS = (
    ("policy",),
    ("storage", "directory"),
    ("audit", "path"),
    ("server", "tls", "certificate"),
    ("server", "tls", "key"),
    ("server", "auth", "passwords"),
    ("server", "auth", "tokens"),
    ("trust", "root"),
    ("trust", "roots", "*", "path"),
    ("indexes", "*", "ca-file"),
    ("indexes", "*", "credentials", "password-file"),
    ("indexes", "*", "credentials", "token-file"),
    ("views", "*", "policy"),
)
_SettingsT = TypeVar("_SettingsT", bound=Settings)


class TlsSettings(Settings):
    """``[server.tls]``: https instead of http. Both files are read again when they change."""

    certificate: Annotated[str, Field(min_length=1)]
    """PEM: the server's certificate and what certifies it, up to the root."""
    key: Annotated[str, Field(min_length=1)] | None = None
    """PEM, without a pass phrase; None: it stands in the certificate's file."""


class AuthSettings(Settings):
    """``[server.auth]``: who may ask at all. Any one of these will do; without this table everybody may."""

    passwords: Annotated[str, Field(min_length=1)] | None = None
    """File of ``user:hash`` lines, as ``assay hash-password`` writes them."""
    tokens: Annotated[str, Field(min_length=1)] | None = None
    """File of ``name:sha256`` lines: the SHA-256 of each token, in hexadecimal."""
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    """Header in which a front proxy names whom it has let in; believed from `trusted-proxies` alone."""

    @model_validator(mode="after")
    def _require_one_method(self) -> Self:
        if self.passwords is None and self.tokens is None and self.user_header is None:
            raise ValueError("at least one of passwords, tokens, user-header")
        return self


class ServerSettings(Settings):
    """Where the proxy listens and what it is called."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` or ``::`` to serve others."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0: any free one."""
    public_url: BaseUrl | None = None
    """What clients know it by; provenance addresses start with it. None: the request's Host, if it is allowed."""
    allowed_hosts: tuple[HostPort, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Host headers that are believed; one without a port stands for all ports."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Peers whose ``X-Forwarded-*`` are believed."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1024
    """Connections at a time, half of them for one address; as many as the limit on open files can bear."""
    page_max_age: Duration = timedelta(0)
    """How long clients may use a page without asking. A revocation is seen that much later."""
    tls: TlsSettings | None = None
    """None: plain http."""
    auth: AuthSettings | None = None
    """None: everybody may ask."""

    @model_validator(mode="after")
    def _require_secure_public_url(self) -> Self:
        # PEP 740: a provenance URL "MUST be served from a secure origin"; loopback counts as one.
        parts = urlsplit(self.public_url or "https:")
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise make_key_error("public-url", expected="https (http: on loopback only)", found=self.public_url)
        return self


class Configuration(Settings):
    """Everything that can be configured but the policy's content."""

    policy: Path | None = None
    """Of the view at ``/``. None: the built-in policy."""
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = Field(default_factory=StorageSettings)
    audit: AuditSettings = AuditSettings()
    trust: TrustSettings = TrustSettings()
    verification: VerificationSettings = VerificationSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    limits: LimitsSettings = LimitsSettings()
    indexes: Annotated[Indexes, Field(validate_default=True)] = _DEFAULT_INDEXES
    """Upstream indexes in order: the first whose patterns cover a name owns it. Without any, PyPI."""
    views: tuple[ViewSettings, ...] = ()
    """Further policies over the same cache, each below a path of its own; one at ``/`` replaces `policy`."""

    @property
    def all_views(self) -> tuple[ViewSettings, ...]:
        """Every view, the one at ``/`` first."""
        return list_views(self.views, self.policy)

    @field_validator("indexes", mode="after")
    @classmethod
    def _inherit_index_settings(cls, indexes: Indexes, validated: ValidationInfo) -> Indexes:
        """Give each index what it leaves out of `freshness` and `limits`."""
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

    @model_validator(mode="after")
    def _validate_views(self) -> Self:
        validate_views(self.views, self.policy, has_auth=self.server.auth is not None)
        return self


def _override(defaults: _SettingsT, overrides: _SettingsT) -> _SettingsT:
    """`defaults` with what `overrides` was explicitly given."""
    changes: dict[str, object] = {}
    for name in overrides.model_fields_set:
        value = getattr(overrides, name)
        changes[name] = _override(getattr(defaults, name), value) if isinstance(value, Settings) else value
    return defaults.model_copy(update=changes)


def load_configuration(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """The configuration in the file at `path`, or the one ``ASSAY_CONFIG`` names, or the defaults; `environ` over it.

    Raises:
        ConfigurationError: one line with file or variable, key path, expected, found, nearest valid key.
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
    return validate_table(Configuration, table, source=source, text=text)


def _resolve_paths(table: dict[str, Any], base: Path) -> None:
    """Make the file's relative paths start at the file's directory."""
    for place in _PATH_SETTINGS:
        for parent in _tables_at(table, place[:-1]):
            key = place[-1]
            found = parent.get(key)
            if isinstance(found, str) and found and found not in BUNDLED_ROOT_NAMES:
                parent[key] = str(base / Path(found).expanduser())


def _tables_at(table: object, key_path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The tables at a key path in which ``*`` stands for every entry; wrong types are left for validation."""
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
    """Put one environment variable's value where it belongs."""
    keys = [part.lower().replace("_", "-") for part in variable.removeprefix(_ENV_PREFIX).split("__")]
    expected = _resolve_setting_type(variable, keys)
    value: object = text
    if expected is bool and text.lower() in {"true", "false"}:
        value = text.lower() == "true"
    elif expected is int and text.isdecimal() and text.isascii():
        value = int(text)
    # Alone first, so that an error names the variable and not the file.
    leaf: dict[str, Any] = {keys[-1]: value}
    for key in reversed(keys[:-1]):
        leaf = {key: leaf}
    if "roots" not in keys and "tls" not in keys:
        validate_table(Configuration, leaf, source=variable, text="")
    _merge(table, leaf)


def _merge(table: dict[str, Any], overrides: dict[str, Any]) -> None:
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _resolve_setting_type(variable: str, keys: list[str]) -> object:
    """The type of the setting that a variable names."""
    current: object = Configuration
    for position, key in enumerate(keys):
        known = _get_table_keys(current)
        if known is None:
            raise ConfigurationError(f"{variable}: expected a setting; {'.'.join(keys[:position])} is no table")
        if "*" in known:
            current = known["*"]
        elif key in known:
            current = known[key]
        else:
            near = find_close_match(key, known)
            hint = f"; did you mean {_format_variable([*keys[:position], near])}?" if near else ""
            raise ConfigurationError(f"{variable}: expected a setting, found {'.'.join(keys[: position + 1])!r}{hint}")
    if _get_table_keys(current) is not None or get_origin(current) in {tuple, list, frozenset} or current is Indexes:
        raise ConfigurationError(f"{variable}: expected a single value; tables and lists can be given in TOML only")
    return current


def _format_variable(keys: list[str]) -> str:
    return _ENV_PREFIX + "__".join(key.upper().replace("-", "_") for key in keys)


def _get_table_keys(kind: object) -> dict[str, object] | None:
    """Keys and types of a table; ``*`` for one with names of the user's choosing; None for what is no table."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: _unwrap_annotation(field.annotation) for name, field in kind.model_fields.items()}
    if isinstance(origin := get_origin(kind), type) and issubclass(origin, Mapping):
        return {"*": _unwrap_annotation(get_args(kind)[1])}
    return None


def _unwrap_annotation(annotation: object) -> object:
    """The type within ``X | None`` and ``Annotated[X, …]``."""
    if get_origin(annotation) is Annotated:
        return _unwrap_annotation(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        some = [part for part in get_args(annotation) if part is not NoneType]
        return _unwrap_annotation(some[0]) if len(some) == 1 else annotation
    return annotation
