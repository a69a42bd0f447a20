"""Which addresses may be contacted for an index, and which never. No sockets of its own.

- Only hosts that the index names; https, or http where its own address is http; no user information.
- Link-local addresses are refused wherever a name resolves to them: clouds keep their metadata and credentials there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import lru_cache

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from assay.errors import DisallowedHostError, InvalidResponseError
from assay.indexes import IndexSettings, allowed_provenance_hosts

_DEFAULT_PORTS = {"http": 80, "https": 443}


def format_host(target: URL) -> str:
    """``host`` or ``host:port``, lower-case, the scheme's default port dropped, as `indexes.hosts` has them."""
    host = (target.raw_host or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    port = target.explicit_port
    return bracketed if port in {None, _DEFAULT_PORTS.get(target.scheme)} else f"{bracketed}:{port}"


def check_index_url(index: IndexSettings, url: str) -> URL:
    """The address as the page gave it, nothing re-encoded, if the index may use it.

    Raises:
        DisallowedHostError: another host, scheme, user information, or a link-local address.
        InvalidResponseError: no URL at all.
    """
    try:
        target = URL(url, encoded=True)
        host = format_host(target)
    except ValueError as error:
        raise InvalidResponseError(f"{redact_url(url)} is no URL") from error
    plain_allowed = index.url.startswith("http://")
    if target.scheme != "https" and not (target.scheme == "http" and plain_allowed):
        raise DisallowedHostError(f"{redact_url(url)}: index {index.name} is reached by https only")
    if target.raw_user is not None or target.raw_password is not None:
        raise DisallowedHostError(f"{redact_url(url)} carries user information")
    if host not in allowed_provenance_hosts(index) or is_link_local(target.raw_host or ""):
        raise DisallowedHostError(f"{host} is no host of index {index.name} (file-hosts would have to name it)")
    return target


def resolve_redirect(index: IndexSettings, target: URL, response: aiohttp.ClientResponse) -> URL:
    """Where a redirect leads, if the index may go there; never from https to http.

    Raises:
        DisallowedHostError: it may not.
        InvalidResponseError: no Location, or none that is a URL.
    """
    location = response.headers.get("Location")
    if not location:
        raise InvalidResponseError(f"{redact_url(str(target))} answered {response.status} without a Location")
    try:
        joined = target.join(URL(location, encoded=True))
    except ValueError as error:
        raise InvalidResponseError(f"{redact_url(str(target))} redirects to what is no URL") from error
    if target.scheme == "https" and joined.scheme != "https":
        raise DisallowedHostError(f"{redact_url(str(target))} redirects from https to {joined.scheme}")
    return check_index_url(index, str(joined))


class NoLinkLocalResolver(aiohttp.ThreadedResolver):
    """The system's resolver, without link-local answers, and with an end to its silence.

    Args:
        timeout_seconds: seconds; aiohttp's own time-outs begin after the name is resolved.
    """

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._timeout = timeout_seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As the system resolves it.

        Raises:
            DisallowedHostError: to nothing but link-local addresses.
            OSError: not at all, or not in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                found = await super().resolve(host, port, family)
        except TimeoutError as error:
            raise OSError(f"{host} was not resolved within {self._timeout:.0f} s") from error
        allowed = [each for each in found if not is_link_local(each["host"])]
        if found and not allowed:
            raise DisallowedHostError(f"{host} resolves to a link-local address, which is never contacted")
        return allowed


@lru_cache(maxsize=1024)
def is_link_local(host: str) -> bool:
    """Whether `host` is a literal link-local address (RFC 3927, RFC 4291), IPv4-mapped ones included."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_link_local or (mapped is not None and mapped.is_link_local)


def redact_url(url: str) -> str:
    """An address for messages: without query, where signatures and tokens are, and without user information."""
    bare = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = bare.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"[:300]
