"""Which Authorization goes to which host. Secrets are read here, once, from where the settings say.

A credential goes to the host of its index's own `url` and nowhere else: not to file hosts, whose signed addresses it
would spoil, not along redirects to them. It is in no log, error, record or page.
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
    """The Authorization header of each index that has credentials.

    Raises:
        ConfigurationError: a credential is not where the settings say.
    """

    def __init__(self, indexes: Iterable[IndexSettings], environ: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        for index in indexes:
            if index.credentials is not None:
                where = f"indexes[{index.name}].credentials"
                self._values[index.name] = _build_authorization(index, index.credentials, environ, where)

    def headers_for(self, index: IndexSettings, target: URL) -> dict[str, str]:
        """What to send to `target` on behalf of `index`."""
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
            raise ConfigurationError(f"{where}: the environment variable {variable} is not set or empty")
        return _check_header_value(value, where)
    if file is not None:
        try:
            return _check_header_value(Path(file).read_text("utf-8").removesuffix("\n"), where)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{where}: {file} cannot be read: {type(error).__name__}") from error
    return None


def _check_header_value(value: str, where: str) -> str:
    """A header's value: a line break in a secret would otherwise be a header of its own."""
    if not value or not value.isprintable():
        raise ConfigurationError(f"{where}: the secret is empty or has characters that no header can carry")
    return value


def _read_netrc(index: IndexSettings, environ: Mapping[str, str], where: str) -> str:
    path = Path(environ["NETRC"]) if environ.get("NETRC") else Path("~/.netrc").expanduser()
    host = URL(index.url, encoded=True).host or ""
    try:
        entry = netrc.netrc(str(path)).authenticators(host)
    except (OSError, netrc.NetrcParseError) as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {type(error).__name__}") from error
    if entry is None:
        raise ConfigurationError(f"{where}: {path} has no entry for {host}")
    login, _, password = entry
    return aiohttp.encode_basic_auth(
        _check_header_value(login, where), _check_header_value(password or "", where), "utf-8"
    )
