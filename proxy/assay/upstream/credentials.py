"""Credentials of indexes: reads the configured secrets once, at start, and adds them to requests.

A credential is sent only to the scheme, host and port of its index's `url`. File hosts do not get it, because they
reject a signed URL that comes with an Authorization header. The target of a redirect to another host does not get it
either. A credential never appears in a log, an error message, a record or a page.
"""

from __future__ import annotations

import netrc
from collections.abc import Iterable, Mapping
from pathlib import Path

import aiohttp
from yarl import URL

from assay.errors import ConfigurationError
from assay.indexes import CredentialsSettings, IndexSettings
from assay.upstream.addresses import format_host


class IndexAuthorizations:
    """Authorization headers of the indexes that have credentials.

    Raises:
        ConfigurationError: a configured secret is missing or unreadable, or an HTTP header cannot contain it.
    """

    def __init__(self, indexes: Iterable[IndexSettings], environ: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        for index in indexes:
            if index.credentials is not None:
                kind, _, source = index.name.rpartition(":")
                where = f"{kind}[{source}]" if kind else f"indexes[{index.name}].credentials"
                self._values[index.name] = _build_authorization(index, index.credentials, environ, where)

    def headers_for(self, index: IndexSettings, target: URL) -> dict[str, str]:
        """Return the Authorization header for a request of `index` to `target`.

        Return an empty mapping if the index has no credentials, or if they may not be sent to `target`.
        """
        value = self._values.get(index.name)
        if value is None:
            return {}
        own = URL(index.url, encoded=True)
        if format_host(target) != format_host(own) or target.scheme != own.scheme:
            return {}
        return {"Authorization": value}


def _build_authorization(
    index: IndexSettings, settings: CredentialsSettings, environ: Mapping[str, str], where: str
) -> str:
    if settings.netrc:
        return _read_netrc(index, environ, where)
    token = _read_secret(settings.token_env, settings.token_file, environ, where)
    if token is not None:
        return f"Bearer {token}"
    password = _read_secret(settings.password_env, settings.password_file, environ, where)
    return aiohttp.encode_basic_auth(settings.username or "", password or "", "utf-8")


def _read_secret(variable: str | None, file: str | None, environ: Mapping[str, str], where: str) -> str | None:
    if variable is not None:
        value = environ.get(variable)
        if not value:
            raise ConfigurationError(f"{where}: the environment variable {variable} is not set, or it is empty")
        return _check_header_value(value, where)
    if file is not None:
        try:
            return _check_header_value(Path(file).read_text("utf-8").removesuffix("\n"), where)
        except OSError as error:
            raise ConfigurationError(f"{where}: {file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{where}: {file} is not UTF-8") from error
    return None


def _check_header_value(value: str, where: str) -> str:
    """Return `value` if an HTTP header can contain it. A line break in a secret could inject another header.

    Raises:
        ConfigurationError: the secret is empty or has unprintable characters.
    """
    if not value or not value.isprintable():
        raise ConfigurationError(f"{where}: the secret is empty or has characters that an HTTP header cannot contain")
    return value


def _read_netrc(index: IndexSettings, environ: Mapping[str, str], where: str) -> str:
    path = Path(environ["NETRC"]) if environ.get("NETRC") else Path("~/.netrc").expanduser()
    host = URL(index.url, encoded=True).host or ""
    try:
        entry = netrc.netrc(str(path)).authenticators(host)
    except OSError as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, netrc.NetrcParseError) as error:
        raise ConfigurationError(f"{where}: {path} is not a valid netrc file") from error
    if entry is None:
        raise ConfigurationError(f"{where}: {path} has no entry for {host}")
    login, _, password = entry
    return aiohttp.encode_basic_auth(
        _check_header_value(login, where), _check_header_value(password or "", where), "utf-8"
    )
