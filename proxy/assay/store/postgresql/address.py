"""URL of a PostgreSQL database: the part that a message may show, and the protection of the connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from assay.errors import ConfigurationError

_SCHEMES: Final = frozenset({"postgresql", "postgres"})
_TLS_MODES: Final = ("disable", "require", "verify-ca", "verify-full")
_SYSTEM_AUTHORITIES: Final = "system"
"""Value of ``sslrootcert`` for the certificate authorities of the operating system, as in libpq."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Parts of the URL of a database. `str` gives the URL without its credentials and parameters."""

    dsn: str = field(repr=False)
    """URL for the driver, without password and without the parameters of TLS."""
    password: str | None = field(repr=False)
    text: str
    tls_mode: str
    """One of ``disable``, ``require``, ``verify-ca`` and ``verify-full``."""
    authorities: str | None
    """Path of a file with certificate authorities; None for those of the operating system."""
    certificate: str | None
    """Path of the client's certificate; None if the client has none."""
    key: str | None

    def __str__(self) -> str:
        return self.text


def parse_database_url(url: str) -> DatabaseAddress:
    """Return the parts of the URL of a database.

    Without ``sslmode``, the server's certificate and name are verified (``verify-full``), except on loopback and for a
    Unix socket, where TLS is not used.

    Raises:
        ConfigurationError: the URL is invalid. The message does not contain the URL, which may contain a password.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        hosts = parts.netloc.rpartition("@")[2] or query.get("host", "")
        password = query.pop("password", None) or parts.password
    except ValueError as error:
        raise ConfigurationError(f"the URL of the database is invalid: {error}") from error
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError("the URL of the database must begin with postgresql://")
    if not hosts or not parts.path.strip("/"):
        raise ConfigurationError(
            "the URL of the database must name a host and a database: postgresql://USER@HOST/DATABASE"
        )
    if "," in parts.netloc.rpartition("@")[0]:
        raise ConfigurationError("the URL of the database is invalid: a comma in its user or password must be %2C")
    tls_mode = query.pop("sslmode", None) or ("disable" if _is_local(hosts) else "verify-full")
    if tls_mode not in _TLS_MODES:
        raise ConfigurationError(
            f"sslmode in the URL of the database: expected one of {', '.join(_TLS_MODES)}, found {tls_mode!r:.40}"
        )
    authorities = query.pop("sslrootcert", _SYSTEM_AUTHORITIES)
    certificate, key = query.pop("sslcert", None), query.pop("sslkey", None)
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    netloc = f"{user}@{parts.netloc.rpartition('@')[2]}" if user else parts.netloc.rpartition("@")[2]
    return DatabaseAddress(
        dsn=urlunsplit((parts.scheme, netloc, parts.path, urlencode(query), "")),
        password=None if password is None else unquote(password),
        text=f"postgresql://{hosts}{parts.path}",
        tls_mode=tls_mode,
        authorities=None if authorities == _SYSTEM_AUTHORITIES else authorities,
        certificate=certificate,
        key=key,
    )


def _is_local(hosts: str) -> bool:
    """Return whether each host is loopback or the directory of a Unix socket."""
    return all(_is_local_host(unquote(host)) for host in hosts.split(","))


def _is_local_host(host: str) -> bool:
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.rpartition(":")[0] or host
    if host.startswith("/") or name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def make_tls_context(address: DatabaseAddress) -> ssl.SSLContext | None:
    """Return the TLS settings for an address; None without TLS. Blocking: it reads files.

    Raises:
        ConfigurationError: a file of certificates or keys cannot be used.
    """
    if address.tls_mode == "disable":
        return None
    try:
        context = ssl.create_default_context(cafile=address.authorities)
        if address.certificate is not None:
            context.load_cert_chain(address.certificate, address.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the files of sslrootcert, sslcert and sslkey of the database {address} cannot be used: {error}"
        ) from error
    if address.tls_mode != "verify-full":
        context.check_hostname = False
    if address.tls_mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
