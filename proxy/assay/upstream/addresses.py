"""Checks of the URLs and addresses that Assay may contact for an index.

- Assay contacts only the configured hosts of the index.
- The scheme must be https. If the index's own `url` is http, http is permitted too.
- A URL must not contain user information.
- Assay never contacts a link-local address, even if a permitted name resolves to one. Cloud providers serve instance
  metadata and credentials at such addresses.
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

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5
_DEFAULT_PORTS = {"http": 80, "https": 443}


def format_host(target: URL) -> str:
    """Return ``host`` or ``host:port`` of a URL in lower case, without the default port of its scheme.

    `assay.indexes` writes the permitted hosts in the same form, so the result can be compared with them.
    """
    host = (target.raw_host or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    port = target.explicit_port
    return bracketed if port in {None, _DEFAULT_PORTS.get(target.scheme)} else f"{bracketed}:{port}"


def check_index_url(index: IndexSettings, url: str) -> URL:
    """Parse a URL from an index's page and check that Assay may contact it for this index.

    The percent-encoding of the URL is not changed.

    Raises:
        DisallowedHostError: the host or the scheme is not permitted, or the URL contains user information or a
            link-local address.
        InvalidResponseError: `url` is not a valid URL.
    """
    try:
        target = URL(url, encoded=True)
        host = format_host(target)
    except ValueError as error:
        raise InvalidResponseError(f"{redact_url(url)} is not a valid URL") from error
    plain_allowed = index.url.startswith("http://")
    if target.scheme != "https" and not (target.scheme == "http" and plain_allowed):
        raise DisallowedHostError(f"{redact_url(url)}: index {index.name} may be contacted by https only")
    if target.raw_user is not None or target.raw_password is not None:
        raise DisallowedHostError(f"{redact_url(url)} contains a user name or password")
    if host not in allowed_provenance_hosts(index) or is_link_local(target.raw_host or ""):
        raise DisallowedHostError(
            f"{host} is not a permitted host of index {index.name}; add it to file-hosts to permit it"
        )
    return target


def resolve_redirect(index: IndexSettings, target: URL, response: aiohttp.ClientResponse) -> URL:
    """Return the absolute target of a redirect. The target gets the same checks as any URL of the index.

    Args:
        index: the index for which the redirect is followed.
        target: the URL whose response is the redirect.
        response: the redirect.

    Raises:
        DisallowedHostError: Assay may not contact the new target for this index, or the redirect leads from https to
            http.
        InvalidResponseError: ``Location`` is missing or not a valid URL.
    """
    location = response.headers.get("Location")
    if not location:
        raise InvalidResponseError(f"{redact_url(str(target))} answered {response.status} without a Location header")
    try:
        joined = target.join(URL(location, encoded=True))
    except ValueError as error:
        raise InvalidResponseError(f"{redact_url(str(target))} redirects to an invalid URL") from error
    if target.scheme == "https" and joined.scheme != "https":
        raise DisallowedHostError(f"{redact_url(str(target))} redirects from https to {joined.scheme}")
    return check_index_url(index, str(joined))


class NoLinkLocalResolver(aiohttp.ThreadedResolver):
    """Name resolver of the operating system with a timeout. Its results contain no link-local addresses.

    Args:
        timeout_seconds: maximum time of one lookup. aiohttp's own timeouts start only after the lookup.
    """

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._timeout = timeout_seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name; return its addresses except the link-local ones.

        Raises:
            DisallowedHostError: all addresses of the name are link-local.
            OSError: the lookup failed or exceeded the timeout.
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
    """Return True if `host` is a literal link-local address (RFC 3927, RFC 4291).

    An IPv6 address that maps an IPv4 link-local address (``::ffff:169.254.0.1``) is link-local too.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_link_local or (mapped is not None and mapped.is_link_local)


def redact_url(url: str) -> str:
    """Return a URL for messages: at most 300 characters, without user information, query and fragment.

    The query is removed because it may contain signatures or tokens.
    """
    bare = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = bare.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"[:300]
